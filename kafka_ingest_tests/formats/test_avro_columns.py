"""Messages read together are what they are one by one, and where one breaks a rule none is read so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import BAD_MESSAGE, ColumnReader
from kafka_ingest.streams.formats.leaves import Wanted
from kafka_ingest.streams.formats.schemas import RegisteredSchema, Schemas
from kafka_ingest.streams.json_schema import model_fields
from kafka_ingest.streams.kept import ABSENT
from kafka_ingest.streams.model import Model, UpsertModel, field
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import one, rows_of
from kafka_ingest_tests.formats.test_avro_properties import schemas
from kafka_ingest_tests.formats.world import MODELS, STREAMS, avro_message, avro_schema, framed, knows, record
from kafka_ingest_tests.support.made import Make

TEXT = ["null", "string"]
WIDE: dict[str, Any] = {
    "type": "record",
    "name": "Wide",
    "fields": [
        {"name": "id", "type": "long"},
        {
            "name": "who",
            "type": ["null", {"type": "record", "name": "Who", "fields": [{"name": "name", "type": TEXT}]}],
        },
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "extra", "type": {"type": "map", "values": "long"}},
        {"name": "level", "type": {"type": "enum", "name": "Level", "symbols": ["LOW", "HIGH"]}},
        {"name": "price", "type": [{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "null"]},
        {"name": "at", "type": ["null", "string", {"type": "long", "logicalType": "timestamp-millis"}]},
        {"name": "share", "type": "float"},
        {"name": "is_new", "type": "boolean"},
        {"name": "note", "type": TEXT},
    ],
}


def reader_of(model: type[Model], known: Mapping[int, RegisteredSchema], *, is_all: bool = True) -> ColumnReader:
    wanted = Wanted(model.__name__, model_fields(TargetTable.of(model)), is_all=is_all)
    reader = Avro().reader(wanted, Schemas(known))
    assert isinstance(reader, ColumnReader)
    return reader


def one_by_one(reader: ColumnReader, messages: Sequence[bytes]) -> list[Any] | None:
    try:
        return [reader.decode(message) for message in messages]
    except BAD_MESSAGE:
        return None


def together(reader: ColumnReader, messages: Sequence[bytes]) -> list[Any] | None:
    found = reader.decode_together(messages)
    return None if found is None else list(found)


@st.composite
def several(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    schema, values = draw(schemas(2))
    return record(schema), [{"f": value} for value in draw(st.lists(values, min_size=1, max_size=5))]


@given(several(), st.sampled_from(sorted(MODELS)))
def test_whatever_messages_are_read_together_are_what_they_are_one_by_one(
    both: tuple[Any, list[Any]], kind: str
) -> None:
    schema, values = both
    messages = [avro_message(schema, value) for value in values]
    reader = reader_of(MODELS[kind], {1: avro_schema(schema)})
    # repr: NaN is not equal to itself, and True is to 1.
    expected = one_by_one(reader, messages)
    if expected is not None or together(reader, messages) is not None:
        assert repr(together(reader, messages)) == repr(expected)


@settings(max_examples=50)
@given(several(), st.data())
def test_messages_that_are_cut_lengthened_or_changed_are_so_too(
    both: tuple[Any, list[Any]], data: st.DataObject
) -> None:
    schema, values = both
    messages = [avro_message(schema, value) for value in values]
    which = data.draw(st.integers(0, len(messages) - 1))
    place = data.draw(st.integers(5, len(messages[which])))
    junk = data.draw(st.binary(max_size=12))
    kept = messages[which][:place]
    for bad in (kept, messages[which] + junk, kept + junk + messages[which][place + 1 :]):
        some = [*messages[:which], bad, *messages[which + 1 :]]
        for kind in ("text", "json", "number"):
            reader = reader_of(MODELS[kind], {1: avro_schema(schema)})
            found = together(reader, some)
            if found is not None:
                assert repr(found) == repr(one_by_one(reader, some))


@pytest.fixture
def wide(made: Make) -> type[Model]:
    return made(
        "wide",
        columns={
            "id": field(sa.BigInteger),
            "name": field(sa.Text, path="who.name", nullable=True),
            "who": field(sa.JSON, nullable=True),
            "tags": field(sa.JSON),
            "extra": field(sa.BigInteger, path="extra.x", nullable=True),
            "level": field(sa.String(5)),
            "price": field(sa.Numeric(9, 2), nullable=True),
            "again": field(sa.Text, path="level"),
            "at": field(sa.Text, nullable=True),
            "share": field(sa.Float),
            "is_new": field(sa.Boolean),
            "note": field(sa.Text, nullable=True),
            "gone": field(sa.Text, nullable=True),
        },
    )


def wide_value(number: int) -> dict[str, Any]:
    return {
        "id": (-1) ** number * 7**number,
        "who": None if number % 3 == 0 else {"name": None if number % 3 == 1 else "Ünï 名" * number},
        "tags": ["a" * number] * number,
        "extra": {"x": number} if number % 2 else {},
        "level": ("LOW", "HIGH")[number % 2],
        "price": None if number % 4 == 0 else b"\x00\xff",
        "at": (None, "2026-11-27", 1_790_000_000_000 + number)[number % 3],
        "share": number / 2,
        "is_new": number % 2 == 0,
        "note": None if number < 5 else "x" * 300,
    }


def test_records_in_unions_enums_maps_and_several_columns_of_one_field(wide: type[Model]) -> None:
    messages = [avro_message(WIDE, {**wide_value(n), "price": None}) for n in range(15)]
    reader = reader_of(wide, {1: avro_schema(WIDE)})
    found = together(reader, messages)
    assert found == one_by_one(reader, messages)
    assert found is not None
    assert found[7][:2] == (-(7**7), None)
    assert found[5][1] == "Ünï 名" * 5


def test_messages_of_several_writers_come_in_their_own_order(wide: type[Model]) -> None:
    """The newer writer has a field less and one more."""
    newer = {
        **WIDE,
        "fields": [*(f for f in WIDE["fields"] if f["name"] != "note"), {"name": "gone", "type": "string"}],
    }
    known = {1: avro_schema(WIDE), 2: avro_schema(newer, 2)}
    messages = [
        avro_message(newer, {**wide_value(n), "price": None, "gone": f"g{n}"}, 2)
        if n % 3
        else avro_message(WIDE, {**wide_value(n), "price": None})
        for n in range(20)
    ]
    reader = reader_of(wide, known)
    assert together(reader, messages) == one_by_one(reader, messages)
    assert together(reader, [*messages, framed(b"", 3)]) is None


def test_a_kept_column_tells_absent_from_null(made: Make) -> None:
    model = made(
        "kept",
        UpsertModel,
        columns={"note": field(sa.Text, nullable=True, keep_absent=True), "id": field(sa.Integer, primary_key=True)},
    )
    schema = {"type": "record", "name": "K", "fields": [{"name": "id", "type": "int"}, {"name": "note", "type": TEXT}]}
    without = {"type": "record", "name": "L", "fields": [{"name": "id", "type": "int"}]}
    messages = [
        avro_message(schema, {"id": 1, "note": None}),
        avro_message(without, {"id": 2}, 2),
        avro_message(schema, {"id": 3, "note": "n"}),
    ]
    reader = reader_of(model, {1: avro_schema(schema), 2: avro_schema(without, 2)})
    at = [path for path, _ in model_fields(TargetTable.of(model))].index(("note",))
    found = together(reader, messages)
    assert found is not None
    assert [each[at] for each in found] == [None, ABSENT, "n"]


TWO = {"type": "record", "name": "T", "fields": [{"name": n, "type": "string"} for n in ("f", "g")]}


@pytest.mark.parametrize(
    "messages",
    [
        # The first takes a byte of the second, which lacks it: together they have as many as they should.
        [framed(b"\x02a\x04b"), framed(b"c\x02d")],
        [framed(b"\x02a\x02b"), framed(b"\x02a\x02")],
        [framed(b"\x02a\x02b"), framed(b"\x02a\x02b\0")],
        [framed(b"\x01a\x02b")],
        [framed(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02\x02b")],
        [framed(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x02b")],
        [framed(b"\x02\xff\x02b")],
        [framed(b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f\x02b")],
        [framed(b"")],
        [b"\0\0\0\0\1"],
        [b"\0\0"],
        [b""],
    ],
)
def test_no_message_is_read_with_the_bytes_of_another(messages: list[bytes]) -> None:
    reader = reader_of(MODELS["text"], {1: avro_schema(TWO)})
    assert one_by_one(reader, messages) is None
    assert together(reader, messages) is None


def test_a_length_below_zero_leads_back_to_no_bytes() -> None:
    """Back to the schema's id, from which the rest would be read as the second text."""
    reader = reader_of(MODELS["text"], {4: avro_schema(TWO, 4)})
    assert one_by_one(reader, [framed(b"\x03X", 4)]) is None
    assert together(reader, [framed(b"\x03X", 4)]) is None


