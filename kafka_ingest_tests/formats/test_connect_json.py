# A row of a table is one line.
# ruff: noqa: E501
"""What becomes of Kafka Connect's JSON, with and without its schema; of JSON Schema, text and bytes; and of a format from outside."""

from __future__ import annotations

import base64
import datetime as dt
import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest import BadMessage, Bytes, ConnectJson, Format, JsonSchema, Text
from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas, StreamDecoder, no_schemas
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.formats.schemas import RegisteredSchema
from kafka_ingest.streams.model import AppendModel
from kafka_ingest.streams.model import field as column
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, letters_of, raw_slice, rows_of
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.formats.world import MODELS, PEOPLE, becomes, framed, knows

# A schema that allows anything.
OPEN = knows({number: RegisteredSchema(number, "JSON", "{}") for number in (1, 91)})
DATA, DEBEZIUM = "org.apache.kafka.connect.data", "io.debezium.time"


def field(kind: str, name: str | None = None, **parameters: str) -> dict[str, Any]:
    return {"type": kind, "optional": True, "field": "f"} | (
        {"name": name, "version": 1, "parameters": parameters} if name else {}
    )


def message(schema: dict[str, Any], value: Any) -> bytes:
    whole = {"type": "struct", "name": "x.Value", "optional": False, "fields": [schema]}
    return json.dumps({"schema": whole, "payload": {"f": value}}).encode()


def scaled(number: int) -> str:
    return base64.b64encode(number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)).decode()


TAKEN: list[tuple[str, dict[str, Any], Any, Any]] = [
    ("number", field("bytes", f"{DATA}.Decimal", scale="2"), scaled(-110), "-1.1"),
    ("number", field("bytes", f"{DATA}.Decimal", scale="0"), scaled(10**30), str(10**30)),
    ("number", field("bytes", f"{DATA}.Decimal", scale="2"), 12.34, "12.34"),
    ("number", field("bytes", f"{DATA}.Decimal", scale="2"), None, None),
    ("number", field("struct", "io.debezium.data.VariableScaleDecimal"), {"scale": 3, "value": scaled(1)}, "0.001"),
    ("date", field("int32", f"{DATA}.Date"), 19844, dt.datetime(2024, 4, 30, 16)),
    ("date", field("int32", f"{DEBEZIUM}.Date"), 19844, dt.datetime(2024, 4, 30, 16)),
    ("date", field("int64", f"{DATA}.Timestamp"), 1_714_566_600_123, dt.datetime(2024, 5, 1, 12, 30, 0, 123000)),
    ("date", field("int64", f"{DATA}.Timestamp"), 5, dt.datetime(1970, 1, 1, 0, 0, 0, 5000)),
    ("date", field("int64", f"{DATA}.Timestamp"), 63_072_000_000, dt.datetime(1972, 1, 1)),
    ("date", field("int64", f"{DEBEZIUM}.MicroTimestamp"), 1_714_566_600_123_456, dt.datetime(2024, 5, 1, 4, 30, 0, 123456)),
    ("date", field("string", f"{DEBEZIUM}.ZonedTimestamp"), "2024-05-01T12:30:00.5Z", dt.datetime(2024, 5, 1, 12, 30, 0, 500000)),
    ("text", field("int32", f"{DATA}.Time"), 86_399_999, "23:59:59.999000"),
    ("text", field("int64", f"{DEBEZIUM}.MicroTime"), 1, "00:00:00.000001"),
    ("text", field("string", "io.debezium.data.Enum", allowed="a,b"), "a", "a"),
    ("json", field("bytes"), "AP8=", '"AP8="'),
    ("json", field("bytes", f"{DATA}.Decimal", scale="2"), scaled(110), "1.10"),
    ("json", field("array"), [1, 2], "[1, 2]"),
    ("integer", field("int64"), 2**63 - 1, 2**63 - 1),
    ("boolean", field("boolean"), True, True),
    ("float", field("double"), 0.1, 0.1),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "schema", "value", "expected"), TAKEN)
def test_a_value_is_taken_as_its_schema_says(kind: str, schema: dict[str, Any], value: Any, expected: Any) -> None:
    assert becomes(kind, ConnectJson(), message(schema, value)) == expected


