# A row of a table is one line.
# ruff: noqa: E501
"""Casts: nothing is read in another way than its own type unless the model says so; inputs are those of public reports."""

from __future__ import annotations

import decimal
import pickle
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, letters_of, one, outcomes, piped, rows_of
from kafka_ingest.type_names import SqlType
from kafka_ingest_tests.support.made import Make


def cents(value: Any) -> Decimal:
    """A price in cents, as a function of the user's."""
    if not isinstance(value, int):
        raise ValueError(f"{value!r} is no number of cents")
    return Decimal(value) / 100


class Cast1(AppendModel):
    __tablename__ = "t_cast"
    whole: Mapped[int | None] = field(sa.Integer, cast=Cast(from_text=True, empty_as_null=True))
    grouped: Mapped[Decimal | None] = field(
        sa.Numeric(12, 2), cast=Cast(from_text=True, thousands=",", rounding="half_up")
    )
    german: Mapped[Decimal | None] = field(
        sa.Numeric(12, 2), cast=Cast(from_text=True, thousands=".", decimal_point=",")
    )
    french: Mapped[float | None] = field(sa.Float, cast=Cast(from_text=True, thousands=" ", decimal_point=","))
    even: Mapped[Decimal | None] = field(sa.Numeric(12, 1), cast=Cast(rounding="half_even"))
    cut: Mapped[int | None] = field(sa.Integer, cast=Cast(rounding="down"))
    flag: Mapped[bool | None] = field(sa.Boolean, cast=Cast(from_text=True, from_number=True, empty_as_null=True))
    text: Mapped[str | None] = field(sa.String(40), cast=Cast(from_number=True))
    blank: Mapped[str | None] = field(sa.String(40), cast=Cast(empty_as_null=True))
    time: Mapped[Any | None] = field(sa.Time, cast=Cast(time_unit="us"))
    price: Mapped[Decimal | None] = field(sa.Numeric(12, 2), cast=cents)


STREAM = Stream(name="cast", topics="cast", route_by=RouteByTopic(), routes={"cast": Cast1})


def becomes(name: str, value: Any) -> Any:
    """The value of one field, or its dead letter's error."""
    body = value if isinstance(value, bytes) else {name: value}
    parsed = piped(STREAM, one(body, topic="cast"))
    assert outcomes(parsed) == [0]
    rows = rows_of(parsed, Cast1)
    return rows[0][name] if rows else ValueError(letters_of(parsed)[0])


TAKEN: list[tuple[str, Any, Any]] = [
    ("whole", 7, 7), ("whole", "7", 7), ("whole", " +007 ", 7), ("whole", "-5.0", -5), ("whole", "1e3", 1000), ("whole", "", None), ("whole", " ", None), ("whole", None, None),
    ("grouped", "1,234.50", "1234.5"), ("grouped", "12,34,567.5", "1234567.5"), ("grouped", "1234.5", "1234.5"), ("grouped", b'{"grouped":0.125}', "0.13"), ("grouped", "-0.005", "-0.01"), ("grouped", 5, "5"),
    ("german", "1.234,50", "1234.5"), ("german", "0,5", "0.5"),
    ("french", "1\u202f234,5", 1234.5), ("french", "1 234,5", 1234.5), ("french", 2, 2.0),
    ("even", b'{"even":0.25}', "0.2"), ("even", b'{"even":0.35}', "0.4"), ("even", b'{"even":1e-30}', "0"),
    ("cut", b'{"cut":2.99}', 2), ("cut", b'{"cut":-2.99}', -2),
    ("flag", 1, True), ("flag", 0, False), ("flag", "true", True), ("flag", "FALSE", False), ("flag", "1", True), ("flag", True, True), ("flag", "", None),
    ("text", b'{"text":1.50}', "1.50"), ("text", b'{"text":1e2}', "100"), ("text", b'{"text":0.0000001}', "0.0000001"), ("text", b'{"text":1e99}', "1E+99"), ("text", 12345678901234567890, "12345678901234567890"), ("text", "x", "x"),
    ("blank", "", None), ("blank", "  ", None), ("blank", "a", "a"), ("blank", 5, "5"),
    ("time", 34_200_000_001, "09:30:00.000001"), ("time", "09:30", "09:30:00"),
    ("price", 1999, "19.99"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), TAKEN)
def test_a_cast_takes_what_it_says(name: str, value: Any, expected: Any) -> None:
    assert becomes(name, value) == expected


