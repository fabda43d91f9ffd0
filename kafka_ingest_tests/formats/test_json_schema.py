# A row of a table is one line.
# ruff: noqa: E501
"""JSON behind the registry's prefix: what a JSON Schema says of Kafka Connect's types, as Confluent's JsonSchemaConverter writes it."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.streams.formats.json import JsonSchema
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest_tests.formats.test_connect_json import DATA, DEBEZIUM, scaled
from kafka_ingest_tests.formats.world import MODELS, becomes, framed, knows

INT32, INT64 = {"type": "integer", "connect.type": "int32"}, {"type": "integer", "connect.type": "int64"}
BYTES = {"type": "string", "connect.type": "bytes"}


def titled(kind: dict[str, Any], title: str, **parameters: str) -> dict[str, Any]:
    return kind | {"title": title, "connect.version": 1} | ({"connect.parameters": parameters} if parameters else {})


def optional(kind: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [{"type": "null"}, kind], "connect.index": 1}


def whole(field: Any, **more: Any) -> dict[str, Any]:
    """As the converter writes a struct with a field `f`."""
    return {"type": "object", "title": "x.Value", "properties": {"f": field}} | more


def registry(schema: Any, *references: tuple[str, RegisteredSchema]) -> FindSchemas:
    return knows(
        {1: RegisteredSchema(1, "JSON", schema if isinstance(schema, str) else json.dumps(schema), references)}
    )


def found(kind: str, schema: Any, value: Any) -> Any:
    return becomes(kind, JsonSchema(), framed(json.dumps({"f": value}).encode()), registry(schema))


DAY = titled(INT32, f"{DATA}.Date")
TAKEN: list[tuple[str, Any, Any, Any]] = [
    # Of confluentinc/schema-registry, JsonSchemaDataTest; before pull 3746 its schema said number.
    ("number", titled(BYTES, f"{DATA}.Decimal", scale="2"), "AJw=", "1.56"),
    ("number", titled({"type": "number", "connect.type": "bytes"}, f"{DATA}.Decimal", scale="2"), "AJw=", "1.56"),
    ("number", titled({"type": "number", "connect.type": "bytes"}, f"{DATA}.Decimal", scale="4"), 1.56, "1.56"),
    ("number", optional(titled(BYTES, f"{DATA}.Decimal", scale="2")), scaled(-110), "-1.1"),
    ("number", optional(titled(BYTES, f"{DATA}.Decimal", scale="2")), None, None),
    ("date", DAY, 19844, dt.datetime(2024, 4, 30, 16)),
    ("day", DAY, 19844, dt.date(2024, 5, 1)),
    ("date", titled(INT64, f"{DATA}.Timestamp"), 5, dt.datetime(1970, 1, 1, 0, 0, 0, 5000)),
    ("date", titled(INT64, f"{DATA}.Timestamp"), 63_072_000_000, dt.datetime(1972, 1, 1)),
    ("time", titled(INT32, f"{DATA}.Time"), 34_215_123, "09:30:15.123"),
    ("time", titled({"type": "number", "connect.type": "int32"}, f"{DATA}.Time"), 34_215_123, "09:30:15.123"),
    ("date", titled(INT64, f"{DEBEZIUM}.MicroTimestamp"), 1_714_566_600_123_456, dt.datetime(2024, 5, 1, 4, 30, 0, 123456)),
    ("number", titled({"type": "object", "properties": {"scale": INT32, "value": BYTES}}, "io.debezium.data.VariableScaleDecimal"), {"scale": 3, "value": scaled(1)}, "0.001"),
    ("bytes", optional(BYTES), "AP8=", "00FF"),
    ("json", titled(BYTES, f"{DATA}.Decimal", scale="2"), scaled(110), "1.10"),
    ("text", {"enum": ["a", "b"], "title": "io.debezium.data.Enum"}, "a", "a"),
    ("float", {"type": "number", "connect.type": "float64"}, 0.1, 0.1),
    ("integer", {"type": "integer", "connect.type": "int8"}, 7, 7),
    ("integer", True, 7, 7),
    ("json", {"type": "array", "items": DAY}, [19844], "[19844]"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value", "expected"), TAKEN)
def test_a_value_is_taken_as_its_schema_says(kind: str, field: Any, value: Any, expected: Any) -> None:
    assert found(kind, whole(field), value) == expected


WAYS: list[Any] = [
    whole({"$ref": "#/definitions/day"}, definitions={"day": DAY}),
    whole({"$ref": "#/$defs/a~1day"}, **{"$defs": {"a/day": DAY}}),
    whole({"$ref": "day.json"}),
    whole({"$ref": "all.json#/definitions/day"}),
    whole({"anyOf": [{"type": "null"}, {"$ref": "day.json"}]}),
    whole({"oneOf": [DAY, DAY]}),
    {"oneOf": [{"type": "null"}, whole(DAY)]},
    {"allOf": [{"type": "object", "properties": {"g": {}}}, whole(DAY)]},
    {"type": "object", "properties": {"g": {}}, "allOf": [whole(DAY)]},
    {"$ref": "#/definitions/whole", "definitions": {"whole": whole(DAY)}},
    {"type": "object", "connect.type": "map", "additionalProperties": DAY},
]


@pytest.mark.parametrize("schema", WAYS, ids=json.dumps)
def test_a_field_is_found_wherever_a_schema_puts_it(schema: Any) -> None:
    day = RegisteredSchema(0, "JSON", json.dumps(DAY))
    every = RegisteredSchema(
        0, "JSON", json.dumps({"definitions": {"day": {"$ref": "day.json"}}}), (("day.json", day),)
    )
    schemas = registry(schema, ("day.json", day), ("all.json", every))
    assert becomes("day", JsonSchema(), framed(b'{"f": 19844}'), schemas) == dt.date(2024, 5, 1)


@pytest.mark.parametrize(
    "schema",
    [
        "true",
        "[]",
        "{}",
        whole({"$ref": "#/f"}, f={"$ref": "#/f"}),
        whole({"$ref": "other.json"}),
        whole({"$ref": "#/definitions/x/y"}, definitions=[]),
        whole({"oneOf": [DAY, {"type": "integer"}]}),
        {"properties": [], "additionalProperties": False},
        {"$ref": "#"},
    ],
    ids=str,
)
def test_where_a_schema_says_nothing_of_a_field_or_several_things_it_is_plain_json(schema: Any) -> None:
    assert becomes("integer", JsonSchema(), framed(b'{"f": 19844}'), registry(schema)) == 19844


LETTERS: list[tuple[str, Any, Any, str]] = [
    ("number", titled(BYTES, f"{DATA}.Decimal", scale="2"), "!", "f: "),
    ("number", titled(BYTES, f"{DATA}.Decimal", scale="x"), "AQ==", "f: its schema is Connect's Decimal"),
    ("text", BYTES, "AP8=", "f: bytes in a column of type text"),
    ("day", DAY, "2024-05-01", "f: b'\"2024-05-01\"' is not what its schema says: it is an integer"),
    ("integer", DAY, 19844, "f: date in a column of type integer"),
    ("integer", {"type": "string"}, "5", "Expected `int | null`, got `str` - at `$.f`"),
]


@pytest.mark.parametrize(("kind", "field", "value", "error"), LETTERS)
def test_what_is_not_as_its_schema_says_is_a_dead_letter(kind: str, field: Any, value: Any, error: str) -> None:
    stage, said = found(kind, whole(field), value)
    assert stage == "decode"
    assert said.startswith(error)


def test_a_schema_that_is_none_and_one_that_the_registry_does_not_have_are_said() -> None:
    assert found("integer", "{", 1)[1].startswith("schema 1 of the registry is no JSON Schema: ")
    value = framed(b'{"f": 1}')
    assert becomes("integer", JsonSchema(), value)[1].startswith("the schema registry has no schema with id 1")
    avro = knows({1: RegisteredSchema(1, "AVRO", '"int"')})
    assert (
        becomes("integer", JsonSchema(), value, avro)[1] == "schema 1 is of type AVRO, and the stream's format is JSON"
    )


# Properties.

_TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4),
)
LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ({"type": "boolean"}, st.booleans()),
    (INT64, st.integers(-(2**63), 2**63 - 1)),
    ({"type": "number", "connect.type": "float64"}, st.floats(allow_nan=False, allow_infinity=False)),
    ({"type": "string"}, _TEXTS),
    (titled(BYTES, f"{DATA}.Decimal", scale="3"), st.integers(-(10**20), 10**20).map(scaled)),
    (DAY, st.integers(-(2**31), 2**31 - 1)),
    (titled(INT32, f"{DATA}.Time"), st.integers(0, 86_399_999)),
    (titled(INT64, f"{DATA}.Timestamp"), st.integers(-(2**63), 2**63 - 1)),
    (BYTES, st.binary(max_size=40).map(lambda data: scaled(int.from_bytes(data)))),
    (True, _JSON),
]


@st.composite
def typed(draw: st.DrawFn, depth: int = 2) -> tuple[Any, Any]:
    """A schema and a value of it."""
    kind = draw(st.sampled_from(["leaf", "leaf", "optional", "array", "object"])) if depth else "leaf"
    if kind == "leaf":
        schema, values = draw(st.sampled_from(LEAVES))
        return schema, draw(values)
    schema, value = draw(typed(depth - 1))
    if kind == "optional":
        return optional(schema if isinstance(schema, dict) else {}), draw(st.none() | st.just(value))
    if kind == "array":
        return {"type": "array", "items": schema}, draw(st.lists(st.just(value), max_size=3))
    return {"type": "object", "properties": {"a": schema}}, {"a": value}


@given(typed(), st.sampled_from(sorted(MODELS)))
@example(({"type": "string"}, ""), "date")
@example(({"type": "string"}, " "), "day")
def test_whatever_a_schema_allows_is_a_row_or_a_dead_letter(both: tuple[Any, Any], kind: str) -> None:
    schema, value = both
    got = found(kind, whole(schema), value)
    if isinstance(got, tuple):
        assert got[0] in ("decode", "dates", "validate")
    elif kind in ("date", "day") and isinstance(value, str) and not value.strip():
        assert got is None, "a text without a date in it is none"
    elif value is None or got is None:
        assert value is None
        assert got is None
    elif schema == INT64 and kind == "integer":
        assert got == value
    elif schema == LEAVES[4][0] and kind in ("number", "json"):
        assert scaled(int(Decimal(got).scaleb(3))) == value
    elif schema == {"type": "string"} and kind == "text":
        assert got == value


@given(_JSON, st.sampled_from([schema for _, schema, _, _ in TAKEN]), st.sampled_from(sorted(MODELS)))
def test_whatever_stands_under_a_schema_is_a_row_or_a_dead_letter(value: Any, schema: Any, kind: str) -> None:
    got = found(kind, whole(schema), value)
    assert not isinstance(got, tuple) or got[0] in ("decode", "dates", "validate")


@settings(max_examples=25)
@given(_JSON, st.binary(max_size=40))
def test_no_schema_and_no_bytes_whatever_raise_anything(schema: Any, data: bytes) -> None:
    for kind in ("integer", "json", "date"):
        becomes(kind, JsonSchema(), framed(b'{"f": 1}'), registry(schema))
        becomes(kind, JsonSchema(), framed(data), registry(whole(DAY)))
        becomes(kind, JsonSchema(), data, registry(whole(DAY)))