LETTERS: list[tuple[str, bytes, str]] = [
    ("number", message(field("bytes", f"{DATA}.Decimal", scale="2"), "!"), "f: "),
    ("number", message(field("bytes", f"{DATA}.Decimal"), "AQ==") .replace(b'"parameters": {}', b'"parameters": {"scale": "x"}'), "f: its schema is Connect's Decimal"),
    ("text", message(field("bytes"), "AP8="), "f: bytes in a column of type text"),
    ("date", message(field("int32", f"{DATA}.Date"), 10**9), "f: day 1000000000 is outside"),
    ("date", message(field("int32", f"{DATA}.Date"), "x"), "f: b'\"x\"' is not what its schema says: it is an integer"),
    ("text", message(field("int32", f"{DATA}.Time"), -1), "f: -1000 µs is no time of a day"),
    ("integer", message(field("string"), "5"), "Expected `int | null`, got `str` - at `$.f`"),
    ("integer", b'{"schema": {"type": "struct"}, "payload": null}', "the payload is null"),
    ("integer", b'{"schema": {"type": "int32"}, "payload": 5}', "the value is a JSON number"),
    ("integer", b"nothing", "not JSON"),
    ("integer", b"", "the value is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "error"), LETTERS)
def test_what_is_not_as_its_schema_says_is_a_dead_letter(kind: str, value: bytes, error: str) -> None:
    stage, found = becomes(kind, ConnectJson(), value)
    assert stage == "decode"
    assert found.startswith(error)


@pytest.mark.parametrize(
    "value", [b'{"f": 5}', b'{"schema": null, "payload": {"f": 5}}', b'{"f": 5, "schema": 1, "payload": 2}']
)
def test_a_message_without_a_schema_is_plain_json(value: bytes) -> None:
    assert becomes("integer", ConnectJson(), value) == 5


def deleted(
    key_format: Format, *keys: bytes, find: FindSchemas = no_schemas
) -> tuple[list[int], dict[int, tuple[str, str]]]:
    stream = replace(PEOPLE, key_format=key_format)
    raw = raw_slice(Part([Msg(None, key=key) for key in keys], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream, find).decode(raw), stream)
    ids = [int(number) for frame in parsed.deletes.values() for number in frame["id"]]
    return ids, letters_of(parsed)


def test_the_keys_of_tombstones_are_read_by_their_own_format() -> None:
    struct = {"type": "struct", "fields": [{"type": "int64", "field": "id"}]}
    enveloped = [{"schema": struct, "payload": {"id": 1}}, {"schema": {"type": "int64"}, "payload": 2}, {"id": 3}, 4]
    assert deleted(ConnectJson(), *(json.dumps(key).encode() for key in enveloped)) == ([1, 2, 3, 4], {})
    assert deleted(JsonSchema(), framed(b'{"id": 1}'), framed(b" 2"), find=OPEN)[0] == [1, 2]
    assert deleted(Text(), b"1", b"-2")[0] == [1, -2]
    ids, letters = deleted(Text(), b"1.0")
    assert ids == []
    assert "is no integer" in letters[0][1]


def test_json_behind_the_registrys_prefix_is_json() -> None:
    assert becomes("integer", JsonSchema(), framed(b'{"f": 5}', 91), OPEN) == 5  # 91 is a bracket
    assert becomes("number", JsonSchema(), framed(b'{"f": 0.10000000000000000001}'), OPEN) == "0.10000000000000000001"
    assert becomes("integer", JsonSchema(), b'{"f": 5}')[1].startswith('begins with b\'{"f":')
    assert becomes("integer", JsonSchema(), framed(b'{"f": "5"}'), OPEN)[1].startswith("Expected `int | null`")
    deep = framed(b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}")
    assert becomes("integer", JsonSchema(), deep, OPEN) == ("decode", "the JSON is nested too deep")


class Line(AppendModel):
    __tablename__ = "lines"
    line: Mapped[Any] = column(sa.JSON, path="value", nullable=True)


def test_a_text_and_bytes_are_the_field_named_value() -> None:
    stream = Stream(name="lines", topics="t", routes={"t": Line}, route_by=RouteByTopic(), value_format=Text())
    raw = raw_slice(Part([Msg(b" a\n"), Msg(b""), Msg(b"\xff")], topic="t"))
    parsed = run_pipeline(StreamDecoder(stream).decode(raw), stream)
    assert [row["line"] for row in rows_of(parsed, Line)] == ['" a\\n"', '""']
    assert letters_of(parsed)[2][1].startswith("not UTF-8")
    stream = replace(stream, value_format=Bytes())
    parsed = run_pipeline(StreamDecoder(stream).decode(raw), stream)
    assert [row["line"] for row in rows_of(parsed, Line)] == ['"IGEK"', '""', '"/w=="']
    assert becomes("text", Text(), b"no object")[1] == "the message: text in a column of type object"


@dataclass(frozen=True)
class Pairs(Format):
    """A format from outside: `name=value` pairs behind each other."""

    separator: str = ";"

    def read(self, data: bytes) -> object:
        pairs = [pair.split("=") for pair in data.decode("utf-8").split(self.separator)]
        if any(len(pair) != 2 for pair in pairs):
            raise BadMessage(f"a pair has one =, and not {data[:20]!r}")
        return {name: Decimal(value) if name == "f" else value for name, value in pairs}


def test_a_format_of_a_users_own_goes_by_the_same_rules() -> None:
    assert becomes("number", Pairs(), b"f=1.50;g=x") == "1.5"
    assert becomes("text", Pairs(), b"f=1.50")[1] == "f: decimal in a column of type text"
    assert becomes("number", Pairs(), b"f")[1] == "a pair has one =, and not b'f'"
    assert becomes("number", Pairs("|"), b"f=1|g=2") == "1"


def test_what_is_no_format_and_two_ways_to_say_how_keys_are_written_are_refused() -> None:
    with pytest.raises(ConfigError, match="value_format is 'avro', no format such as Json"):
        replace(PEOPLE, value_format="avro")  # type: ignore[arg-type]
    for key_format in (Bytes(), ConnectJson()):
        with pytest.raises(ConfigError, match="say two things"):
            replace(MIXED, key_format=key_format)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    ),
    st.sampled_from([schema for _, schema, _, _ in TAKEN]),
    st.sampled_from(sorted(MODELS)),
)
def test_whatever_stands_under_a_schema_is_a_row_or_a_dead_letter(
    value: Any, schema: dict[str, Any], kind: str
) -> None:
    found = becomes(kind, ConnectJson(), message(schema, value))
    if value is None:
        assert found is None
    elif isinstance(found, tuple):
        assert found[0] in ("decode", "dates", "validate")
