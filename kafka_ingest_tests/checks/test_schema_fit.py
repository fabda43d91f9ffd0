# A row of a table is one line.
# ruff: noqa: E501
"""Whether a column takes a field is said of the schema as the pipeline would say it of a message."""

from __future__ import annotations

import itertools
import json
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.checks.schema_fit import Fit, best_fit, read_of_keys, read_of_values
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.formats.text import Text
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, date_field, field
from kafka_ingest.streams.sources import Header, Key
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest_tests.formats.world import avro_schema, record

_NUMBERS = itertools.count()


def model_of(base: type[Model] = AppendModel, **columns: Any) -> type[Model]:
    """A model of its own metadata, with these columns and no other."""
    name = f"Fit{next(_NUMBERS)}"
    annotations = dict.fromkeys(columns, Mapped[Any])
    body = {"__tablename__": name, "__annotations__": annotations, "metadata": sa.MetaData(), **columns}
    return type(name, (base,), body)


def stream_of(column: Any) -> Stream:
    model = model_of(f=column)
    return Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=Avro())


def fit_of(stream: Stream, schema: RegisteredSchema) -> Fit:
    (target,) = stream.targets
    return best_fit(schema, Avro() if schema.kind == "AVRO" else Protobuf(), stream, target, read_of_values(target))


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


MILLIS = logical("long", "timestamp-millis")
MONEY = logical("bytes", "decimal", precision=9, scale=2)
COLOUR = {"type": "enum", "name": "C", "symbols": ["RED", "GREEN"]}
SIXTEEN = {"type": "fixed", "name": "F", "size": 16}

AVRO: list[tuple[Any, Any, str | None]] = [
    ("string", field(sa.String(3)), None),
    ("string", field(sa.Numeric(9, 2)), None),
    ("string", field(sa.Uuid), None),
    ("string", field(sa.Enum("a", "b")), None),
    ("string", date_field(), None),
    ("string", date_field(formats=["%d.%m.%Y"]), None),
    ("string", field(sa.Integer), "f (string): text in a column of type integer"),
    ("string", field(sa.Integer, cast=Cast(from_text=True)), None),
    ("string", field(sa.LargeBinary), "f (string): "),
    ("string", field(sa.LargeBinary, cast=Cast(bytes_from="base64")), None),
    ("int", field(sa.String(20)), None),
    ("int", field(sa.SmallInteger), None),
    ("int", field(sa.Float), None),
    ("long", field(sa.Boolean), "f (long): integer in a column of type boolean"),
    ("long", date_field(), None),
    ("long", date_field(unit="days"), None),
    ("boolean", field(sa.Boolean), None),
    ("boolean", field(sa.Integer), "f (boolean): boolean in a column of type integer"),
    ("double", field(sa.Integer), "f (double): float in a column of type integer"),
    ("double", field(sa.Numeric(9, 2)), None),
    (MONEY, field(sa.Numeric(9, 2)), None),
    (MONEY, field(sa.Float), "f (bytes): decimal in a column of type float"),
    (MILLIS, date_field(), None),
    (MILLIS, field(sa.BigInteger), "f (long): timestamp in a column of type integer"),
    (logical("int", "date"), date_field(sa.Date), None),
    (logical("long", "time-micros"), field(mysql.TIME(fsp=6)), None),
    ("bytes", field(sa.LargeBinary), None),
    ("bytes", field(sa.BINARY(16)), None),
    ("bytes", field(sa.Text), "f (bytes): bytes in a column of type text"),
    ("bytes", field(sa.Uuid), "f (bytes): "),
    (SIXTEEN, field(sa.BINARY(16)), None),
    (SIXTEEN, field(sa.BINARY(8)), "f (fixed(16)): "),
    (COLOUR, field(sa.Enum("RED", "GREEN")), None),
    (COLOUR, field(sa.Enum("BLUE", "BLACK")), "f (enum): "),
    ({"type": "map", "values": "int"}, field(sa.JSON), None),
    ({"type": "array", "items": "int"}, field(sa.Text), "f (array): array in a column of type text"),
    ("null", field(sa.Integer), None),
    (["null", "string"], field(sa.Text), None),
]


