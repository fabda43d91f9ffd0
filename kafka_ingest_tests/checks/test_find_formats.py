"""Messages are found by key and by field in whatever format the stream's keys and values are."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from kafka_ingest.checks import find as find_module
from kafka_ingest.checks import message_search
from kafka_ingest.errors import SchemaRegistryUnavailable
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.formats.text import Bytes, Text
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg
from kafka_ingest_tests.formats.protoc import message_class
from kafka_ingest_tests.formats.world import AsText, avro_message, avro_schema, framed, knows
from kafka_ingest_tests.support.searched import Searched

AVRO: Mapping[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "f", "type": "string"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "tags", "type": {"type": "map", "values": "int"}},
    ],
}
AVRO_KEY: Mapping[str, Any] = {"type": "record", "name": "K", "fields": [{"name": "id", "type": "long"}]}
PROTO = 'syntax = "proto3"; message Order { string f = 1; Line line = 2; bytes raw = 3; } message Line { int64 n = 1; }'
SCHEMAS = {
    1: avro_schema(AVRO),
    2: avro_schema(AVRO_KEY, 2),
    3: avro_schema("long", 3),
    4: RegisteredSchema(4, "PROTOBUF", PROTO),
    5: avro_schema({"type": "string", "logicalType": "uuid"}, 5),
    6: RegisteredSchema(
        6, "JSON", json.dumps({"properties": {"day": {"title": "org.apache.kafka.connect.data.Date"}}})
    ),
}
REGISTRY = knows(SCHEMAS)
STREAM = Stream(name="orders", topics="t", routes={"t": AsText}, route_by=RouteByTopic())
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc)
SOMEBODY = "0189f7c0-0000-7000-8000-000000000001"


def searched(monkeypatch: pytest.MonkeyPatch, value: Format, key: Format, find: FindSchemas = REGISTRY) -> Searched:
    for module in (message_search, find_module):
        monkeypatch.setattr(module, "schema_finder", lambda _settings: find)
    return Searched(monkeypatch, replace(STREAM, value_format=value, key_format=key))


def order(f: str, raw: bytes | None = None, **tags: int) -> bytes:
    return avro_message(AVRO, {"f": f, "amount": Decimal("12.50"), "at": NOON, "raw": raw, "tags": tags})


def connect(amount: int, day: int) -> bytes:
    data = "org.apache.kafka.connect.data"
    fields = [
        {"type": "int64", "field": "f"},
        {"type": "int32", "name": f"{data}.Date", "field": "day"},
    ]
    return json.dumps({"schema": {"type": "struct", "fields": fields}, "payload": {"f": amount, "day": day}}).encode()


def proto(f: str, n: int, raw: bytes = b"") -> bytes:
    message = message_class("Order", m=PROTO)(f=f, raw=raw)
    message.line.n = n
    return framed(b"\0" + message.SerializeToString(), 4)


FIELDS: list[tuple[Format, bytes, bytes, list[str]]] = [
    (
        Avro(),
        order("a", b"\x00\xff", x=1),
        order("b", x=2),
        ["f=a", "tags.x=1", "raw=0x00ff"],
    ),
    (Avro(), order("a"), b"\0\0\0\0\x63", ["f=a", "amount=12.5", "at=2024-05-01T12:00:00Z", "raw=null", "tags={}"]),
    (Protobuf(), proto("a", 7, b"hi"), proto("b", 8), ["f=a", "line.n=7", 'line={"n": 7}', "raw=hi"]),
    (JsonSchema(), framed(b'{"f": "a"}', 6), framed(b'{"f": "b"}', 6), ["f=a"]),
    (JsonSchema(), framed(b'{"day": 19844}', 6), framed(b'{"day": 19845}', 6), ["day=2024-05-01", "day=19844"]),
    (ConnectJson(), connect(1, 19844), connect(2, 19845), ["f=1", "day=2024-05-01", "day=19844"]),
    (ConnectJson(), b'{"f": 1}', b'{"f": 2}', ["f=1"]),
    (Text(), b"hello", b"other", ["value=hello"]),
    (Bytes(), b"\xff\x00", b"\xff", ["value=0xff00"]),
    (Bytes(), b"hello", b"other", ["value=hello"]),
    (Json(), b"\xef\xbb\xbf" + b'{"f": "a"}', b'{"f": "b"}', ["f=a"]),
]


@pytest.mark.parametrize(("value_format", "meant", "other", "texts"), FIELDS)
def test_a_field_is_found_in_each_format(
    monkeypatch: pytest.MonkeyPatch, value_format: Format, meant: bytes, other: bytes, texts: list[str]
) -> None:
    topic = searched(monkeypatch, value_format, Json())
    topic.send(Msg(None), Msg(other), Msg(meant))
    for text in texts:
        assert topic.offsets(text) == [2], text


KEYS: list[tuple[Format, bytes, bytes, list[str]]] = [
    (Avro(), avro_message(AVRO_KEY, {"id": 1}, 2), avro_message(AVRO_KEY, {"id": 2}, 2), ['{"id": 1}']),
    (Avro(), avro_message("long", 17, 3), avro_message("long", 18, 3), ["17", "0x000000000322"]),
    (Avro(), avro_message("string", SOMEBODY, 5), avro_message("string", str(uuid.UUID(int=1)), 5), [SOMEBODY]),
    (Protobuf(), proto("a", 7), proto("b", 7), ['{"line": {"n": 7}, "f": "a", "raw": ""}']),
    (JsonSchema(), framed(b'{"id": 1}', 6), framed(b'{"id": 2}', 6), ['{"id":1}']),
    (ConnectJson(), b'{"schema": {"type": "string"}, "payload": "k"}', b'{"schema": null, "payload": "l"}', ["k"]),
    (ConnectJson(), b'{"id": 1}', b'{"id": 2}', ['{"id":1}']),
    (Text(), b"k 1", b"k 2", ["k 1"]),
    (Bytes(), b"\xff", b"\xfe", ["0xff"]),
]


@pytest.mark.parametrize(("key_format", "meant", "other", "texts"), KEYS)
def test_a_key_is_found_in_each_format(
    monkeypatch: pytest.MonkeyPatch, key_format: Format, meant: bytes, other: bytes, texts: list[str]
) -> None:
    topic = searched(monkeypatch, Json(), key_format)
    topic.send(Msg({}, None), Msg({}, b""), Msg({}, other), Msg({}, meant))
    for text in texts:
        assert topic.offsets(text, meant="key") == [3], text


@pytest.mark.parametrize("value_format", [Avro(), Protobuf(), JsonSchema(), ConnectJson(), Text()])
def test_what_is_not_of_the_format_is_counted_and_told_where_it_is_found(
    monkeypatch: pytest.MonkeyPatch, value_format: Format
) -> None:
    topic = searched(monkeypatch, value_format, Json())
    topic.send(Msg(b"\xff\xfe", b"k"), Msg(b"\0\0\0\0\x63", b"l"))
    answer = topic.answer("f.g.h=1")
    assert answer.found == ()
    assert answer.reading.undecodable == (1 if value_format == Text() else 2)
    (found,) = topic.answer("k").found
    assert found.fate == "waiting"


def test_a_registry_that_does_not_answer_is_said_and_no_answer_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_ids: object) -> Any:
        raise SchemaRegistryUnavailable("no answer")

    topic = searched(monkeypatch, Avro(), Json(), down)
    topic.send(Msg(order("a"), b"k"))
    with pytest.raises(SchemaRegistryUnavailable):
        topic.answer("f=a")
