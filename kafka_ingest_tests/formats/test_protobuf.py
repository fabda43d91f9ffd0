# A row of a table is one line.
# ruff: noqa: E501
"""What becomes of Protobuf in the wire format: one row of a table for each type, and for each way to be wrong."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.testing.messages import Msg, Part, letters_of, raw_slice, rows_of
from kafka_ingest_tests.formats.protoc import message_class
from kafka_ingest_tests.formats.world import MODELS, PEOPLE, Person, becomes, framed, knows

HEAD = """syntax = "proto3";
import "google/protobuf/timestamp.proto"; import "google/protobuf/duration.proto"; import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
enum Colour { RED = 0; GREEN = 1; }
message Inner { int32 x = 1; optional string y = 2; Inner next = 3; }
"""
TS, DUR, STRUCT = "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.Struct"


def schema(field: str) -> str:
    """A file whose first message is not the one: `M` with a field `f`."""
    return f"{HEAD} message M {{ {field} }}"


@cache
def made(field: str) -> Any:
    return message_class("M", m=schema(field))


def registered(text: str, *references: tuple[str, RegisteredSchema]) -> RegisteredSchema:
    return RegisteredSchema(1, "PROTOBUF", text, references)


def found(kind: str, field: str, values: Any) -> Any:
    """What a column holds of `f`: the message has these fields."""
    message = made(field)()
    if callable(values):
        values(message)
    else:
        for name, value in values.items():
            setattr(message, name, value)
    return becomes(
        kind, Protobuf(), framed(b"\x02\x02" + message.SerializeToString()), knows({1: registered(schema(field))})
    )


def stamp(message: Any) -> None:
    message.f.seconds, message.f.nanos = 1_714_566_600, 123_456_789


TAKEN: list[tuple[str, str, Any, Any]] = [
    ("text", "string f = 1;", {"f": "é😀"}, "é😀"),
    ("text", "string f = 1;", {}, ""),
    ("text", "optional string f = 1;", {}, None),
    ("text", "optional string f = 1;", {"f": ""}, ""),
    ("text", "Colour f = 1;", {"f": 1}, "GREEN"),
    ("text", "Colour f = 1;", {}, "RED"),
    ("integer", "Colour f = 1;", {"f": 7}, 7),
    ("json", "repeated Colour f = 1;", lambda m: m.f.extend([1, 7]), '["GREEN",7]'),
    ("text", "google.protobuf.StringValue f = 1;", {}, None),
    ("text", "google.protobuf.StringValue f = 1;", lambda m: m.f.SetInParent(), ""),
    ("integer", "google.protobuf.Int64Value f = 1;", lambda m: setattr(m.f, "value", 2**63 - 1), 2**63 - 1),
    ("text", "oneof o { string f = 1; int32 g = 2; }", {"g": 5}, None),
    ("text", "oneof o { string f = 1; int32 g = 2; }", {"f": ""}, ""),
    ("integer", "int64 f = 1;", {"f": -(2**63)}, -(2**63)),
    ("integer", "sint32 f = 1;", {"f": -5}, -5),
    ("integer", "uint32 f = 1;", {"f": 2**32 - 1}, 2**32 - 1),
    ("integer", "fixed64 f = 1;", {"f": 2**62}, 2**62),
    ("number", "uint64 f = 1;", {"f": 2**64 - 1}, str(2**64 - 1)),
    ("number", "double f = 1;", {"f": 0.1}, "0.1"),
    ("number", f"{DUR} f = 1;", lambda m: m.f.FromNanoseconds(-1_500_000_001), "-1.500000001"),
    ("text", f"{DUR} f = 1;", lambda m: m.f.FromNanoseconds(1_500_000_000), "1.500s"),
    ("float", "float f = 1;", {"f": 0.5}, 0.5),
    ("float", "int32 f = 1;", {"f": 3}, 3.0),
    ("boolean", "bool f = 1;", {"f": True}, True),
    ("boolean", "optional bool f = 1;", {"f": False}, False),
    ("date", f"{TS} f = 1;", stamp, dt.datetime(2024, 5, 1, 12, 30, 0, 123456)),
    ("date", f"{TS} f = 1;", {}, None),
    ("text", f"{TS} f = 1;", stamp, "2024-05-01T12:30:00.123456789Z"),
    ("json", f"{TS} f = 1;", stamp, '"2024-05-01T12:30:00.123456789Z"'),
    ("json", "map<int64, Inner> f = 1;", lambda m: setattr(m.f[2**40], "x", 5), '{"1099511627776":{"x":5}}'),
    ("json", "map<bool, string> f = 1;", lambda m: m.f.update({True: "t"}), '{"true":"t"}'),
    ("json", "repeated int64 f = 1;", lambda m: m.f.extend([1, 2**63 - 1]), "[1,9223372036854775807]"),
    ("json", "repeated int64 f = 1;", {}, "[]"),
    ("json", "Inner f = 1;", lambda m: setattr(m.f.next, "y", "s"), '{"x":0,"next":{"x":0,"y":"s"}}'),
    ("json", "Inner f = 1;", {}, None),
    ("json", f"{STRUCT} f = 1;", lambda m: m.f.update({"a": [1, None, {"b": "c"}]}), '{"a":[1.0,null,{"b":"c"}]}'),
    ("json", "bytes f = 1;", {"f": b"\0\xff"}, '"AP8="'),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "values", "expected"), TAKEN)
def test_a_value_is_taken(kind: str, field: str, values: Any, expected: Any) -> None:
    assert found(kind, field, values) == expected


def late(message: Any) -> None:
    message.f.seconds = 10**15


LETTERS: list[tuple[str, str, Any, str]] = [
    ("integer", "string f = 1;", {"f": "5"}, "f: text in a column of type integer"),
    ("text", "double f = 1;", {"f": 0.5}, "f: float in a column of type text"),
    ("text", "bytes f = 1;", {"f": b"x"}, "f: bytes in a column of type text"),
    ("text", "Colour f = 1;", {"f": 7}, "f: 7 is no member of Colour"),
    ("text", "Inner f = 1;", lambda m: m.f.SetInParent(), "f: object in a column of type text"),
    ("boolean", "int32 f = 1;", {"f": 1}, "f: integer in a column of type boolean"),
    ("number", "repeated int32 f = 1;", {}, "f: array in a column of type number"),
    ("float", "double f = 1;", {"f": float("nan")}, "f: nan is not finite"),
    ("json", "repeated float f = 1;", lambda m: m.f.append(float("inf")), "f: has a number that is not finite"),
    ("date", f"{TS} f = 1;", late, "a timestamp is 1000000000000000 s after 1970"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "values", "error"), LETTERS)
def test_a_value_its_column_does_not_take_is_a_dead_letter(kind: str, field: str, values: Any, error: str) -> None:
    stage, text = found(kind, field, values)
    assert stage == "decode"
    assert text.startswith(error)


ONE = 'syntax = "proto3"; message M { string f = 1; }'
BROKEN: list[tuple[str, bytes, str, str]] = [
    ("JSON", b'{"f": "x"}', ONE, "begins with"),
    ("nothing behind the prefix", framed(b""), ONE, "the message b'\\x00\\x00\\x00\\x00\\x01' ends before"),
    ("cut", framed(b"\0\x0a\x05ab"), ONE, "is no M: "),
    ("text that is no UTF-8", framed(b"\0\x0a\x01\xff"), ONE, "is no M: "),
    ("an id that nobody knows", framed(b"\0", 9), ONE, "the schema registry has no schema with id 9"),
    ("a message that is not in the file", framed(b"\x02\x08"), ONE, "schema 1 of the registry has no message [4]"),
    ("a negative number of indexes", framed(b"\x01"), ONE, "begins with"),
    ("an import that is not there", framed(b"\0"), 'import "x.proto"; message M {}', "imports x.proto, which it does not refer to"),
    ("no .proto", framed(b"\0"), "mesage M {}", "schema 1 of the registry is no .proto file: 'mesage' begins no declaration"),
    ("a type that is not there", framed(b"\0"), "message M { optional Lost f = 1; }", "schema 1 of the registry is no schema of Protobuf"),
    ("an edition", framed(b"\0"), 'edition = "2023";', "schema 1 of the registry is no .proto file: it is written in an edition"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text", "error"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_broken_bytes_are_a_dead_letter_that_says_how(value: bytes, text: str, error: str) -> None:
    stage, says = becomes("text", Protobuf(), value, knows({1: registered(text)}))
    assert stage == "decode"
    assert says.startswith(error)


CUSTOM = ("option (custom).deep = { a: [1, 2] };", '{ option (http) = { get: "/v1/{id}" }; }')
FILES = {
    "common": 'syntax = "proto2"; package c; message Who { optional string name = 1 [default = "nobody"]; }',
    "people": """
    /* The file of people; "quotes" and } in comments say nothing. */
    syntax = "proto3"; package p.q; import public "common.proto";
    option java_package = "x.y"; option (custom).deep = { a: [1, 2] };
    message Other { message Deep { message Person { enum Kind { option allow_alias = true; A = 0; B = 0; }
      reserved 9, 10 to 12; reserved "gone";
      int64 id = 1 [deprecated = true, json_name = "ident"]; // the key
      c.Who who = 2; string note = 3; map<string, Kind> kinds = 4; Deep up = 5; .p.q.Other top = 6; oneof message { Kind option = 7; } } } }
    service S { rpc Get(Other) returns (stream Other) { option (http) = { get: "/v1/{id}" }; } rpc Put(Other) returns (Other); }
    """,
}


def test_messages_inside_messages_files_that_import_and_proto2_are_read() -> None:
    plain = FILES["people"].replace(CUSTOM[0], "").replace(CUSTOM[1], "{}")  # protoc wants to know what they are
    kind = message_class("p.q.Other.Deep.Person", common=FILES["common"], people=plain)
    common = RegisteredSchema(0, "PROTOBUF", FILES["common"])
    people = registered(FILES["people"], ("common.proto", common))
    one, two = kind(id=1, note="n"), kind(id=2)
    one.who.name = ""
    two.who.SetInParent()
    head = b"\x06\x00\x00\x00"
    raw = raw_slice(Part([Msg(framed(head + each.SerializeToString())) for each in (one, two)], topic="t"))
    stream = replace(PEOPLE, value_format=Protobuf(), key_format=Protobuf())
    parsed = run_pipeline(StreamDecoder(stream, knows({1: people})).decode(raw), stream)
    assert letters_of(parsed) == {}
    assert rows_of(parsed, Person) == [{"id": 1, "name": "", "note": "n"}, {"id": 2, "name": None, "note": ""}]


def test_a_tombstones_key_names_its_row() -> None:
    text = 'syntax = "proto3"; message Key { int64 id = 1; }'
    key = message_class("Key", key=text)(id=5).SerializeToString()
    stream = replace(PEOPLE, value_format=Protobuf(), key_format=Protobuf())
    raw = raw_slice(Part([Msg(None, key=framed(b"\0" + key)), Msg(None, key=b"5")], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream, knows({1: registered(text)})).decode(raw), stream)
    (deletes,) = parsed.deletes.values()
    assert deletes["id"].tolist() == [5]
    assert letters_of(parsed)[1][1].startswith("tombstone: the key '5' does not name a row")


def test_types_of_confluents_and_googles_are_read() -> None:
    text = """syntax = "proto3"; import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "google/type/date.proto";
    message M { confluent.type.Decimal f = 1 [(confluent.field_meta) = { params: [{ key: "precision", value: "38" }] }]; google.type.Date d = 2; }"""
    decimal = b"\x0a\x02\x04\xd2\x18\x02"
    value = framed(b"\0\x0a" + bytes([len(decimal)]) + decimal)
    assert becomes("number", Protobuf(), value, knows({1: registered(text)})) == "12.34"


def test_a_path_leads_into_a_map_and_a_struct() -> None:
    for kind in ("map<string, string>", STRUCT):
        text = (
            f'syntax = "proto3"; import "google/protobuf/struct.proto"; message M {{ int64 id = 1; {kind} who = 2; }}'
        )
        message = message_class("M", m=text)(id=1)
        message.who["name"] = "x"
        stream = replace(PEOPLE, value_format=Protobuf())
        raw = raw_slice(Part([Msg(framed(b"\0" + message.SerializeToString()))], topic="t"))
        parsed = run_pipeline(StreamDecoder(stream, knows({1: registered(text)})).decode(raw), stream)
        assert [row["name"] for row in rows_of(parsed, Person)] == ["x"]


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "int32": st.integers(-(2**31), 2**31 - 1),
    "sint64": st.integers(-(2**63), 2**63 - 1),
    "fixed32": st.integers(0, 2**32 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "double": st.floats(),
    "float": st.floats(width=32),
    "bool": st.booleans(),
    "string": st.text(st.characters(codec="utf-8")),
    "bytes": st.binary(),
    "Colour": st.integers(-(2**31), 2**31 - 1),
}


@given(st.sampled_from(sorted(SCALARS)), st.sampled_from(sorted(MODELS)), st.sampled_from(["", "optional "]), st.data())
def test_whatever_a_field_holds_is_its_columns_value_or_a_dead_letter(
    scalar: str, kind: str, label: str, data: st.DataObject
) -> None:
    value = data.draw(SCALARS[scalar] | st.none())
    is_set = value is not None
    field = f"{label}{scalar} f = 1;"
    holds = found(kind, field, {"f": value} if is_set else {})
    message = made(field)(**({"f": value} if is_set else {}))
    if isinstance(holds, tuple):
        assert holds[0] in ("decode", "dates", "validate")
    elif not is_set and label:
        assert holds is None
    elif kind == "json":
        read = json.loads(holds, parse_float=Decimal)
        assert scalar in ("bytes", "Colour") or (float(read) if scalar in ("float", "double") else read) == message.f
    elif kind not in ("date", "day") and scalar != "Colour":
        reads: dict[str, Callable[[Any], Any]] = {"number": Decimal, "text": str, "bytes": bytes.fromhex}
        assert reads.get(kind, lambda same: same)(holds) == (
            Decimal(repr(message.f)) if kind == "number" else str(message.f) if kind == "text" else message.f
        )


@given(st.binary(max_size=40), st.sampled_from(sorted(MODELS)))
def test_no_bytes_whatever_raise_anything(junk: bytes, kind: str) -> None:
    text = schema(f"map<string, Inner> f = 1; {TS} t = 2;")
    for value in (junk, framed(junk), framed(b"\x02\x02" + junk), framed(b"\0" + junk)):
        becomes(kind, Protobuf(), value, knows({1: registered(text)}))
