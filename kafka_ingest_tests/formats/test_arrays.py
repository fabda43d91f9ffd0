# A message is one line.
# ruff: noqa: E501
"""Arrays whose elements are rows, in every format that has arrays: the same rows from each, and what is wrong with one."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.formats.text import Bytes, Text
from kafka_ingest.streams.model import AppendModel, Model, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, outcomes, raw_slice, rows_of
from kafka_ingest_tests.formats.protoc import message_class
from kafka_ingest_tests.formats.world import avro_message, avro_schema, framed, knows


class Piece(AppendModel):
    """A line of an order."""

    __tablename__ = "array_pieces"
    explode = "order.lines"

    id: Mapped[int] = field(sa.BigInteger)
    customer: Mapped[str | None] = field(sa.String(20), path="order.customer")
    sku: Mapped[str] = field(sa.String(10), path="order.lines.sku")
    price: Mapped[Decimal | None] = field(sa.Numeric(10, 2), path="order.lines.price")
    at: Mapped[dt.datetime | None] = date_field(path="order.lines.at", unit="ms")
    colour: Mapped[str | None] = field(sa.String(10), path="order.lines.more.colour")


class Tag(AppendModel):
    """A text of a list of texts."""

    __tablename__ = "array_tags"
    explode = "tags"

    id: Mapped[int] = field(sa.BigInteger)
    tag: Mapped[str | None] = field(sa.String(10), path="tags.value")


class Whole(AppendModel):
    """An element of a message that is an array."""

    __tablename__ = "array_whole"
    explode = "[]"

    sku: Mapped[str] = field(sa.String(10))


MORE = {"type": "record", "name": "More", "fields": [{"name": "colour", "type": ["null", "string"]}]}
LINE = {
    "type": "record",
    "name": "Line",
    "fields": [
        {"name": "before", "type": {"type": "array", "items": "string"}},
        {"name": "sku", "type": "string"},
        {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "more", "type": ["null", MORE]},
    ],
}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "customer", "type": ["null", "string"]},
        {"name": "lines", "type": ["null", {"type": "array", "items": ["null", LINE]}]},
    ],
}
AVRO = {
    "type": "record",
    "name": "Message",
    "fields": [
        {"name": "order", "type": ["null", ORDER]},
        {"name": "tags", "type": {"type": "array", "items": ["null", "string"]}, "default": []},
        {"name": "id", "type": "long"},
    ],
}
PROTO = """syntax = "proto3"; import "google/protobuf/timestamp.proto";
message Message { Order order = 1; int64 id = 2; repeated string tags = 3; }
message Order { optional string customer = 1; repeated Line lines = 2; }
message Line { string sku = 1; optional string price = 2; google.protobuf.Timestamp at = 3; More more = 4; }
message More { optional string colour = 1; }"""
CONNECT_LINE = {
    "type": "struct",
    "fields": [
        {"field": "sku", "type": "string"},
        {
            "field": "price",
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": "2"},
        },
        {"field": "at", "type": "int64", "name": "org.apache.kafka.connect.data.Timestamp"},
        {"field": "more", "type": "struct", "fields": [{"field": "colour", "type": "string"}]},
    ],
}
CONNECT = {
    "type": "struct",
    "fields": [
        {"field": "id", "type": "int64"},
        {
            "field": "order",
            "type": "struct",
            "fields": [
                {"field": "customer", "type": "string"},
                {"field": "lines", "type": "array", "items": CONNECT_LINE},
            ],
        },
        {"field": "tags", "type": "array", "items": {"type": "string"}},
    ],
}


def _cents(text: str) -> bytes:
    return int(Decimal(text) * 100).to_bytes(4, "big")


def _lines(message: dict[str, Any], change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    order = message.get("order")
    if not order or not order.get("lines"):
        return message
    return message | {"order": order | {"lines": [None if each is None else change(each) for each in order["lines"]]}}


def _avro(message: dict[str, Any]) -> bytes:
    def line(each: dict[str, Any]) -> dict[str, Any]:
        price, at = each.get("price"), each.get("at")
        return {
            "before": ["x"],
            "sku": each["sku"],
            "price": None if price is None else Decimal(price),
            "at": None if at is None else dt.datetime.fromtimestamp(at / 1000, dt.timezone.utc),
            "more": each.get("more"),
        }

    return avro_message(AVRO, {"order": None, "tags": []} | _lines(message, line))


def _protobuf(message: dict[str, Any]) -> bytes:
    kind = message_class("Message", message=PROTO)
    found = kind(id=message["id"], tags=message.get("tags", []))
    order = message.get("order")
    if order is not None:
        found.order.SetInParent()
        if order.get("customer") is not None:
            found.order.customer = order["customer"]
        for each in order.get("lines") or ():
            line = found.order.lines.add(sku=each["sku"])
            if each.get("price") is not None:
                line.price = each["price"]
            if each.get("at") is not None:
                line.at.FromMilliseconds(each["at"])
            if each.get("more") is not None:
                line.more.colour = each["more"]["colour"]
    return framed(b"\0" + found.SerializeToString())


def _base64_prices(message: dict[str, Any]) -> dict[str, Any]:
    def line(each: dict[str, Any]) -> dict[str, Any]:
        price = each.get("price")
        return each | {"price": None if price is None else base64.b64encode(_cents(price)).decode()}

    return _lines(message, line)


def _connect(message: dict[str, Any]) -> bytes:
    return json.dumps({"schema": CONNECT, "payload": _base64_prices(message)}).encode()


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of Connect as its JsonSchemaConverter registers it, by what we read of it."""
    null = {"type": "null"}
    if schema["type"] == "struct":
        return {"oneOf": [null, {"properties": {each["field"]: _json_schema(each) for each in schema["fields"]}}]}
    if schema["type"] == "array":
        return {"oneOf": [null, {"type": "array", "items": _json_schema(schema["items"])}]}
    said = {"connect.type": schema["type"], "title": schema.get("name"), "connect.parameters": schema.get("parameters")}
    return {"oneOf": [null, {name: each for name, each in said.items() if each is not None}]}