REFUSED: list[tuple[str, Any, str]] = [
    ("whole", "7.5", "7.5 is no whole number"), ("whole", "seven", "'seven' is no number in ASCII digits"), ("whole", "٣", "is no number"), ("whole", "1_000", "is no number"), ("whole", "1,000", "is no number"), ("whole", True, "bool True in an integer column"), ("whole", "1e99", "no whole number of the column's size"), ("whole", "2147483648", "does not fit 32 bits"),
    ("grouped", "1,23", "is no number"), ("grouped", "1,2345", "is no number"), ("grouped", "", "is no number"),
    ("german", "1,234.50", "is no number"), ("german", "1.5", "is no number"),
    ("even", "0.2x", "is no number"), ("even", True, "bool in a number column"),
    ("flag", 2, "'2' is none of true, false, 1 and 0"), ("flag", "yes", "'yes' is none of"), ("flag", b'{"flag":1.0}', "'1.0' is none of"),
    ("text", True, "bool in a text column"), ("text", {}, "dict in a text column"),
    ("blank", b'{"blank":1.5}', "Decimal in a text column"),
    ("time", 86_400_000_000, "is no time of day"),
    ("price", "x", "price: 'x' is no number of cents"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "expected"), REFUSED)
def test_a_cast_takes_nothing_else(name: str, value: Any, expected: str) -> None:
    found = becomes(name, value)
    assert isinstance(found, ValueError), found
    assert expected in str(found)


class Grouped(AppendModel):
    __tablename__ = "t_grouped"
    comma: Mapped[Decimal] = field(sa.Numeric(12, 2), cast=Cast(from_text=True, thousands=","))
    quote: Mapped[Decimal] = field(sa.Numeric(12, 2), cast=Cast(from_text=True, thousands="'"))
    line: Mapped[Decimal] = field(sa.Numeric(12, 2), cast=Cast(from_text=True, thousands="_"))


@given(st.decimals(-(10**9), 10**9, places=2))
def test_a_grouped_number_is_the_number(number: Decimal) -> None:
    stream = Stream(name="g", topics="g", route_by=RouteByTopic(), routes={"g": Grouped})
    text = f"{number:,.2f}"
    body = {"comma": text, "quote": text.replace(",", "'"), "line": text.replace(",", "_")}
    (row,) = rows_of(piped(stream, one(body, topic="g")), Grouped)
    assert {decimal.Decimal(value) for value in row.values()} == {number}


def test_a_key_of_a_tombstone_is_cast_as_that_of_a_row_is() -> None:
    class CastKey(UpsertModel):
        __tablename__ = "t_cast_key"
        delete_on_tombstone = True
        id: Mapped[int] = field(sa.BigInteger, primary_key=True, cast=Cast(from_text=True))

    stream = Stream(name="k", topics="k", route_by=RouteByTopic(), routes={"k": CastKey})
    parsed = piped(stream, one({"id": "7"}, Msg(None, key=b'{"id":"7"}'), Msg(None, key=b'"x"'), topic="k"))
    target = TargetTable.of(CastKey)
    assert [row["id"] for row in rows_of(parsed, CastKey)] == [7]
    assert parsed.deletes[target]["id"].tolist() == [7]
    assert "is no number" in letters_of(parsed)[2][1]


def test_a_step_sees_values_that_are_cast() -> None:
    seen: list[Any] = []

    def look(rows: Any, _context: Any) -> Any:
        seen.extend(rows["whole"].tolist())
        return rows

    stream = Stream(name="cast", topics="cast", route_by=RouteByTopic(), routes={"cast": Cast1}, steps=(look,))
    parsed = piped(stream, one({"whole": "7"}, {"whole": "x"}, topic="cast"))
    assert seen == [7]
    assert [letter.stage for letter in parsed.dead_letters] == ["decode"]


def test_a_target_with_casts_can_be_handed_to_another_process() -> None:
    target = pickle.loads(pickle.dumps(TargetTable.of(Cast1)))  # noqa: S301  our own
    assert target.bound[-1].rule.cast is cents


@pytest.mark.parametrize(
    ("kind", "cast", "expected"),
    [
        (sa.String(5), Cast(from_text=True), "from_text means nothing"),
        (sa.Float(), Cast(rounding="down"), "rounding means nothing"),
        (sa.Integer(), Cast(bytes_from="hex"), "bytes_from means nothing"),
        (sa.Integer(), Cast(from_number=True), "from_number means nothing"),
        (sa.String(5), Cast(time_unit="s"), "time_unit means nothing"),
        (sa.Integer(), lambda value: value, "cannot be handed to another process"),
        (sa.Integer(), "int", "neither a Cast nor a function"),
    ],
)
def test_a_cast_that_does_nothing_or_cannot_travel_is_refused(
    made: Make, kind: SqlType, cast: Any, expected: str
) -> None:
    model = made("t_wrong", columns={"n": field(kind, cast=cast)})
    with pytest.raises(ConfigError, match=expected):
        TargetTable.of(model)


@pytest.mark.parametrize(
    "options",
    [
        {"thousands": ","},
        {"decimal_point": ","},
        {"from_text": True, "thousands": "."},
        {"from_text": True, "thousands": "--"},
        {"from_text": True, "thousands": "5"},
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Cast(**options)
