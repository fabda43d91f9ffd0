"""Each format, from a real Kafka with a real registry into each database: every type of column once, equal rows everywhere."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.registry import LocalRegistry
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.text import Bytes, Text
from kafka_ingest.streams.model import AppendModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.formats.protoc import message_class
from kafka_ingest_tests.formats.world import avro_message, framed
from kafka_ingest_tests.support.catch_up import catch_up

pytestmark = pytest.mark.services

DATABASES = ("mysql", "mariadb", "postgresql")


class Everything(AppendModel):
    """A column of each type, each named as the field it is read from."""

    __tablename__ = "everything"
    t: Mapped[str | None] = field(sa.Text)
    long: Mapped[str | None] = field(mysql.LONGTEXT)
    choice: Mapped[str | None] = field(sa.Enum("a", "b"))
    n: Mapped[int | None] = field(sa.BigInteger)
    tiny: Mapped[int | None] = field(mysql.TINYINT)
    u: Mapped[int | None] = field(mysql.INTEGER(unsigned=True))
    big: Mapped[int | None] = field(mysql.BIGINT(unsigned=True))
    year: Mapped[int | None] = field(mysql.YEAR)
    bits: Mapped[int | None] = field(mysql.BIT(9))
    f: Mapped[float | None] = field(sa.Float)
    d: Mapped[Decimal | None] = field(sa.Numeric(20, 3))
    flag: Mapped[bool | None] = field(sa.Boolean)
    j: Mapped[Any | None] = field(sa.JSON)
    at: Mapped[dt.datetime | None] = date_field()
    short: Mapped[dt.datetime | None] = date_field(mysql.DATETIME(fsp=1), path="at")
    stamp: Mapped[dt.datetime | None] = date_field(mysql.TIMESTAMP(fsp=3), path="at")
    day: Mapped[dt.date | None] = date_field(sa.Date)
    clock: Mapped[dt.time | None] = field(mysql.TIME(fsp=3))
    ident: Mapped[str | None] = field(sa.Uuid)
    # Of JSON a text in base64; of a format that has bytes these.
    raw: Mapped[bytes | None] = field(sa.LargeBinary, cast=Cast(bytes_from="base64"))
    fixed: Mapped[bytes | None] = field(sa.BINARY(4), cast=Cast(bytes_from="base64"))


class Line(AppendModel):
    __tablename__ = "line"
    value: Mapped[str | None] = field(sa.Text)


class Blob(AppendModel):
    __tablename__ = "blob_of_bytes"
    value: Mapped[bytes | None] = field(sa.LargeBinary)


STREAM = Stream(name="everything", topics="t", routes={"t": Everything}, route_by=RouteByTopic())
AT = dt.datetime(2024, 12, 31, 23, 59, 59, 987_000, dt.timezone.utc)
CLOCK = dt.time(9, 30, 15, 123_000)
FULL: dict[str, Any] = {
    "t": "日本 \N{GRINNING FACE}",
    "long": "long",
    "choice": "b",
    "n": -(2**62),
    "tiny": -128,
    "u": 2**32 - 1,
    "big": 2**64 - 1,
    "year": 2024,
    "bits": 257,
    "f": 0.1,
    "d": Decimal("-1234567.890"),
    "flag": True,
    "j": {"a": [1, 2]},
    "at": AT,
    "day": dt.date(2024, 5, 1),
    "clock": CLOCK,
    "ident": "0189f7c0-0000-7000-8000-000000000001",
    "raw": b"\x00\xff\r\n",
    "fixed": b"\x1d\x1e\\\x00",
}
STORED = FULL | {
    "at": AT.replace(tzinfo=None),
    "short": dt.datetime(2024, 12, 31, 23, 59, 59, 900_000),
    "stamp": AT.replace(tzinfo=None),
    "d": "-1234567.890",
    "clock": "09:30:15.123",
    "raw": "00FF0D0A",
    "fixed": "1D1E5C00",
}
Write = Callable[[dict[str, Any], int], bytes]
"""A message with these fields, the others null, and the schema's id."""

