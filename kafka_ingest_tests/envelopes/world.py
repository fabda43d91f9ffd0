"""Change events as Debezium documents them, and the tables they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import (
    AppendModel,
    ConnectJson,
    Debezium,
    Envelope,
    RouteByTopic,
    Stream,
    UpsertModel,
    date_field,
    field,
)
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes, piped
from kafka_ingest.testing.target import Target

TOPIC = "dbserver1.inventory.customers"


class Customer(UpsertModel):
    """The table of Debezium's tutorial."""

    __tablename__ = "customers"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    first_name: Mapped[str] = field(sa.String(255))
    email: Mapped[str | None] = field(sa.String(255))


class Ordered(UpsertModel):
    """As Customer, in the order of the source's log."""

    __tablename__ = "ordered"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "lsn"

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    first_name: Mapped[str] = field(sa.String(255))
    lsn: Mapped[int | None] = field(sa.BigInteger, source=Envelope("source.lsn"))


class Change(AppendModel):
    """A log of changes: a row for each, the deleted ones as they were."""

    __tablename__ = "changes"
    metadata = sa.MetaData()

    op: Mapped[str] = field(sa.String(1), source=Envelope("op"))
    at: Mapped[Any] = date_field(source=Envelope("ts_ms"), unit="ms")
    id: Mapped[int] = field(sa.Integer)
    first_name: Mapped[str | None] = field(sa.String(255))


def stream(model: type[Any] = Customer, **more: Any) -> Stream:
    given: dict[str, Any] = {"envelope": Debezium(), "max_dead_letter_ratio": 1.0, **more}
    return Stream(name="customers", topics=TOPIC, route_by=RouteByTopic(), routes={TOPIC: model}, **given)


def with_schemas(model: type[Any] = Customer, **more: Any) -> Stream:
    return stream(model, value_format=ConnectJson(), key_format=ConnectJson(), **more)


def key(number: int) -> bytes:
    return b'{"id": %d}' % number


def row(number: int, name: str = "Anne", **more: Any) -> dict[str, Any]:
    return {"id": number, "first_name": name, "email": None, **more}


def change(
    op: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    lsn: int = 24023128,
    **more: Any,
) -> dict[str, Any]:
    """The value of an event, as PostgreSQL's connector documents it."""
    source = {
        "version": "3.5.2.Final",
        "connector": "postgresql",
        "name": "dbserver1",
        "ts_ms": 1559033904863,
        "snapshot": False,
        "db": "postgres",
        "sequence": f'["{lsn - 96}", "{lsn}"]',
        "schema": "inventory",
        "table": "customers",
        "txId": 555,
        "lsn": lsn,
        "xmin": None,
    }
    return {"before": before, "after": after, "source": source, "op": op, "ts_ms": 1559033904863, **more}


def written(number: int, name: str = "Anne", *, op: str = "c", lsn: int = 1, timestamp_ms: int | None = None) -> Msg:
    return Msg(change(op, None, row(number, name), lsn=lsn), key=key(number), timestamp_ms=timestamp_ms)


def deleted(number: int, *, lsn: int = 1, timestamp_ms: int | None = None) -> Msg:
    return Msg(change("d", {"id": number}, None, lsn=lsn), key=key(number), timestamp_ms=timestamp_ms)


def tombstone(number: int) -> Msg:
    return Msg(None, key=key(number))


def customers(target: Target, table: str = "customers") -> dict[int, str]:
    return dict(target.all(f"SELECT id, first_name FROM {table} ORDER BY id"))


def becomes(used: Stream, message: Any) -> str:
    """The dead letter that a message becomes, as `stage: error`."""
    parsed = piped(used, one(message, topic=TOPIC))
    assert outcomes(parsed) == [0]
    ((stage, error),) = letters_of(parsed).values()
    return f"{stage}: {error}"