@dataclass(frozen=True)
class Form:
    """A format, and how a message is written in it."""

    format: Format
    write: Callable[[dict[str, Any]], bytes]
    find: FindSchemas = lambda _ids: {}


class Own(Json):
    """A format of somebody's own that knows nothing of arrays but how to read them."""

    def read(self, data: bytes) -> object:
        return json.loads(data, parse_float=Decimal)

    reader, array_reader = Format.reader, Format.array_reader


def _json(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


FORMS = {
    "json": Form(Json(), _json),
    "json schema": Form(
        JsonSchema(), lambda message: framed(_json(message)), knows({1: RegisteredSchema(1, "JSON", "true")})
    ),
    "connect json schema": Form(
        JsonSchema(),
        lambda message: framed(json.dumps(_base64_prices(message)).encode()),
        knows({1: RegisteredSchema(1, "JSON", json.dumps(_json_schema(CONNECT)))}),
    ),
    "connect without schema": Form(ConnectJson(), _json),
    "connect": Form(ConnectJson(), _connect),
    "avro": Form(Avro(), _avro, knows({1: avro_schema(AVRO)})),
    "protobuf": Form(Protobuf(), _protobuf, knows({1: RegisteredSchema(1, "PROTOBUF", PROTO)})),
    "own": Form(Own(), _json),
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Form:
    found: Form = FORMS[request.param]
    return found


def read(form: Form, model: type[Model], *values: bytes) -> ParsedSlice:
    stream = Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=form.format)
    raw = raw_slice(Part([Msg(value) for value in values], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream, form.find).decode(raw), stream)
    assert sorted(set(outcomes(parsed))) == list(range(len(values)))
    return parsed


def test_the_rows_of_an_array_are_the_same_in_every_format(form: Form) -> None:
    lines = [
        {"sku": "a", "price": "1.50", "at": 1_714_566_615_123, "more": {"colour": "red"}},
        {"sku": "b"},
        {"sku": "a", "price": "0.07", "more": None},
    ]
    messages: list[dict[str, Any]] = [
        {"id": 1, "order": {"customer": "é", "lines": lines}},
        {"id": 2, "order": {"customer": None, "lines": []}},
        {"id": 3},
        {"id": 4, "order": {"lines": [{"sku": "c"}]} | {"customer": None}},
    ]
    parsed = read(form, Piece, *map(form.write, messages))
    at = dt.datetime(2024, 5, 1, 12, 30, 15, 123000)
    none = {"price": None, "at": None, "colour": None}
    assert rows_of(parsed, Piece) == [
        {"id": 1, "customer": "é", "sku": "a", "price": "1.5", "at": at, "colour": "red"},
        {"id": 1, "customer": "é", "sku": "b", **none},
        {"id": 1, "customer": "é", "sku": "a", **none, "price": "0.07"},
        {"id": 4, "customer": None, "sku": "c", **none},
    ]
    (frame,) = parsed.rows.values()
    assert frame["_kafka_index"].tolist() == [0, 1, 2, 0]
    assert frame.index.tolist() == [0, 0, 0, 3]
    assert parsed.ignored.tolist() == [1, 2]


def test_elements_that_are_no_objects_are_their_field_value(form: Form) -> None:
    parsed = read(form, Tag, *(form.write({"id": n, "tags": tags}) for n, tags in enumerate([["x", "y"], [], ["z"]])))
    assert rows_of(parsed, Tag) == [{"id": 0, "tag": "x"}, {"id": 0, "tag": "y"}, {"id": 2, "tag": "z"}]


def test_an_element_that_does_not_fit_makes_its_message_a_dead_letter(form: Form) -> None:
    good, long = {"sku": "a"}, {"sku": "much too long"}
    orders = [{"customer": "c", "lines": lines} for lines in ([good], [good, long])]
    parsed = read(form, Piece, *(form.write({"id": n, "order": each}) for n, each in enumerate(orders)))
    assert [row["id"] for row in rows_of(parsed, Piece)] == [0]
    stage, error = letters_of(parsed)[1]
    assert stage == "validate"
    assert error.startswith("order.lines[1].sku: 13 characters")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("json", b'{"id": 1, "order": {"lines": {"sku": "a"}}}', "Expected `array | null`, got `object` - at `$.order.lines`"),
        ("json", b'{"id": 1, "order": {"lines": "[]"}}', "Expected `array | null`, got `str` - at `$.order.lines`"),
        ("json", b'{"id": 1, "order": {"lines": [{"sku": "a"}, 5]}}', "Expected `object | null`, got `int` - at `$.order.lines[1]`"),
        ("json", b'{"id": 1, "order": [{"lines": []}]}', "Expected `object | null`, got `array` - at `$.order`"),
        ("own", b'{"id": 1, "order": {"lines": {"sku": "a"}}}', "order.lines: object where an array is exploded"),
        ("own", b'{"id": 1, "order": {"lines": [{"sku": "a"}, {"sku": [1]}]}}', "order.lines[1].sku: array in a column of type text"),
        ("own", b'{"id": 1, "order": {"lines": [null, 5]}}', "order.lines[1]: integer: an element that is no object is its field 'value'"),
        ("own", b'{"id": 1, "order": 5}', "order: integer in a column of type object"),
        ("connect", b'{"schema": null, "payload": {"id": 1, "order": {"lines": 5}}}', "Expected `array | null`, got `int`"),
    ],
)  # fmt: skip
def test_what_is_no_array_of_objects_is_a_dead_letter_that_says_so(name: str, value: bytes, error: str) -> None:
    stage, found = letters_of(read(FORMS[name], Piece, value))[0]
    assert stage == "decode"
    assert found.startswith(error)