AVRO: dict[str, Any] = {
    **dict.fromkeys(("t", "long"), "string"),
    "choice": {"type": "enum", "name": "C", "symbols": ["a", "b"]},
    **dict.fromkeys(("n", "u"), "long"),
    **dict.fromkeys(("tiny", "year", "bits"), "int"),
    "f": "double",
    "d": {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
    "flag": "boolean",
    "j": {"type": "map", "values": {"type": "array", "items": "int"}},
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "day": {"type": "int", "logicalType": "date"},
    "clock": {"type": "int", "logicalType": "time-millis"},
    "ident": {"type": "string", "logicalType": "uuid"},
    "raw": "bytes",
    "fixed": {"type": "fixed", "name": "F", "size": 4},
}
AVRO_SCHEMA = {
    "type": "record",
    "name": "Everything",
    "fields": [{"name": name, "type": ["null", kind], "default": None} for name, kind in AVRO.items()],
}
PROTO_TYPES = {
    **dict.fromkeys(("t", "long", "choice", "d", "day", "clock", "ident"), "string"),
    **dict.fromkeys(("n",), "int64"),
    **dict.fromkeys(("tiny",), "sint32"),
    **dict.fromkeys(("u", "year", "bits"), "uint32"),
    "big": "fixed64",
    "f": "double",
    "flag": "bool",
    "j": "Numbers",
    "at": "google.protobuf.Timestamp",
    **dict.fromkeys(("raw", "fixed"), "bytes"),
}
PROTO = (
    'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message Everything { '
    + " ".join(f"optional {kind} {name} = {n};" for n, (name, kind) in enumerate(PROTO_TYPES.items(), 1))
    + " } message Numbers { repeated int32 a = 1; }"
)
DATA = "org.apache.kafka.connect.data"
# Type and name of Connect's schemas, where JSON has no such.
CONNECT = {
    "d": ("bytes", f"{DATA}.Decimal"),
    "at": ("int64", f"{DATA}.Timestamp"),
    "day": ("int32", f"{DATA}.Date"),
    "clock": ("int32", f"{DATA}.Time"),
    "raw": ("bytes", None),
    "fixed": ("bytes", None),
}


def avro(fields: dict[str, Any], number: int) -> bytes:
    return avro_message(AVRO_SCHEMA, {name: fields.get(name) for name in AVRO}, number)


def protobuf(fields: dict[str, Any], number: int) -> bytes:
    found = fields | {name: str(fields[name]) for name in ("d", "day", "clock") if name in fields}
    at, numbers = found.pop("at", None), found.pop("j", None)
    message = message_class("Everything", m=PROTO)(**found)
    if at is not None:
        message.at.FromDatetime(at)
        message.j.a.extend(numbers["a"])
    return framed(b"\0" + message.SerializeToString(), number)


def based(data: bytes) -> str:
    return base64.b64encode(data).decode()


def connected(fields: dict[str, Any]) -> dict[str, Any]:
    """As Connect's converters have the values."""
    if not fields:
        return fields
    return fields | {
        "d": based((-1_234_567_890).to_bytes(5, "big", signed=True)),
        "at": int(AT.timestamp() * 1000),
        "day": (fields["day"] - dt.date(1970, 1, 1)).days,
        "clock": 34_215_123,
        "raw": based(fields["raw"]),
        "fixed": based(fields["fixed"]),
    }


def connect_json(fields: dict[str, Any], _number: int) -> bytes:
    parameters = {"d": {"scale": "3"}}
    listed = [
        {"field": name, "type": kind, "name": title, "parameters": parameters.get(name), "optional": True}
        for name, (kind, title) in CONNECT.items()
    ]
    return json.dumps({"schema": {"type": "struct", "fields": listed}, "payload": connected(fields)}).encode()


def plain_json(fields: dict[str, Any], _number: int) -> bytes:
    texts = {
        name: str(value) for name, value in fields.items() if not isinstance(value, int | float | str | bytes | dict)
    }
    coded = {name: based(value) for name, value in fields.items() if isinstance(value, bytes)}
    return json.dumps(fields | texts | coded).encode()


JSON_SCHEMA = {
    "type": "object",
    "properties": {
        name: {
            "oneOf": [
                {"type": "null"},
                {"connect.type": kind, "title": title or name, "connect.parameters": {"scale": "3"}},
            ]
        }
        for name, (kind, title) in CONNECT.items()
    },
}
FORMATS: dict[str, tuple[Format, tuple[str, str] | None, Write]] = {
    "json": (Json(), None, plain_json),
    "json-schema": (
        JsonSchema(),
        ("JSON", json.dumps(JSON_SCHEMA)),
        lambda fields, number: framed(json.dumps(connected(fields)).encode(), number),
    ),
    "avro": (Avro(), ("AVRO", json.dumps(AVRO_SCHEMA)), avro),
    "protobuf": (Protobuf(), ("PROTOBUF", PROTO), protobuf),
    "connect-json": (ConnectJson(), None, connect_json),
}


def produced(kafka: LocalKafka, *values: bytes) -> str:
    topic = make_topic(kafka, partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(30) == 0
    return topic


def rows(stream: Stream, url: str, kafka: LocalKafka, registry: LocalRegistry) -> list[dict[str, Any]]:
    """The stream's rows after a run into an empty database, without dead letters."""
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": url}
    catch_up(stream, Settings.from_environment(environ | {"SCHEMA_REGISTRY_URL": registry.url}))
    (target,) = stream.targets
    sink = open_sink(sa.make_url(url))
    columns = [sink.readable(target.table.c[bound.name]) for bound in target.bound]
    with sink.engine.connect() as connection:
        letters = connection.execute(sa.text("SELECT error FROM kafka_ingest_dead_letters")).all()
        found = connection.execute(sa.select(*columns).order_by(target.table.c["_kafka_offset"])).mappings().all()
    sink.close()
    assert letters == []
    return [dict(row) for row in found]


def alike(row: dict[str, Any]) -> dict[str, Any]:
    """The row as it is compared, in spite of how drivers give booleans, JSON and UUIDs."""
    return row | {
        "flag": None if row["flag"] is None else bool(row["flag"]),
        "j": None if row["j"] is None else json.loads(row["j"]),
        "ident": None if row["ident"] is None else str(row["ident"]),
        "bits": None if row["bits"] is None else int(row["bits"]),
    }


@pytest.mark.parametrize("name", FORMATS)
def test_every_type_of_column_comes_through_and_is_the_same_in_each_database(
    name: str, kafka: LocalKafka, registry: LocalRegistry, request: pytest.FixtureRequest
) -> None:
    value_format, schema, write = FORMATS[name]
    number = 0
    if schema is not None:
        kind, text = schema
        with SchemaRegistryClient({"url": registry.url}) as client:
            number = client.register_schema(f"everything-{name}", Schema(text, kind))
    carried = {field: value for field, value in FULL.items() if not (name == "avro" and field == "big")}
    topic = produced(kafka, write(carried, number), write({}, number))
    stream = replace(STREAM, topics=topic, routes={topic: Everything}, value_format=value_format)
    expected = STORED | ({"big": None} if name == "avro" else {})
    for database in DATABASES:
        full, empty = rows(stream, fresh_database(request.getfixturevalue(database)), kafka, registry)
        assert alike(full) == expected, database
        assert set(empty.values()) == {None}, database


@pytest.mark.parametrize(
    ("value_format", "model", "values", "expected"),
    [
        (Text(), Line, [" a\n", "", "日本\t\\"], [" a\n", "", "日本\t\\"]),
        (Bytes(), Blob, [b"\x00\xff", b"", b"\r\n\\"], ["00FF", "", "0D0A5C"]),
    ],
)
def test_text_and_bytes_come_through(
    value_format: Format,
    model: type[AppendModel],
    values: list[str | bytes],
    expected: list[str],
    kafka: LocalKafka,
    registry: LocalRegistry,
    request: pytest.FixtureRequest,
) -> None:
    topic = produced(kafka, *(value.encode() if isinstance(value, str) else value for value in values))
    stream = replace(STREAM, topics=topic, routes={topic: model}, value_format=value_format)
    for database in DATABASES:
        found = rows(stream, fresh_database(request.getfixturevalue(database)), kafka, registry)
        assert [row["value"] for row in found] == expected, database
