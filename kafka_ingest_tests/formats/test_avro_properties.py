"""Any value that a generated schema allows: fastavro writes it, and what we read is what fastavro reads, or a dead letter."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import io
import json
import math
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.avro_types import parse_schema
from kafka_ingest_tests.formats.world import (
    MODELS,
    all_become,
    avro_message,
    avro_schema,
    becomes,
    framed,
    knows,
    record,
)

pytestmark = pytest.mark.slow

_EXACT = decimal.Context(prec=50)
_INT, _LONG = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_INSTANTS = st.datetimes(dt.datetime(1000, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.timezone.utc))
_DECIMALS = st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-18, _EXACT))

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", _INT),
    ("long", _LONG),
    ("float", st.floats(width=32)),
    ("double", st.floats()),
    ("bytes", st.binary(max_size=300)),
    ("string", st.text(st.characters(codec="utf-8"), max_size=300)),
    ({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}, _DECIMALS),
    ({"type": "int", "logicalType": "date"}, st.dates()),
    ({"type": "long", "logicalType": "time-micros"}, st.times()),
    ({"type": "long", "logicalType": "timestamp-micros"}, _INSTANTS),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, _INSTANTS.map(lambda at: at.replace(tzinfo=None))),
]


@st.composite
def typed(draw: st.DrawFn, depth: int = 3) -> tuple[Any, Any]:
    """A schema and a value of it."""
    schema, values = draw(schemas(depth))
    return schema, draw(values)


@st.composite
def schemas(draw: st.DrawFn, depth: int, name: str = "N") -> tuple[Any, st.SearchStrategy[Any]]:
    kind = draw(st.sampled_from(["leaf", "leaf", "enum", "fixed", "array", "map", "union", "record"]))
    if kind == "leaf" or depth == 0:
        leaf: tuple[Any, st.SearchStrategy[Any]] = draw(st.sampled_from(LEAVES))
        return leaf
    if kind == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B", "C"]}, st.sampled_from("ABC")
    if kind == "fixed":
        return {"type": "fixed", "name": name, "size": 3}, st.binary(min_size=3, max_size=3)
    inner, values = draw(schemas(depth - 1, f"{name}a"))
    if kind == "array":
        return {"type": "array", "items": inner}, st.lists(values, max_size=70)
    if kind == "map":
        return {"type": "map", "values": inner}, st.dictionaries(
            st.text(st.characters(codec="utf-8")), values, max_size=5
        )
    if kind == "union":
        if isinstance(inner, list) or inner == "null":
            return inner, values
        return draw(st.sampled_from((["null", inner], [inner, "null"]))), st.none() | values
    other, others = draw(schemas(depth - 1, f"{name}b"))
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": other}]
    return {"type": "record", "name": name, "fields": fields}, st.fixed_dictionaries({"a": values, "b": others})


def fastavro_reads(schema: Any, data: bytes) -> Any:
    return fastavro.schemaless_reader(io.BytesIO(data[5:]), fastavro.parse_schema(schema), None)


def finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return all(map(finite, value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()))


def as_json(value: Any) -> Any:
    """What JSON says of it, numbers exact."""
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_json(each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dt.datetime):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, dt.date | dt.time) else value


@given(typed())
def test_whatever_a_schema_allows_is_read_as_fastavro_reads_it(both: tuple[Any, Any]) -> None:
    schema, value = record(both[0]), {"f": both[1]}
    data = avro_message(schema, value)
    expected = fastavro_reads(schema, data)
    read, end = parse_schema(avro_schema(schema)).read(data, 5)
    assert end == len(data)
    assert repr(read) == repr(expected)
    found = becomes("json", Avro(), data, knows({1: avro_schema(schema)}))
    if not finite(expected):
        assert found == ("decode", "f: has a number that is not finite, and JSON has none")
    else:
        shown = None if found is None else json.loads(found, parse_float=Decimal)
        assert same(shown, as_json(expected["f"]))


def same(shown: Any, expected: Any) -> bool:
    """Equal, with a float compared as the number it is."""
    if isinstance(expected, dict):
        return shown.keys() == expected.keys() and all(same(shown[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(shown) == len(expected) and all(map(same, shown, expected))
    if isinstance(expected, float):
        return float(shown) == expected
    return bool(shown == expected)


@given(typed(2), st.sampled_from(sorted(MODELS)))
def test_a_column_holds_the_value_or_the_message_is_a_dead_letter(both: tuple[Any, Any], kind: str) -> None:
    schema, value = record(both[0]), {"f": both[1]}
    found = becomes(kind, Avro(), avro_message(schema, value), knows({1: avro_schema(schema)}))
    if isinstance(found, tuple):
        assert found[0] in ("decode", "dates", "validate")
        return
    expected = fastavro_reads(schema, avro_message(schema, value))["f"]
    if kind in ("date", "day") and isinstance(expected, str) and not expected.strip():
        assert found is None  # an empty text is no date
    elif expected is None or found is None:
        assert expected is None
        assert found is None
    elif kind == "integer":
        assert type(expected) is int
        assert found == expected
    elif kind == "text":
        assert found == (expected.isoformat() if isinstance(expected, dt.date | dt.time) else str(expected))
    elif kind == "float":
        assert found == float(expected)
    elif kind == "number":
        assert Decimal(found) == Decimal(repr(expected) if isinstance(expected, float) else expected)
    elif kind == "boolean":
        assert found is expected
    elif kind == "date" and isinstance(expected, dt.datetime) and expected.tzinfo is not None:
        assert found == expected.replace(tzinfo=None)


@given(typed(2), st.data())
def test_no_bytes_whatever_raise_anything(both: tuple[Any, Any], data: st.DataObject) -> None:
    """Messages cut, lengthened or with a byte changed."""
    schema = record(both[0])
    good = avro_message(schema, {"f": both[1]})
    place = data.draw(st.integers(5, len(good)))
    junk = data.draw(st.binary(max_size=12))
    bad = [good[:place], good + junk, good[:place] + junk + good[place + 1 :], framed(junk)]
    for kind in MODELS:
        all_become(kind, Avro(), bad, knows({1: avro_schema(schema)}))