@pytest.mark.parametrize(("kind", "column", "refusal"), AVRO)
def test_a_type_of_avro_fits_a_column_or_it_is_said_why_not(kind: Any, column: Any, refusal: str | None) -> None:
    found = fit_of(stream_of(column), avro_schema(record(kind)))
    assert (found.fed, found.unfed, found.sometimes_refused) == (("f",), (), ())
    assert [each[: len(refusal or "")] for each in found.refused] == ([] if refusal is None else [refusal])


HEAD = 'syntax = "proto3"; import "google/protobuf/timestamp.proto"; import "google/protobuf/wrappers.proto"; enum Colour { RED = 0; GREEN = 1; } message Inner { int32 x = 1; } '
PROTOBUF: list[tuple[str, Any, str | None]] = [
    ("string f = 1;", field(sa.Text), None),
    ("int64 f = 1;", field(sa.BigInteger), None),
    ("uint64 f = 1;", field(sa.Text), None),
    ("double f = 1;", field(sa.BigInteger), "f (double): float in a column of type integer"),
    ("bool f = 1;", field(sa.Text), "f (bool): boolean in a column of type text"),
    ("bytes f = 1;", field(sa.LargeBinary), None),
    ("Colour f = 1;", field(sa.Enum("RED", "GREEN")), None),
    ("Colour f = 1;", field(sa.Integer), None),
    ("Colour f = 1;", field(sa.Float), "f (Colour): "),
    ("google.protobuf.Timestamp f = 1;", date_field(), None),
    ("google.protobuf.Timestamp f = 1;", field(sa.BigInteger), "f (google.protobuf.Timestamp): text in"),
    ("google.protobuf.Int64Value f = 1;", field(sa.SmallInteger), None),
    ("google.protobuf.StringValue f = 1;", field(sa.Integer), "f (google.protobuf.StringValue): text in"),
    ("repeated int32 f = 1;", field(sa.JSON), None),
    ("repeated int32 f = 1;", field(sa.Integer), "f (repeated int32): array in"),
    ("map<string, int32> f = 1;", field(sa.JSON), None),
    ("map<string, int32> f = 1;", field(sa.Integer, path="f.x"), None),
    ("map<string, string> f = 1;", field(sa.Integer, path="f.x"), "f (string): text in"),
    ("Inner f = 1;", field(sa.Integer, path="f.x"), None),
    ("Inner f = 1;", field(sa.Integer), "f (Inner): object in"),
]


@pytest.mark.parametrize(("declared", "column", "refusal"), PROTOBUF)
def test_a_type_of_protobuf_fits_a_column_or_it_is_said_why_not(
    declared: str, column: Any, refusal: str | None
) -> None:
    schema = RegisteredSchema(1, "PROTOBUF", f"{HEAD} message M {{ {declared} }}")
    found = fit_of(stream_of(column), schema)
    assert (found.fed, found.unfed, found.sometimes_refused) == (("f",), (), ())
    assert [each[: len(refusal or "")] for each in found.refused] == ([] if refusal is None else [refusal])


DATE = "org.apache.kafka.connect.data.Date"
DECIMAL = {
    "title": "org.apache.kafka.connect.data.Decimal",
    "connect.type": "bytes",
    "connect.parameters": {"scale": "2"},
}
JSON: list[tuple[Any, Any, str | None]] = [
    ({"type": "string"}, field(sa.Text), None),
    ({"type": "string"}, field(sa.Integer), "f (string): text in"),
    ({"type": "integer"}, field(sa.SmallInteger), None),
    ({"type": "integer"}, date_field(), None),
    ({"type": "number"}, field(sa.Float), None),
    ({"type": "boolean"}, field(sa.Integer), "f (boolean): boolean in"),
    ({"type": ["null", "integer"]}, field(sa.Integer), None),
    ({"oneOf": [{"type": "null"}, {"type": "array"}]}, field(sa.Text), "f (array): array in"),
    ({"enum": ["a", None]}, field(sa.Enum("b")), "f (enum): "),
    ({"type": "integer", "title": DATE}, date_field(sa.Date), None),
    ({"type": "integer", "title": DATE}, field(sa.Integer), "f (Date): date in"),
    ({"type": "string"} | DECIMAL, field(sa.Numeric(9, 2)), None),
    ({"type": "string"} | DECIMAL, field(sa.Float), "f (Decimal): decimal in"),
    ({"type": "string", "connect.type": "bytes"}, field(sa.LargeBinary), None),
    ({}, field(sa.Integer), None),
    (True, field(sa.Integer), None),
    (False, field(sa.Integer), "no field"),
]


