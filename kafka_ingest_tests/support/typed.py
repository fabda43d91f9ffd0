"""A column of each type that needs a look of its own, with values that it holds and such that it does not."""

from __future__ import annotations

import base64
import datetime as dt
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream


class Typed(AppendModel):
    """A column of each type that needs a look of its own."""

    __tablename__ = "typed_columns"
    day: Mapped[dt.date | None] = date_field(sa.Date, timezone="America/New_York")
    local_day: Mapped[dt.date | None] = date_field(sa.Date, path="instant", timezone="Asia/Shanghai")
    at0: Mapped[dt.datetime | None] = date_field(mysql.DATETIME(fsp=0), path="instant")
    at3: Mapped[dt.datetime | None] = date_field(mysql.DATETIME(fsp=3), path="instant")
    at6: Mapped[dt.datetime | None] = date_field(sa.DateTime, path="instant")
    at: Mapped[dt.datetime | None] = date_field(mysql.DATETIME)
    stamp: Mapped[dt.datetime | None] = date_field(mysql.TIMESTAMP(fsp=6))
    time: Mapped[dt.time | None] = field(sa.Time)
    span: Mapped[dt.timedelta | None] = field(mysql.TIME(fsp=3))
    year: Mapped[int | None] = field(mysql.YEAR)
    bit1: Mapped[int | None] = field(mysql.BIT(1))
    bit8: Mapped[int | None] = field(mysql.BIT(8))
    bit64: Mapped[int | None] = field(mysql.BIT(64))
    tiny: Mapped[int | None] = field(mysql.TINYINT)
    utiny: Mapped[int | None] = field(mysql.TINYINT(unsigned=True))
    usmall: Mapped[int | None] = field(mysql.SMALLINT(unsigned=True))
    umedium: Mapped[int | None] = field(mysql.MEDIUMINT(unsigned=True))
    uint: Mapped[int | None] = field(mysql.INTEGER(unsigned=True))
    ubig: Mapped[int | None] = field(mysql.BIGINT(unsigned=True))
    fixed: Mapped[bytes | None] = field(sa.BINARY(4), cast=Cast(bytes_from="hex"))
    varied: Mapped[bytes | None] = field(sa.VARBINARY(200), cast=Cast(bytes_from="base64"))
    blob: Mapped[bytes | None] = field(sa.LargeBinary, cast=Cast(bytes_from="base64"))
    packed: Mapped[bytes | None] = field(sa.BINARY(16), cast=Cast(bytes_from="uuid"))
    ident: Mapped[str | None] = field(sa.Uuid)
    text: Mapped[str | None] = field(mysql.LONGTEXT)
    data: Mapped[Any | None] = field(sa.JSON)
    kept: Mapped[Any | None] = field(sa.JSON().with_variant(mysql.LONGTEXT(), "mysql"))


class Packed(UpsertModel):
    """Keyed by bytes and by a UUID."""

    __tablename__ = "packed_columns"
    delete_on_tombstone = True
    id: Mapped[bytes] = field(sa.BINARY(16), primary_key=True, cast=Cast(bytes_from="uuid"))
    other: Mapped[str] = field(sa.Uuid, primary_key=True)
    flags: Mapped[int | None] = field(mysql.BIT(8))


STREAM = Stream(
    name="typed",
    topics=("typed", "packed"),
    route_by=RouteByTopic(),
    routes={"typed": Typed, "packed": Packed},
    max_dead_letter_ratio=1.0,
)
INSTANT = "2024-12-31T23:59:59.987654Z"
FULL = {
    "day": "2024-05-01",
    "instant": INSTANT,
    "stamp": "1970-01-01T00:00:01Z",
    "time": "23:59:59.999999",
    "span": "10:59:58.5",
    "year": 1901,
    "bit1": True,
    "bit8": 0x31,
    "bit64": (1 << 64) - 1,
    "tiny": -128,
    "utiny": 255,
    "usmall": 65_535,
    "umedium": (1 << 24) - 1,
    "uint": (1 << 32) - 1,
    "ubig": (1 << 64) - 1,
    "fixed": "00ff1d1e",
    "varied": base64.b64encode(bytes(range(200))).decode(),
    "blob": base64.b64encode(b"").decode(),
    "packed": "6fa459ea-ee8a-3ca4-894e-db77e160355e",
    "ident": "6FA459EA-EE8A-3CA4-894E-DB77E160355E",
    "text": "长" * 100_000,
    "data": {"a": 0.1, "b": 18_446_744_073_709_551_615},
    "kept": {"a": 0.1},
}


