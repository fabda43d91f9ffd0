# A row of a table is one line.
# ruff: noqa: E501
"""What becomes of Avro in the wire format: one row of a table for each type and logical type, and for each way to be wrong."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.json import JsonSchema
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.sources import Key
from kafka_ingest.streams.stream import RouteByField, RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, raw_slice, rows_of
from kafka_ingest_tests.formats.world import (
    PEOPLE,
    Person,
    avro_message,
    avro_schema,
    becomes,
    framed,
    knows,
    record,
)

UTC = dt.timezone.utc


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def fixed(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "F", "size": size, **more}


ENUM = {"type": "enum", "name": "E", "symbols": ["RED", "GREEN"]}
INNER = {"type": "record", "name": "I", "fields": [{"name": "x", "type": "int"}]}
TWENTY = Decimal("12345678901234567890.123456789012345678")
INSTANT = dt.datetime(2024, 5, 1, 12, 30, 0, 123456, tzinfo=UTC)
NAIVE = INSTANT.replace(tzinfo=None)

TAKEN: list[tuple[str, Any, Any, Any]] = [
    ("text", "string", "é😀\0", "é😀\0"),
    ("text", "string", "x" * 100_000, "x" * 100_000),
    ("text", ["null", "string"], None, None),
    ("text", ["string", "null"], "s", "s"),
    ("text", ENUM, "GREEN", "GREEN"),
    ("text", "long", 2**63 - 1, "9223372036854775807"),
    ("text", logical("string", "uuid"), uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("text", fixed(16, logicalType="uuid"), uuid.UUID(int=5).bytes, "00000000-0000-0000-0000-000000000005"),
    ("text", logical("int", "date"), dt.date(1582, 10, 4), "1582-10-04"),
    ("text", logical("int", "time-millis"), dt.time(23, 59, 59, 999000), "23:59:59.999000"),
    ("text", logical("long", "time-micros"), dt.time(0, 0, 0, 1), "00:00:00.000001"),
    ("text", logical("long", "timestamp-micros"), INSTANT, "2024-05-01T12:30:00.123456+00:00"),
    ("text", ["null", INNER, "string"], "s", "s"),
    ("integer", "int", -(2**31), -(2**31)),
    ("integer", "long", -(2**63), -(2**63)),
    ("integer", "long", 64, 64),
    ("integer", "long", -64, -64),
    ("integer", "long", -65, -65),
    ("float", "double", 0.1, 0.1),
    ("float", "float", 0.5, 0.5),
    ("float", "int", 3, 3.0),
    ("number", logical("bytes", "decimal", precision=38, scale=18), TWENTY, "12345678901234567890.123456789012345678"),
    ("number", logical("bytes", "decimal", precision=4, scale=2), Decimal("-1.10"), "-1.1"),
    ("number", fixed(9, logicalType="decimal", precision=20, scale=0), Decimal(2**64), str(2**64)),
    ("number", "long", 2**62, str(2**62)),
    ("number", "double", 0.1, "0.1"),
    ("boolean", "boolean", True, True),
    ("boolean", ["null", "boolean"], False, False),
    ("json", {"type": "array", "items": ["null", "long"]}, [1, None, 2**63 - 1], "[1,null,9223372036854775807]"),
    ("json", {"type": "map", "values": INNER}, {"a": {"x": 1}}, '{"a":{"x":1}}'),
    ("json", INNER, {"x": -1}, '{"x":-1}'),
    ("json", "bytes", b"\0\xff", '"AP8="'),
    ("json", logical("bytes", "decimal", precision=38, scale=18), TWENTY, "12345678901234567890.123456789012345678"),
    ("json", ["null", "string"], None, None),
    ("json", "string", "null", '"null"'),
    ("date", logical("long", "timestamp-millis"), INSTANT.replace(microsecond=123000), NAIVE.replace(microsecond=123000)),
    ("date", logical("long", "timestamp-micros"), INSTANT, NAIVE),
    ("date", logical("long", "local-timestamp-micros"), NAIVE, NAIVE - dt.timedelta(hours=8)),
    ("date", logical("int", "date"), dt.date(2024, 5, 1), dt.datetime(2024, 4, 30, 16)),
    ("date", logical("int", "date"), dt.date(1700, 1, 1), dt.datetime(1699, 12, 31, 15, 54, 17)),
    ("day", logical("int", "date"), dt.date(1582, 10, 4), dt.date(1582, 10, 4)),
    ("day", logical("long", "timestamp-micros"), dt.datetime(2024, 4, 30, 16, tzinfo=UTC), dt.date(2024, 5, 1)),
    ("day", logical("long", "local-timestamp-micros"), dt.datetime(2024, 5, 1, 23, 59), dt.date(2024, 5, 1)),
    ("bytes", "bytes", b"\0\xff", "00FF"),
    ("bytes", fixed(2), b"\0\xff", "00FF"),
    ("time", logical("long", "time-micros"), dt.time(1, 2, 3, 4), "01:02:03.000004"),
    ("time", "string", "01:02:03", "01:02:03"),
    ("uuid", logical("string", "uuid"), uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    ("uuid", fixed(16, logicalType="uuid"), uuid.UUID(int=5).bytes, "00000000-0000-0000-0000-000000000005"),
    ("date", "string", "2024-05-01T12:30:00Z", NAIVE.replace(microsecond=0)),
    ("date", ["null", logical("long", "timestamp-micros")], None, None),
    # What Debezium's converter writes: the name of its own type beside a plain integer.
    ("date", {"type": "int", "connect.name": "io.debezium.time.Date"}, 19844, dt.datetime(2024, 4, 30, 16)),
    ("date", {"type": "long", "connect.name": "io.debezium.time.MicroTimestamp"}, 1, dt.datetime(1969, 12, 31, 16, 0, 0, 1)),
    # An unknown or invalid logical type is no logical type: the standard says so.
    ("integer", logical("long", "made-up"), 5, 5),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "schema", "value", "expected"), TAKEN)
def test_a_value_is_taken(kind: str, schema: Any, value: Any, expected: Any) -> None:
    found = becomes(kind, Avro(), avro_message(record(schema), {"f": value}), knows({1: avro_schema(record(schema))}))
    assert found == expected
    assert type(found) is type(expected) or isinstance(found, dt.datetime)


LETTERS: list[tuple[str, Any, Any, str, str]] = [
    ("integer", "string", "5", "decode", "f: text in a column of type integer"),
    ("integer", "double", 5.0, "decode", "f: float in a column of type integer"),
    ("integer", "boolean", True, "decode", "f: boolean in a column of type integer"),
    ("integer", logical("long", "timestamp-micros"), INSTANT, "decode", "f: timestamp in a column of type integer"),
    ("text", "boolean", True, "decode", "f: boolean in a column of type text"),
    ("text", "double", 0.5, "decode", "f: float in a column of type text"),
    ("text", "bytes", b"x", "decode", "f: bytes in a column of type text"),
    ("text", INNER, {"x": 1}, "decode", "f: object in a column of type text"),
    ("float", logical("bytes", "decimal", precision=4, scale=2), Decimal("1.5"), "decode", "f: decimal in a column of type float"),
    ("float", "double", float("nan"), "decode", "f: nan is not finite"),
    ("number", "string", "1_000", "decode", "f: '1_000' is no number"),
    ("number", "double", float("inf"), "decode", "f: inf is not finite"),
    ("number", {"type": "array", "items": "int"}, [1], "decode", "f: array in a column of type number"),
    ("boolean", "int", 1, "decode", "f: integer in a column of type boolean"),
    ("json", {"type": "array", "items": "double"}, [1.0, float("nan")], "decode", "f: has a number that is not finite"),
    ("bytes", "string", "x", "validate", "f: text in a binary column"),
    ("time", "long", 5, "decode", "f: integer in a column of type text, time or bytes"),
    ("uuid", "bytes", b"x" * 16, "validate", 'f: "b\'xxxxxxxxxxxxxxxx\'" is no UUID'),
    ("date", "boolean", True, "dates", "f: True is neither text nor a number"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "schema", "value", "stage", "error"), LETTERS)
def test_a_value_its_column_does_not_take_is_a_dead_letter(
    kind: str, schema: Any, value: Any, stage: str, error: str
) -> None:
    found = becomes(kind, Avro(), avro_message(record(schema), {"f": value}), knows({1: avro_schema(record(schema))}))
    assert found[0] == stage
    assert found[1].startswith(error)


GOOD = avro_message(record("string"), {"f": "some text"})
BROKEN: list[tuple[str, bytes, Any, str]] = [
    ("JSON", b'{"f": "x"}', "string", "begins with b'{\"f\":'"),
    ("empty", b"", "string", "begins with b''"),
    ("shorter than a prefix", b"\0\0\0", "string", "begins with"),
    ("cut", GOOD[:-1], "string", "the message ends after"),
    ("cut behind the prefix", GOOD[:5], "string", "the message ends after 5 bytes"),
    ("longer than its schema", GOOD + b"!", "string", "the message has 1 bytes more than its schema says"),
    ("an id that nobody knows", framed(GOOD[5:], 7), "string", "the schema registry has no schema with id 7"),
    ("a negative length", framed(b"\x01"), "string", "a text or bytes of length -1"),
    ("a length beyond the message", framed(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "string", "a text or bytes of length"),
    ("not UTF-8", framed(b"\x02\xff"), "string", "not UTF-8"),
    ("a boolean of 2", framed(b"\x02"), "boolean", "f: a boolean is 2"),
    ("no such branch", framed(b"\x04"), ["null", "string"], "branch 2 of a union that has 2"),
    ("a negative branch", framed(b"\x01"), ["null", "string"], "branch -1 of a union that has 2"),
    ("no such symbol", framed(b"\x08"), ENUM, "f: symbol 4 of an enum that has 2"),
    ("an int of 33 bits", framed(b"\xfe\xff\xff\xff\x1f"), "int", "an int is 4294967295"),
    ("a number without end", framed(b"\xff" * 20), "long", "a number has more than 64 bits"),
    ("2**60 nulls", framed(b"\x80\x80\x80\x80\x80\x80\x80\x80\x20"), {"type": "array", "items": "null"}, "1152921504606846976 items in a message"),
    ("a day beyond dates", framed(b"\xfe\xff\xff\xff\x0f"), logical("int", "date"), "f: day 2147483647 is outside the years 1 to 9999"),
    ("a time beyond midnight", avro_message(record("int"), {"f": 86_400_000}), logical("int", "time-millis"), "f: 86400000000 µs is no time of a day"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "schema", "error"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_bytes_are_a_dead_letter_that_says_how(value: bytes, schema: Any, error: str) -> None:
    stage, found = becomes("text", Avro(), value, knows({1: avro_schema(record(schema))}))
    assert stage == "decode"
    assert found.startswith(error)


def test_a_schema_of_another_type_and_one_that_is_none_are_said() -> None:
    other = {1: RegisteredSchema(1, "PROTOBUF", "syntax = 'proto3';")}
    assert becomes("text", Avro(), GOOD, knows(other)) == (
        "decode",
        "schema 1 is of type PROTOBUF, and the stream's format is AVRO",
    )
    for text, why in (
        ("{", "Expecting"),
        ('{"type":"record","name":"x"}', "it has no 'fields'"),
        ('"Lost"', "type 'Lost'"),
    ):
        stage, error = becomes("text", Avro(), GOOD, knows({1: RegisteredSchema(1, "AVRO", text)}))
        assert stage == "decode"
        assert error.startswith(f"schema 1 of the registry is no Avro schema: {why}")


def test_a_record_inside_itself_without_end_is_a_dead_letter() -> None:
    loop = {"type": "record", "name": "L", "fields": [{"name": "f", "type": "L"}]}
    assert becomes("json", Avro(), framed(b"\0" * 50), knows({1: avro_schema(loop)}))[0] == "decode"


def person(name: str | None, **more: Any) -> dict[str, Any]:
    return {"id": 1, "who": None if name is None else {"name": name}, **more}


def person_schema(*more: dict[str, Any], who: Any = "string") -> dict[str, Any]:
    inner = {"type": "record", "name": "Who", "namespace": "n", "fields": [{"name": "name", "type": who}]}
    fields = [{"name": "id", "type": "long"}, {"name": "who", "type": ["null", inner]}, *more]
    return {"type": "record", "name": "P", "fields": fields}


def piped(stream: Stream, raw: RawSlice, schemas: dict[int, RegisteredSchema]) -> ParsedSlice:
    return run_pipeline(StreamDecoder(stream, knows(schemas)).decode(raw), stream)


AVRO_PEOPLE = replace(PEOPLE, value_format=Avro(), key_format=Avro())


def test_each_message_is_read_by_its_writers_schema_and_fields_are_taken_by_name() -> None:
    old = person_schema()
    new = person_schema({"name": "more", "type": "string"}, {"name": "note", "type": ["null", "string"]})
    new["fields"].reverse()
    raw = raw_slice(
        Part(
            [
                Msg(avro_message(old, person("a"), 1)),
                Msg(avro_message(new, person("b", more="x", note="n"), 2)),
                Msg(avro_message(new, person(None, more="x", note=None), 2)),
            ],
            topic="t",
        )
    )
    parsed = piped(AVRO_PEOPLE, raw, {1: avro_schema(old), 2: avro_schema(new, 2)})
    assert rows_of(parsed, Person) == [
        {"id": 1, "name": "a", "note": "none"},
        {"id": 1, "name": "b", "note": "n"},
        {"id": 1, "name": None, "note": "none"},
    ]


def test_types_that_a_schema_refers_to_are_read() -> None:
    """A reference by full name, and one of that by its name in the namespace."""
    code = {"type": "fixed", "name": "Code", "namespace": "n", "size": 2}
    who = {
        "type": "record",
        "name": "Who",
        "namespace": "n",
        "fields": [{"name": "code", "type": "Code"}, {"name": "name", "type": "string"}],
    }
    whole = {
        "type": "record",
        "name": "P",
        "fields": [{"name": "id", "type": "long"}, {"name": "who", "type": "n.Who"}],
    }
    inner = avro_schema(who, 0, ("n.Code", avro_schema(code, 0)))
    raw = raw_slice(Part([Msg(framed(b"\x02ab\x02x"))], topic="t"))
    parsed = piped(AVRO_PEOPLE, raw, {1: avro_schema(whole, 1, ("n.Who", inner))})
    assert rows_of(parsed, Person) == [{"id": 1, "name": "x", "note": "none"}]


@pytest.mark.parametrize(
    "schema", [{"type": "record", "name": "K", "fields": [{"name": "id", "type": "long"}]}, "long"]
)
def test_a_tombstones_key_in_avro_names_its_row(schema: Any) -> None:
    key = {"id": 5} if isinstance(schema, dict) else 5
    raw = raw_slice(Part([Msg(None, key=avro_message(schema, key)), Msg(None, key=b"5"), Msg(None)], topic="t"))
    parsed = piped(AVRO_PEOPLE, raw, {1: avro_schema(schema)})
    (deletes,) = parsed.deletes.values()
    assert deletes["id"].tolist() == [5]
    letters = letters_of(parsed)
    assert letters[1][1].startswith("tombstone: the key '5' does not name a row: begins with b'5'")
    assert letters[2][1] == "tombstone: the message has no key, so nothing says which row to delete"


class Typed(AppendModel):
    __tablename__ = "typed"
    id: Mapped[int] = field(sa.Integer)


def test_the_type_that_routes_a_message_may_stand_anywhere_in_it() -> None:
    stream = Stream(
        name="typed", topics="t", routes={"a": Typed}, route_by=RouteByField("head.type"), value_format=Avro()
    )
    head = {
        "type": "record",
        "name": "H",
        "fields": [{"name": "x", "type": "long"}, {"name": "type", "type": "string"}],
    }
    schema = {
        "type": "record",
        "name": "M",
        "fields": [{"name": "id", "type": "int"}, {"name": "head", "type": head}, {"name": "tail", "type": "string"}],
    }
    values = [{"id": n, "head": {"x": 2**40, "type": kind}, "tail": "z"} for n, kind in enumerate("ab")]
    raw = raw_slice(Part([Msg(avro_message(schema, value)) for value in values], topic="t"))
    parsed = piped(stream, raw, {1: avro_schema(schema)})
    assert rows_of(parsed, Typed) == [{"id": 0}]
    assert letters_of(parsed) == {1: ("route", "no route for type 'b'; the stream has a")}


class Keyed(AppendModel):
    __tablename__ = "keyed"
    owner: Mapped[str | None] = field(sa.String(20), source=Key("who.name"))
    name: Mapped[str | None] = field(sa.String(20))


def test_a_column_from_the_key_is_read_by_the_keys_format() -> None:
    stream = Stream(
        name="keyed",
        topics="t",
        routes={"t": Keyed},
        route_by=RouteByTopic(),
        value_format=JsonSchema(),
        key_format=Avro(),
    )
    key = avro_message(person_schema(), person("ann"))
    value = framed(b'{"name": "n"}', 2)
    raw = raw_slice(Part([Msg(value, key=key), Msg(value), Msg(value, key=b"x")], topic="t"))
    parsed = piped(stream, raw, {1: avro_schema(person_schema()), 2: RegisteredSchema(2, "JSON", "{}")})
    assert rows_of(parsed, Keyed) == [{"owner": "ann", "name": "n"}, {"owner": None, "name": "n"}]
    assert letters_of(parsed)[2][1].startswith("the message's key is no object with who.name: begins with b'x'")


def test_a_path_leads_into_a_map() -> None:
    schema = {
        "type": "record",
        "name": "P",
        "fields": [{"name": "id", "type": "long"}, {"name": "who", "type": {"type": "map", "values": "string"}}],
    }
    raw = raw_slice(
        Part(
            [
                Msg(avro_message(schema, {"id": 1, "who": {"name": "m"}})),
                Msg(avro_message(schema, {"id": 2, "who": {}})),
            ],
            topic="t",
        )
    )
    assert [row["name"] for row in rows_of(piped(AVRO_PEOPLE, raw, {1: avro_schema(schema)}), Person)] == ["m", None]


def test_a_message_that_is_no_record_is_a_dead_letter_where_the_model_reads_fields() -> None:
    raw = raw_slice(
        Part(
            [Msg(avro_message("string", "x")), Msg(avro_message(["null", person_schema()], None, 2), key=b"k")],
            topic="t",
        )
    )
    parsed = piped(AVRO_PEOPLE, raw, {1: avro_schema("string"), 2: avro_schema(["null", person_schema()], 2)})
    assert letters_of(parsed) == {
        0: ("decode", "the message is no record, and the model reads fields of one"),
        1: ("decode", "the message is null, and no record"),
    }


def test_blocks_with_their_size_are_read_and_skipped() -> None:
    """As Java's blocking encoder writes them: a negative count, then the block's size in bytes."""
    array = {"type": "array", "items": "int"}
    blocks = b"\x03\x04\x02\x04" + b"\x02\x06" + b"\0"
    assert becomes("json", Avro(), framed(blocks), knows({1: avro_schema(record(array))})) == "[1,2,3]"
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": array}, {"name": "f", "type": "string"}]}
    assert becomes("text", Avro(), framed(blocks + b"\x02x"), knows({1: avro_schema(schema)})) == "x"


def test_a_decimal_of_more_places_than_digits_is_the_bytes_it_is() -> None:
    """The standard has an invalid logical type ignored."""
    schema = record(logical("bytes", "decimal", precision=2, scale=3))
    assert becomes("json", Avro(), framed(b"\x02\1"), knows({1: avro_schema(schema)})) == '"AQ=="'


def test_json_of_a_nested_value_keeps_all_digits() -> None:
    schema = record({"type": "map", "values": logical("bytes", "decimal", precision=38, scale=18)})
    found = becomes("json", Avro(), avro_message(schema, {"f": {"n": TWENTY}}), knows({1: avro_schema(schema)}))
    assert json.loads(found, parse_float=Decimal) == {"n": TWENTY}