@pytest.mark.parametrize(("kind", "column", "refusal"), JSON)
def test_a_type_of_json_schema_fits_a_column_or_it_is_said_why_not(kind: Any, column: Any, refusal: str | None) -> None:
    stream = stream_of(column)
    (target,) = stream.targets
    schema = RegisteredSchema(1, "JSON", json.dumps({"type": "object", "properties": {"f": kind}}))
    found = best_fit(schema, JsonSchema(), stream, target, read_of_values(target))
    if refusal == "no field":
        assert found.unfed_required == ("f",)
        return
    assert (found.fed, found.sometimes_refused) == (("f",), ())
    assert [each[: len(refusal or "")] for each in found.refused] == ([] if refusal is None else [refusal])


def test_columns_without_a_field_are_told_apart_by_whether_every_message_is_lost() -> None:
    model = model_of(
        a=field(sa.Integer, nullable=False),
        b=field(sa.Integer, nullable=False, default=0),
        c=field(sa.Integer, path="f.c", nullable=True),
        d=field(sa.Text, source=Header("d"), nullable=False),
    )
    stream = Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=Avro())
    found = fit_of(stream, avro_schema(record("int")))
    assert (found.fed, found.unfed_required, found.unfed) == ((), ("a",), ("b", "c"))


def test_of_a_union_each_branch_is_looked_at_and_records_of_several_kinds_together() -> None:
    stream = stream_of(field(sa.Integer))
    assert fit_of(stream, avro_schema(record(["null", "int", "string"]))).sometimes_refused == (
        "f (string): text in a column of type integer",
    )
    other = {"type": "record", "name": "Other", "fields": [{"name": "g", "type": "int"}]}
    assert fit_of(stream, avro_schema([other, record("int")])).fed == ("f",)
    tree = {"type": "record", "name": "R", "fields": [{"name": "below", "type": ["null", "R"]}]}
    assert fit_of(stream, avro_schema(tree)).unfed_required == ("f",)


def test_what_a_function_or_a_step_makes_of_a_value_is_not_judged() -> None:
    assert fit_of(stream_of(field(sa.Integer, cast=int)), avro_schema(record("string"))).refused == ()


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (RegisteredSchema(7, "PROTOBUF", HEAD), "schema 7 is of type PROTOBUF, and the stream's format is AVRO"),
        (RegisteredSchema(7, "AVRO", "{"), "schema 7 of the registry is no Avro schema"),
    ],
)
def test_a_schema_that_cannot_be_read_is_said(schema: RegisteredSchema, says: str) -> None:
    stream = stream_of(field(sa.Integer))
    (target,) = stream.targets
    with pytest.raises(BadMessage, match=says):
        best_fit(schema, Avro(), stream, target, read_of_values(target))


def test_the_columns_of_keys_are_those_of_tombstones_and_of_key_fields() -> None:
    class Deleting(UpsertModel):
        __abstract__ = True
        delete_on_tombstone: ClassVar[bool] = True

    model = model_of(
        Deleting,
        id=field(sa.BigInteger, primary_key=True, path="after.id"),
        who=field(sa.Text, source=Key("user.name"), nullable=True),
    )
    stream = Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), key_format=Avro())
    (target,) = stream.targets
    reads = list(read_of_keys(target, Avro()))
    assert [(each.bound.name, each.path) for each in reads] == [("id", ("id",)), ("who", ("user", "name"))]
    assert [each.bound.name for each in read_of_keys(target, Text())] == ["who"]
    assert list(read_of_keys(target, Json())) == reads
