"""Every form of kafka_ingest.dates, what is missing and what is an error, one row of a table each."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kafka_ingest.dates import DateRule
from kafka_ingest_tests.support.dates import FORMS, NOON, UTC, read


@pytest.mark.parametrize(("value", "instant"), FORMS, ids=[repr(value) for value, _ in FORMS])
def test_a_form_is_read(value: object, instant: str) -> None:
    assert read(value) == instant


@pytest.mark.parametrize(
    "value", [None, np.nan, pd.NA, pd.NaT, "", "   ", "\t\n", "\u3000", "\u00a0", np.float32("nan")]
)
def test_what_is_missing_is_no_error(value: object) -> None:
    assert read(value) == "NaT"


@pytest.mark.parametrize(
    "value",
    [
        *("2024-02-30", "2023-02-29", "2024-13-01", "2024-00-10", "2024-05-00", "0000-00-00", "0000-00-00 00:00:00"),
        *(
            "2024-05-01T25:00",
            "2024-05-01T24:00:01",
            "2024-05-01T12:60",
            "2024-05-01T12:30:61",
            "2024-05-01T12:30+24:00",
        ),
        *(
            "2024-05-01T12:30+08:60",
            "2024-05-01X12:30",
            "13/1/2024",
            "1.13.2024",
            "2024年2月30日",
            "2024年5月1日下午13:30",
            "2024年5月1日24时1分",
        ),
        *("1 Foo 2024", "Foo, 1 May 2024", "5/1/2024 13:30 PM", "5/1/2024 0:30 AM", "2024-05-01T"),
        *("20240230", 20240230, 20240230.0, "202405012530", 202405012530, "20240501126000", 20240501.5, "20240501.5"),
        *("00000000", "0001", "-00"),
    ],
)
def test_what_looks_like_a_date_but_cannot_be_one_is_an_error(value: object) -> None:
    assert "does not exist; accepted: ISO 8601" in read(value)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "hello",
            "12:30",
            "2024-05",
            "24-05-01",
            "05/01/24",
            "2024-05-01T12:30:15.",
            "T12:30",
            "٢٠٢٤-٠٥-٠١",
        ),
        *(
            "2024-05-01T12:30:15.1234567890",
            "2024\x0005-01",
            "2024\u00f85\u00f91",
            "2024-05-01;",
            "1e9",
            "1_000",
            "--1",
        ),
        *("1" * 22, "x" * 200, "2024-05-01" + " " * 200 + "12:30", "\ud800", "²0240501", "2024年", "GMT"),
    ],
)
def test_other_text_is_an_error(value: str) -> None:
    error = read(value)
    assert "is not in a form that is read; say its form with formats=" in error
    assert "; accepted: ISO 8601" in error


def test_a_columns_own_format_takes_a_short_text_of_digits() -> None:
    rule = DateRule(formats=("%Y", "%Y%m"))
    assert [read(value, rule) for value in ("2024", "202405", 2024, 202405)] == [
        *("2024-01-01T00:00:00", NOON) * 2,
    ]
    assert "say what it counts with unit=" in read("0", rule)
    assert "say what it counts with unit=" in read(0, rule)


def test_an_object_that_raises_at_every_touch_is_an_error() -> None:
    assert read(Hostile()).startswith("error: <Hostile> is neither text nor a number")
    assert "is neither text nor a number" in read([Hostile()])


class Colour(enum.Enum):
    RED = "2024-05-01"


class Day(enum.IntEnum):
    FIRST = 20240501


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    @property
    def __class__(self) -> Any:
        raise RuntimeError("no")

    @__class__.setter
    def __class__(self, value: Any) -> None: ...


@pytest.mark.parametrize(
    "value",
    [
        *(True, False, np.True_, {}, [], {"a": 1}, ["2024-05-01"], (1,), b"2024-05-01", object),
        *(Colour.RED, 1j, np.datetime64("2024-05-01"), np.array([1, 2])),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_neither_text_nor_a_number_is_an_error(value: object) -> None:
    assert "is neither text nor a number" in read(value)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0999-12-31T23:59:59", UTC),
        ("0001-01-01", UTC),
        ("1000-01-01T00:00:00+08:00", UTC),
        ("9999-12-31T23:59:59-00:01", UTC),
        ("9999-12-31T24:00:00", UTC),
        ("1000-01-01", DateRule(timezone="Asia/Shanghai")),
        ("9999-12-31T23:00:00", DateRule(timezone="America/New_York")),
        ("/Date(-62135596800000)/", UTC),  # what .NET writes where there is no date
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_instant_a_mysql_datetime_cannot_hold_is_an_error(value: object, rule: DateRule) -> None:
    assert "is outside the years 1000 to 9999 in UTC" in read(value, rule)


def test_subclasses_of_text_and_numbers_are_read_as_what_they_are() -> None:
    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            raise RuntimeError("no")

    values: list[object] = [
        Text("2024-05-01"),
        np.str_("2024-05-01"),
        np.int64(20240501),
        np.int32(20240501),
        np.float64(20240501),
        Day.FIRST,
    ]
    assert [read(value) for value in values] == [NOON] * len(values)


def test_an_error_shows_the_value_cut_to_80_characters() -> None:
    for long in ("x" * 1_000, "\n" * 1_000, list(range(1_000)), b"x" * 1_000, "年" * 1_000):
        shown = read(long).removeprefix("error: ").partition(" is n")[0]
        assert len(shown) <= 80
    assert read("x" * 1_000).startswith("error: 'xxxx")
    assert "…" in read("x" * 1_000)[:100]
    assert "…" not in read("x" * 78)[:100]
