"""Which fields a message carries, does not carry, or sets to null, in each format: of columns that are kept."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import (
    Avro,
    ConnectJson,
    Format,
    Json,
    JsonSchema,
    Protobuf,
    RouteByTopic,
    Stream,
    UpsertModel,
    date_field,
    field,
)
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.kept import ABSENT, NEVER, OWN_NULL, place_column
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest_tests.formats.protoc import message_class
from kafka_ingest_tests.formats.world import avro_message, avro_schema, framed, knows


class Kept(UpsertModel):
    __tablename__ = "t_absent_fields"

    id: Mapped[int] = field(sa.BigInteger, primary_key=True)
    n: Mapped[int | None] = field(sa.BigInteger, keep_absent=True)
    text: Mapped[str | None] = field(sa.Text, path="in.text", keep_absent=True)
    doc: Mapped[Any | None] = field(sa.JSON, path="in.doc", keep_absent=True)
    at: Mapped[dt.datetime | None] = date_field(path="in.at", keep_absent=True)
    whole: Mapped[str | None] = field(sa.Text, path="in.whole")


STREAM = Stream(name="absent_fields", topics="t", routes={"t": Kept}, route_by=RouteByTopic())
NAMES = ("n", "text", "doc", "at")
CARRIED = None


def places(value_format: Format, value: bytes, find: FindSchemas = lambda _ids: {}) -> list[str | None]:
    """Of each kept column what stands beside it: NEVER where the message does not carry it."""
    stream = replace(STREAM, value_format=value_format)
    parsed = run_pipeline(StreamDecoder(stream, find).decode(raw_slice(Part([Msg(value)], topic="t"))), stream)
    assert parsed.dead_letters == []
    (frame,) = parsed.rows.values()
    return [None if frame[place_column(n)].isna()[0] else frame[place_column(n)][0] for n in NAMES]


WRITTEN = [
    ({"id": 1}, [NEVER] * 4),
    ({"id": 1, "in": None}, [NEVER, OWN_NULL, OWN_NULL, OWN_NULL]),
    ({"id": 1, "n": None, "in": {}}, [OWN_NULL, NEVER, NEVER, NEVER]),
    ({"id": 1, "n": 0, "in": {"text": "", "doc": [], "at": "2024-05-01"}}, [CARRIED] * 4),
    ({"id": 1, "n": 5, "in": {"text": None, "doc": None, "at": None}}, [CARRIED, OWN_NULL, OWN_NULL, OWN_NULL]),
    ({"id": 1, "in": {"doc": "null", "whole": "x"}}, [NEVER, NEVER, CARRIED, NEVER]),
]


class Plain(Format):
    """As a format from outside gives objects."""

    def read(self, data: bytes) -> object:
        return json.loads(data)


@pytest.mark.parametrize(("message", "expected"), WRITTEN)
@pytest.mark.parametrize("value_format", [Json(), JsonSchema(), ConnectJson(), Plain()])
def test_json_knows_what_is_missing(value_format: Format, message: dict[str, Any], expected: list[str | None]) -> None:
    data = json.dumps(message).encode()
    find = knows({1: RegisteredSchema(1, "JSON", '{"type": "object"}')})
    assert places(value_format, framed(data) if isinstance(value_format, JsonSchema) else data, find) == expected


def test_connect_json_with_a_schema_knows_what_is_missing() -> None:
    day = {"type": "int32", "name": "org.apache.kafka.connect.data.Date", "optional": True, "field": "at"}
    text = {"type": "string", "optional": True, "field": "text"}
    inner = {"type": "struct", "optional": True, "field": "in", "fields": [text, day]}
    schema = {"type": "struct", "fields": [{"type": "int64", "field": "id"}, inner]}

    def of(payload: dict[str, Any]) -> list[str | None]:
        return places(ConnectJson(), json.dumps({"schema": schema, "payload": payload}).encode())

    assert of({"id": 1, "in": {"at": 19844}}) == [NEVER, NEVER, NEVER, CARRIED]
    assert of({"id": 1, "in": {"at": None, "text": "x"}}) == [NEVER, CARRIED, NEVER, OWN_NULL]
    assert of({"id": 1, "in": None}) == [NEVER, OWN_NULL, OWN_NULL, OWN_NULL]
    assert of({"id": 1}) == [NEVER] * 4


def test_a_format_may_mark_a_field_as_absent() -> None:
    class Marking(Format):
        def read(self, data: bytes) -> object:
            return {"id": 1, "n": ABSENT, "in": {"text": ABSENT, "doc": None, "whole": ABSENT}}

    assert places(Marking(), b"x") == [NEVER, NEVER, OWN_NULL, NEVER]


def test_avro_knows_only_what_the_writers_schema_does_not_have() -> None:
    inner = {"type": "record", "name": "In", "fields": [{"name": "text", "type": ["null", "string"]}]}
    fields = [{"name": "id", "type": "long"}, {"name": "in", "type": ["null", inner]}]
    schema = {"type": "record", "name": "R", "fields": fields}
    find = knows({1: avro_schema(schema)})
    for value, expected in (
        ({"text": "x"}, [NEVER, CARRIED, NEVER, NEVER]),
        ({"text": None}, [NEVER, OWN_NULL, NEVER, NEVER]),
        (None, [NEVER, OWN_NULL, OWN_NULL, OWN_NULL]),
    ):
        assert places(Avro(), avro_message(schema, {"id": 1, "in": value}), find) == expected


def test_a_name_that_an_avro_map_lacks_is_absent() -> None:
    fields = [{"name": "id", "type": "long"}, {"name": "in", "type": {"type": "map", "values": ["null", "string"]}}]
    schema = {"type": "record", "name": "R", "fields": fields}
    message = avro_message(schema, {"id": 1, "in": {"text": None, "doc": "d"}})
    assert places(Avro(), message, knows({1: avro_schema(schema)})) == [NEVER, OWN_NULL, CARRIED, NEVER]


PROTO = """syntax = "proto3"; import "google/protobuf/wrappers.proto"; import "google/protobuf/struct.proto";
message M { int64 id = 1; int64 n = 2; In in = 3; }
message In { optional string text = 1; google.protobuf.Struct doc = 2; google.protobuf.Int64Value at = 3; }"""


def test_protobuf_knows_of_fields_with_presence_and_has_no_null() -> None:
    made = message_class("M", m=PROTO)
    find = knows({1: RegisteredSchema(1, "PROTOBUF", PROTO)})

    def of(message: Any) -> list[str | None]:
        return places(Protobuf(), framed(b"\0" + message.SerializeToString()), find)

    assert of(made(id=1)) == [CARRIED, NEVER, NEVER, NEVER]  # a plain int64 is its zero, and carried
    inner = {"text": "", "at": {"value": 1_714_521_600_000}}
    assert of(made(id=1, **{"in": inner})) == [CARRIED, CARRIED, NEVER, CARRIED]