def test_an_int_of_more_than_32_bits_is_none() -> None:
    reader = reader_of(MODELS["integer"], {1: avro_schema(record("int"))})
    long = avro_message(record("long"), {"f": 2**31})
    assert one_by_one(reader, [long]) is None
    assert together(reader, [long]) is None


def test_a_number_that_is_longer_than_it_needs_to_be_is_the_same() -> None:
    schema = avro_schema(record("long"))
    messages = [framed(b"\x82\x80\x80\x80\x80\x80\x80\x80\x00"), framed(b"\x03")]
    reader = reader_of(MODELS["integer"], {1: schema})
    assert together(reader, messages) == one_by_one(reader, messages) == [(1,), (-2,)]


@pytest.mark.parametrize("number", [0, 63, 64, -64, -65, 8_191, 8_192, 2**62, -(2**62) - 1, 2**63 - 1, -(2**63)])
def test_a_number_of_any_length_is_exact(number: int) -> None:
    schema = record("long")
    messages = [avro_message(schema, {"f": each}) for each in (1, number, -1, number)]
    reader = reader_of(MODELS["integer"], {1: avro_schema(schema)})
    assert together(reader, messages) == [(1,), (number,), (-1,), (number,)]


def test_where_only_the_beginning_is_wanted_the_rest_is_not_looked_at() -> None:
    reader = reader_of(MODELS["text"], {1: avro_schema(TWO)}, is_all=False)
    messages = [framed(b"\x02a"), framed(b"\x02b\x07junk")]
    assert together(reader, messages) == one_by_one(reader, messages) == [("a",), ("b",)]
    assert together(reader, [framed(b"\x04a"), framed(b"\x02b")]) is None


def test_a_record_that_holds_itself_is_stepped_over() -> None:
    node = {
        "type": "record",
        "name": "Node",
        "fields": [{"name": "f", "type": "string"}, {"name": "next", "type": ["null", "Node"]}],
    }
    chain: Any = None
    for text in "dcba":
        chain = {"f": text, "next": chain}
    messages = [avro_message(node, chain), avro_message(node, {"f": "z", "next": None})]
    reader = reader_of(MODELS["text"], {1: avro_schema(node)})
    assert together(reader, messages) == one_by_one(reader, messages) == [("a",), ("z",)]


def test_of_many_messages_the_bad_ones_alone_are_dead_letters() -> None:
    stream = replace(STREAMS["text"], value_format=Avro())
    values = [avro_message(record("string"), {"f": f"text {n}"}) for n in range(2_500)]
    values[1_200] = values[1_200][:-1]
    parsed = StreamDecoder(stream, knows({1: avro_schema(record("string"))})).decode(one(*values, topic="t"))
    assert [letter.number for letter in parsed.dead_letters] == [1_200]
    assert len(rows_of(parsed, MODELS["text"])) == 2_499
