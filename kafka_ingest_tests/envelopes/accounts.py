"""A table with a column of each common type, and its change events as JSON with schemas (`schemas.enable=true`)."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import UpsertModel, date_field, field
from kafka_ingest_tests.envelopes.source import Row, Source
from kafka_ingest_tests.envelopes.world import TOPIC

SCALE = 4
EPOCH = dt.datetime(1970, 1, 1)


class Account(UpsertModel):
    __tablename__ = "accounts"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    number: Mapped[int] = field(sa.BigInteger)
    name: Mapped[str] = field(sa.String(100))
    note: Mapped[str | None] = field(sa.Text)
    level: Mapped[int | None] = field(sa.SmallInteger)
    balance: Mapped[Decimal | None] = field(sa.Numeric(20, SCALE))
    active: Mapped[bool | None] = field(sa.Boolean)
    born: Mapped[dt.date | None] = date_field(sa.Date)
    seen: Mapped[dt.datetime | None] = date_field()
    changed: Mapped[dt.datetime | None] = date_field()
    ratio: Mapped[float | None] = field(sa.Double)


def _field(name: str, kind: str, title: str | None = None, *, optional: bool = True, **more: Any) -> Row:
    titled = {"name": title, "version": 1} if title else {}
    return {"field": name, "type": kind, "optional": optional, **titled, **more}


ROW = [
    _field("id", "int32", optional=False),
    _field("number", "int64", optional=False),
    _field("name", "string", optional=False),
    _field("note", "string"),
    _field("level", "int16"),
    _field(
        "balance",
        "bytes",
        "org.apache.kafka.connect.data.Decimal",
        parameters={"scale": str(SCALE), "connect.decimal.precision": "20"},
    ),
    _field("active", "boolean"),
    _field("born", "int32", "io.debezium.time.Date"),
    _field("seen", "int64", "io.debezium.time.MicroTimestamp"),
    _field("changed", "int64", "io.debezium.time.Timestamp"),
    _field("ratio", "double"),
]
SOURCE = [
    *(_field(name, "string", optional=False) for name in ("version", "connector", "name")),
    _field("ts_ms", "int64", optional=False),
    _field("snapshot", "boolean"),
    _field("db", "string", optional=False),
    _field("sequence", "string"),
    *(_field(name, "string", optional=False) for name in ("schema", "table")),
    *(_field(name, "int64") for name in ("txId", "lsn", "xmin")),
]
ENVELOPE = {
    "type": "struct",
    "optional": False,
    "name": f"{TOPIC}.Envelope",
    "version": 2,
    "fields": [
        _field("before", "struct", f"{TOPIC}.Value", fields=ROW),
        _field("after", "struct", f"{TOPIC}.Value", fields=ROW),
        _field("source", "struct", "io.debezium.connector.postgresql.Source", fields=SOURCE, optional=False),
        _field("op", "string", optional=False),
        _field("ts_ms", "int64"),
    ],
}
KEY = {"type": "struct", "optional": False, "name": f"{TOPIC}.Key", "fields": ROW[:1]}

NAMES = ("Ä \N{GRINNING FACE}", "日本", "", " c ", "d'e\\", "\t\r\n", '"', "NULL", "\\N", "x" * 100)
LONGEST = 10**20 - 1
BALANCES = (0, 1, -1, 127, 128, -128, -129, 2**63, LONGEST, -LONGEST)
DAYS = tuple(dt.date.fromisoformat(t) for t in ("1000-01-01", "1582-10-04", "1582-10-15", "1969-12-31", "9999-12-31"))
INSTANTS = tuple(
    dt.datetime.fromisoformat(text)
    for text in (
        "1000-01-01 00:00:00",
        "1582-10-04 12:00:00",
        "1883-11-18 12:03:57.5",
        "1969-12-31 23:59:59.999999",
        "2024-03-31 02:30:00",
        "9999-12-31 23:59:59.999999",
    )
)
RATIOS = (0.0, 0.1, 1 / 3, -1e300, 2.2250738585072014e-308, 1.7976931348623157e308)


class Accounts(Source):
    """Rows with the ends of each type, and anything between them."""

    def made(self, number: int) -> Row:
        chance = self._chance
        found: Row = {
            "id": number,
            "number": chance.choice((0, -(2**63), 2**63 - 1, chance.randint(-(10**12), 10**12))),
            "name": chance.choice(NAMES),
            "note": chance.choice((None, "long " * 1_000, *NAMES)),
            "level": chance.choice((None, -(2**15), 2**15 - 1, 5)),
            "balance": chance.choice((None, *BALANCES, chance.randint(-LONGEST, LONGEST))),
            "active": chance.choice((None, True, False)),
            "born": chance.choice((None, *DAYS, dt.date(2026, 1, 1) - dt.timedelta(chance.randint(0, 36_500)))),
            "seen": chance.choice((None, *INSTANTS, EPOCH + dt.timedelta(microseconds=chance.randint(0, 2**52)))),
            "changed": chance.choice((None, *INSTANTS, EPOCH + dt.timedelta(milliseconds=chance.randint(0, 2**42)))),
            "ratio": chance.choice((None, *RATIOS, chance.uniform(-1e6, 1e6))),
        }
        if found["balance"] is not None:
            found["balance"] = Decimal(found["balance"]).scaleb(-SCALE)
        if found["changed"] is not None:  # a Timestamp has milliseconds
            found["changed"] -= dt.timedelta(microseconds=found["changed"].microsecond % 1000)
        return found

    def before_delete(self, old: Row) -> Row:
        """All of it: a key alone does not fit the schema, which has other columns that are NOT NULL."""
        return old

    def encoded(self, row: Row) -> Row:
        microsecond = dt.timedelta(microseconds=1)
        found = dict(row)
        if found["balance"] is not None:
            unscaled = int(found["balance"].scaleb(SCALE))
            found["balance"] = base64.b64encode(unscaled.to_bytes(_byte_length(unscaled), "big", signed=True)).decode()
        if found["born"] is not None:
            found["born"] = (found["born"] - EPOCH.date()).days
        if found["seen"] is not None:
            found["seen"] = (found["seen"] - EPOCH) // microsecond
        if found["changed"] is not None:
            found["changed"] = (found["changed"] - EPOCH) // (1000 * microsecond)
        return found

    def value(self, event: Mapping[str, Any]) -> Any:
        return {"schema": ENVELOPE, "payload": event}

    def key(self, number: int) -> bytes:
        return json.dumps({"schema": KEY, "payload": {"id": number}}).encode()


def _byte_length(number: int) -> int:
    """Of Java's BigInteger.toByteArray: the fewest bytes of its two's complement."""
    return (number if number >= 0 else ~number).bit_length() // 8 + 1