BAD: list[tuple[str, Any, str]] = [
    ("day", "10000-01-01", "day: "),
    ("stamp", "2038-01-19T03:14:08Z", "outside what a TIMESTAMP holds"),
    ("stamp", "1969-12-31T23:59:59Z", "outside what a TIMESTAMP holds"),
    ("time", "24:00:00", "'24:00:00' is no time of day"),
    ("time", "09:30Z", "no time without a zone"),
    ("time", "0930", "no time without a zone"),
    ("time", 570, "got `int` - at `$.time`"),
    ("span", "839:00:00", "not from -838:59:59 to 838:59:59"),
    ("year", 24, "24 is not from 1901 to 2155"),
    ("year", 0, "0 is not from 1901 to 2155"),
    ("year", "2024", "got `str` - at `$.year`"),
    ("bit1", 2, "2 is not from 0 to 1"),
    ("bit8", True, "bool True in an integer column"),
    ("bit8", 256, "256 is not from 0 to 255"),
    ("tiny", 128, "128 does not fit 8 bits"),
    ("utiny", -1, "-1 is not from 0 to 255"),
    ("uint", 1 << 32, "is not from 0 to 4294967295"),
    ("ubig", 1 << 64, "is not from 0 to 18446744073709551615"),
    ("ubig", -1, "-1 is not from 0 to"),
    ("fixed", "00ff1d", "3 bytes, and the column holds exactly 4"),
    ("fixed", "00ff1d1e00", "5 bytes, and the column holds exactly 4"),
    ("fixed", "0xff1d1e00", "is no hex"),
    ("varied", base64.b64encode(bytes(201)).decode(), "201 bytes, and the column holds 200"),
    ("varied", "not base64!", "is no base64"),
    ("varied", 5, "int in a binary column"),
    ("packed", "6fa459ea", "is no uuid"),
    ("ident", "6fa459eaee8a3ca4894edb77e160355e", "is no UUID of 32 hexadecimal digits in groups"),
]


REPORTED: list[tuple[str, Any, Any]] = [
    ("ubig", 18_446_744_073_709_551_615, 18_446_744_073_709_551_615),  # debezium/debezium#7543: became -1
    ("bit8", 0b1111_1111, 255),  # debezium/debezium#7546: its bytes were taken for text
    ("bit64", 0b1_0101_0101, 341),
    ("uint", 3_707_109_316, 3_707_109_316),  # confluentinc/kafka-connect-jdbc#165: an IP address
    ("uint", 4_176_160_650, 4_176_160_650),  # airbytehq/airbyte#3840
    ("usmall", 65_535, 65_535),  # airbytehq/airbyte#7559
    ("blob", "Ig==", "22"),  # zendesk/maxwell#94
    # confluentinc/kafka-connect-jdbc#477
    ("ident", "0c0a3e4c-3b5c-4f0e-9d3c-2f1f3a4b5c6d", "0c0a3e4c-3b5c-4f0e-9d3c-2f1f3a4b5c6d"),
    ("at", "2022-06-14T18:18:32Z", dt.datetime(2022, 6, 14, 18, 18, 32)),  # apache/rocketmq-connect#192: was refused
    ("text", "007", "007"),  # ClickHouse/ClickHouse#120634: became 7
    ("text", "", ""),
    ("text", None, None),  # delta-io/kafka-delta-ingest#221: became the text "null"
]  # fmt: skip
"""Values of public reports: of columns here, as sent and as read back."""
