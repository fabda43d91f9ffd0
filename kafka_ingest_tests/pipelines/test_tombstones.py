# A row of a table is one line.
# ruff: noqa: E501
"""What a tombstone's message key says, and that a row and its tombstone are read by the same rules."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import Model, UpsertModel, date_field, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes, piped, rows_of
from kafka_ingest.testing.models import BOOKINGS, MIXED, Account, Booking


class Text(UpsertModel):
    """Keyed by text, and its keys are JSON, as is the default."""

    __tablename__ = "t_json_text"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[str] = field(sa.String(8), primary_key=True)


class Whole(UpsertModel):
    """Keyed by an integer."""

    __tablename__ = "t_json_integer"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[int] = field(sa.Integer, primary_key=True, path="user.id")


class PlainWhole(UpsertModel):
    """Keyed by an integer that the message key gives as plain text."""

    __tablename__ = "t_text_integer"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"
    id: Mapped[int] = field(sa.Integer, primary_key=True)


class Exact(UpsertModel):
    """Keyed by a decimal."""

    __tablename__ = "t_json_decimal"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[decimal.Decimal] = field(sa.Numeric(12, 2), primary_key=True)


class Sized(UpsertModel):
    """Keyed by a member of an ENUM."""

    __tablename__ = "t_json_enum"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[str] = field(sa.Enum("small", "large", "2"), primary_key=True)


def stream_of(model: type[Model]) -> Stream:
    return Stream(name="s", topics="mixed", routes={"row": model})


def keys(stream: Stream, model: Any, *given: bytes | None) -> list[Any]:
    """Per message key the business key it deletes, or its error."""
    parsed = piped(stream, one(*(Msg(None, key=k) for k in given)))
    assert outcomes(parsed) == list(range(len(given)))
    found: dict[int, Any] = {}
    for n, (stage, error) in letters_of(parsed).items():
        assert stage == "decode"
        assert error.startswith("tombstone: ")
        found[n] = error.removeprefix("tombstone: ")
    if TargetTable.of(model) in parsed.deletes:
        names = [c for c in parsed.deletes[TargetTable.of(model)].columns if not c.startswith("_kafka_")]
        rows = parsed.deletes[TargetTable.of(model)][names].to_numpy()
        found |= {int(n): tuple(row) for n, row in zip(parsed.deletes[TargetTable.of(model)].index, rows, strict=True)}
    return [found[n] for n in range(len(given))]


NO_JSON = 'is no JSON in UTF-8; if keys are plain text, declare tombstone_key = "text" in the model'
JSON_KEYS: list[tuple[type[UpsertModel], bytes, Any]] = [
    (Text, b'"abc"', "abc"),
    (Text, b' {"id" : "abc","more":[1e999]} ', "abc"),
    (Text, b'{"id":"a","id":"b"}', "b"),
    (Text, b'{"id":12}', "12"),
    (Text, b"12", "12"),
    (Text, b'"12 "', "12 "),
    (Text, b'" 12"', " 12"),
    (Text, b'"\\"q\\""', '"q"'),
    (Text, b'""', ""),
    (Text, '"é😀"'.encode(), "é😀"),
    (Text, b'"\\u0031"', "1"),
    (Text, b"-0", "0"),
    (Whole, b"12", 12),
    (Whole, b'{"id":-3}', -3),
    (Exact, b"1.10", "1.1"),
    (Exact, b'"1.10"', "1.1"),
    (Exact, b"110e-2", "1.1"),
    (Exact, b'{"id":7}', "7"),
    (Sized, b'"large"', "large"),
    (Sized, b'"2"', "2"),
    (Text, b'"abcdefghi"', "id: 9 characters, and the column holds 8: String(10)"),
    (Text, b"123456789", "id: 9 characters, and the column holds 8: String(10)"),
    (Text, b"1.0", "the key '1.0' does not name a row: Expected `int | str | null`, got `float`"),
    (Text, b"true", "the key 'true' does not name a row: Expected `int | str | null`, got `bool`"),
    (Text, b"[1]", "the key '[1]' does not name a row: Expected `int | str | null`, got `array`"),
    (Text, b'{"id":1.5}', "the key '{\"id\":1.5}' does not name a row: Expected `int | str | null`, got `float` - at `$.id`"),
    (Text, b'{"name":"abc"}', "the key '{\"name\":\"abc\"}' has no 'id', or a null"),
    (Text, b'{"id":null}', "the key '{\"id\":null}' has no 'id', or a null"),
    (Text, b"null", "the key 'null' has no 'id', or a null"),
    (Text, b"", f"the key '' {NO_JSON}"),
    (Text, b"abc", f"the key 'abc' {NO_JSON}"),
    (Text, b"007", f"the key '007' {NO_JSON}"),
    (Text, b"\xff", f"the key '\\\\xff' {NO_JSON}"),
    (Text, b'"\xff"', f"the key '\"\\\\xff\"' {NO_JSON}"),
    (Text, b'{"a":' + b"[" * 100_000, f"the key '{{\"a\":{'[' * 55}'… is nested too deep"),
    (Whole, b'"12"', "the key '\"12\"' does not name a row: Expected `int | null`, got `str`"),
    (Whole, b'"12 "', "the key '\"12 \"' does not name a row: Expected `int | null`, got `str`"),
    (Whole, b"12.5", "the key '12.5' does not name a row: Expected `int | null`, got `float`"),
    (Whole, b"2147483648", "id: 2147483648 does not fit 32 bits"),
    (Exact, b"1.001", "id: 1.001 does not fit DECIMAL(12,2) without rounding"),
    (Exact, b'"1_0"', "the key '\"1_0\"' does not name a row: '1_0' is no number; it is written as in JSON: ASCII digits, with no blank, underscore, plus sign or leading zero"),
    (Exact, b"1e99999999999999999999", "the key '1e99999999999999999999' has an exponent beyond any column"),
    (Sized, b'"Large"', "id: 'Large' is not one of 'small', 'large', '2'"),
    (Sized, b"2", "id: 2 is not one of 'small', 'large', '2'"),
    # what public bug reports are about: the keys of ksqlDB (confluentinc/kafka-connect-jdbc 886), of Kafka Connect's string
    # converter, and JSON with its schema (Debezium's default), in none of which the fields stand where they are looked for
    (Text, b"{PK1=ABC, PK2=1}", f"the key '{{PK1=ABC, PK2=1}}' {NO_JSON}"),
    (Whole, b"Struct{id=5}", f"the key 'Struct{{id=5}}' {NO_JSON}"),
    (Whole, b'{"schema":{"type":"struct"},"payload":{"id":5}}', "the key '{\"schema\":{\"type\":\"struct\"},\"payload\":{\"id\":5}}' has no 'id', or a null"),
    (Whole, b"\x00\x00\x00\x00\x01\x0a", f"the key '\\x00\\x00\\x00\\x00\\x01\\n' {NO_JSON}"),
    (Whole, b"\x00\x00\x00\x00\x00\x00\x00\x05", f"the key '\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x05' {NO_JSON}"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "key", "expected"), JSON_KEYS)
def test_a_json_key_names_the_row_it_deletes_or_is_a_dead_letter(
    model: type[UpsertModel], key: bytes, expected: Any
) -> None:
    is_error = isinstance(expected, str) and expected.startswith(("the key ", "id: "))
    assert keys(stream_of(model), model, key) == [expected if is_error else (expected,)]


def test_a_tombstone_without_a_key_is_a_dead_letter() -> None:
    error = "the message has no key, so nothing says which row to delete"
    assert keys(MIXED, Account, None) == [error]
    assert keys(BOOKINGS, Booking, None) == [error]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b'{"room":"r","hour":3}', ("r", 3)),
        (b'{"room":5,"hour":-3}', ("5", -3)),
        (b'{"room":"r","hour":40000}', "hour: 40000 does not fit 16 bits"),
        (b'{"room":"r","hour":1' + b"0" * 40 + b"}", "hour: 1" + "0" * 39 + " does not fit 16 bits"),
        (b'{"room":"r","hour":"3"}', "the key '{\"room\":\"r\",\"hour\":\"3\"}' does not name a row: Expected `int | null`, got `str` - at `$.hour`"),
        (b'{"room":"r"}', "the key '{\"room\":\"r\"}' has no 'hour', or a null"),
        (b'{"room":"r","hour":null}', "the key '{\"room\":\"r\",\"hour\":null}' has no 'hour', or a null"),
        (b"r", "the key 'r' is no JSON object with room, hour"),
        (b'"r"', "the key '\"r\"' is no JSON object with room, hour"),
        (b'["r",3]', "the key '[\"r\",3]' is no JSON object with room, hour"),
        (b"{room=r, hour=3}", "the key '{room=r, hour=3}' is no JSON in UTF-8"),
    ],
)  # fmt: skip
def test_a_key_of_several_columns_is_a_json_object_of_their_fields(key: bytes, expected: Any) -> None:
    assert keys(BOOKINGS, Booking, key) == [expected]


@pytest.mark.parametrize(
    "key", ["abc", "12", "007", "1.0", "-0", "12e4567", "é😀", "", " ", '"q"', "12 ", "null", "{}", '{"id":1}']
)
def test_a_plain_key_is_the_value_itself_with_its_quotes_and_blanks(key: str) -> None:
    assert keys(MIXED, Account, key.encode()) == [(key,)]


@pytest.mark.parametrize(
    ("model", "key", "expected"),
    [
        (Account, b"abcdefghi", "id: 9 characters, and the column holds 8: String(10)"),
        (Account, b"\xff", "the key '\\\\xff' is not UTF-8"),
        (PlainWhole, b"12", (12,)),
        (PlainWhole, b"-12", (-12,)),
        (PlainWhole, b"0", (0,)),
        (PlainWhole, b"2147483648", "id: 2147483648 does not fit 32 bits"),
        *((PlainWhole, key, f"the key {key.decode()!r} is no integer of ASCII digits without blanks, plus or leading zeros")
          for key in (b"", b" 12", b"12 ", b"12\n", b"+1", b"007", b"1_0", b"1.0", b"1e1", b'"12"', "１２".encode(), "٣".encode(), b"1" * 20)),
    ],
)  # fmt: skip
def test_a_plain_key_that_no_row_can_have_is_a_dead_letter(model: type[UpsertModel], key: bytes, expected: Any) -> None:
    assert keys(MIXED if model is Account else stream_of(model), model, key) == [expected]


def test_one_bad_key_among_many_is_refused_alone_whatever_its_place() -> None:
    for place in range(4):
        given = [b'"a"', b'"b"', b'"c"', b'"d"']
        given[place] = b'"longer than eight"' if place % 2 else b"{"
        found = keys(stream_of(Text), Text, *given)
        assert [n for n, each in enumerate(found) if isinstance(each, str)] == [place]
        assert [each for n, each in enumerate(found) if n != place] == [
            (key.decode().strip('"'),) for n, key in enumerate(given) if n != place
        ]


IDS: list[tuple[type[UpsertModel], Any]] = [
    *((Text, each) for each in ("12", "12 ", " 12", '"q"', "", "é", "e\u0301", "A", "a", 12, 0, "\\N", "\u0000")),
    *((Whole, each) for each in (0, -5, 2**31 - 1)),
    *((Exact, each) for each in (1.1, "1.10", 1, "-0.00", 1e3)),
    *((Sized, each) for each in ("small", "2")),
]


@pytest.mark.parametrize(("model", "value"), IDS)
def test_a_row_is_deleted_by_its_own_key(model: type[UpsertModel], value: Any) -> None:
    body = {"type": "row", "id": value, "user": {"id": value}}
    parsed = piped(
        stream_of(model),
        one(Msg(body), Msg(None, key=json.dumps({"id": value}).encode()), Msg(None, key=json.dumps(value).encode())),
    )
    (row,) = rows_of(parsed, model)
    assert letters_of(parsed) == {}
    assert parsed.deletes[TargetTable.of(model)]["id"].tolist() == [row["id"]] * 2
    assert [type(each) for each in parsed.deletes[TargetTable.of(model)]["id"]] == [type(row["id"])] * 2


class TestRefused:
    """Models whose tombstones could not be read."""

    def test_a_key_of_several_columns_as_plain_text(self) -> None:
        class Two(UpsertModel):
            __tablename__ = "t_two"
            delete_on_tombstone = True
            tombstone_key = "text"
            a: Mapped[str] = field(sa.String(8), primary_key=True)
            b: Mapped[str] = field(sa.String(8), primary_key=True)

        with pytest.raises(
            ConfigError, match=r"is the value of one column, and the business key has 2 \(a, b\); use 'json'"
        ):
            stream_of(Two)

    def test_a_way_of_writing_keys_that_is_not_known(self) -> None:
        class Avro(UpsertModel):
            __tablename__ = "t_avro"
            delete_on_tombstone = True
            tombstone_key = "avro"  # type: ignore[assignment]
            id: Mapped[str] = field(sa.String(8), primary_key=True)

        with pytest.raises(ConfigError, match="tombstone_key is 'avro', not 'json' or 'text'"):
            stream_of(Avro)

    def test_two_key_columns_whose_fields_have_one_name(self) -> None:
        class Alike(UpsertModel):
            __tablename__ = "t_alike"
            delete_on_tombstone = True
            a: Mapped[str] = field(sa.String(8), primary_key=True, path="a.id")
            b: Mapped[str] = field(sa.String(8), primary_key=True, path="b.id")

        with pytest.raises(ConfigError, match="two key columns are read from fields named alike"):
            stream_of(Alike)

    def test_a_key_column_that_is_no_exact_value_of_the_message(self) -> None:
        class Dated(UpsertModel):
            __tablename__ = "t_dated_key"
            delete_on_tombstone = True
            at: Mapped[dt.datetime] = date_field(primary_key=True)

        class Rounded(UpsertModel):
            __tablename__ = "t_rounded_key"
            delete_on_tombstone = True
            at: Mapped[float] = field(sa.Float, primary_key=True)

        for model in (Dated, Rounded):
            with pytest.raises(
                ConfigError, match="key column 'at' is no String, integer, Numeric, Enum, Uuid or binary"
            ):
                stream_of(model)