def test_a_value_that_a_schema_does_not_allow_names_its_element() -> None:
    payload = {"id": 1, "order": {"lines": [{"sku": "a", "price": None}, {"sku": "b", "price": "!!"}]}}
    value = json.dumps({"schema": CONNECT, "payload": payload}).encode()
    stage, error = letters_of(read(FORMS["connect"], Piece, value))[0]
    assert stage == "decode"
    assert error.startswith("order.lines[1].price: ")


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ("string", "order.lines: an element that is no object is its field 'value'"),
        ({"type": "map", "values": "string"}, "order.lines: an element that is no object"),
    ],
)
def test_a_schema_whose_elements_are_no_records_is_said_so(items: object, error: str) -> None:
    order = {"type": "record", "name": "O", "fields": [{"name": "lines", "type": {"type": "array", "items": items}}]}
    schema = {
        "type": "record",
        "name": "M",
        "fields": [{"name": "id", "type": "int"}, {"name": "order", "type": order}],
    }
    value = avro_message(schema, {"id": 1, "order": {"lines": []}})
    form = replace(FORMS["avro"], find=knows({1: avro_schema(schema)}))
    assert letters_of(read(form, Piece, value))[0][1].startswith(error)


@pytest.mark.parametrize("kind", ["string", {"type": "map", "values": "int"}])
def test_a_schema_with_something_else_in_the_arrays_place_is_said_so(kind: object) -> None:
    schema = {
        "type": "record",
        "name": "M",
        "fields": [{"name": "id", "type": "int"}, {"name": "tags", "type": ["null", kind]}],
    }
    form = replace(FORMS["avro"], find=knows({1: avro_schema(schema)}))
    values = [avro_message(schema, {"id": 1, "tags": each}) for each in (None, "x" if kind == "string" else {"x": 1})]
    parsed = read(form, Tag, *values)
    assert parsed.ignored.tolist() == [0]
    name = "primitive" if kind == "string" else "map"
    assert letters_of(parsed) == {1: ("decode", f"tags: {name} where an array is exploded")}


def test_a_message_that_is_an_array_is_its_elements() -> None:
    schema = {"type": "array", "items": {"type": "record", "name": "L", "fields": [{"name": "sku", "type": "string"}]}}
    avro = replace(FORMS["avro"], find=knows({1: avro_schema(schema)}))
    wanted = [{"sku": "a"}, {"sku": "b"}]
    for form, value in (
        (FORMS["json"], _json(wanted)),  # type: ignore[arg-type]
        (FORMS["json schema"], framed(_json(wanted))),  # type: ignore[arg-type]
        (FORMS["connect"], _json({"schema": None, "payload": wanted})),
        (FORMS["connect"], _json(wanted)),  # type: ignore[arg-type]
        (FORMS["own"], _json(wanted)),  # type: ignore[arg-type]
        (avro, avro_message(schema, wanted)),
    ):
        assert rows_of(read(form, Whole, value), Whole) == wanted


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("json", b'{"sku": "a"}', "the value is a JSON object, and the model explodes messages that are arrays"),
        ("json", b"null", "the value is a JSON number, true, false or null"),
        ("json", b'[{"sku": "a"}, "b"]', "Expected `object | null`, got `str` - at `$[1]`"),
        ("own", b'{"sku": "a"}', "the message: null, or an object, where an array is exploded"),
        ("own", b"null", "the message: null, or an object, where an array is exploded"),
        ("own", b'["a"]', "[0]: text: an element that is no object is its field 'value'"),
    ],
)
def test_a_message_that_is_no_array_is_a_dead_letter_where_it_is_to_be_one(name: str, value: bytes, error: str) -> None:
    stage, found = letters_of(read(FORMS[name], Whole, value))[0]
    assert stage == "decode"
    assert found.startswith(error)


@pytest.mark.parametrize(
    ("form", "model"), [(Text(), Piece), (Bytes(), Tag), (Text(), Whole), (Protobuf(), Whole)], ids=repr
)
def test_a_format_that_has_no_such_array_is_refused(form: Format, model: type[Model]) -> None:
    with pytest.raises(ConfigError, match="have no such array"):
        Stream(name="s", topics="t", routes={"t": model}, route_by=RouteByTopic(), value_format=form)
