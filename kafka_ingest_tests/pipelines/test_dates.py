"""Dates on the way from a message's bytes to a row: numbers with all their digits, units, zones, and days."""

from __future__ import annotations

import dataclasses
import datetime as dt
import pickle
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.streams.model import date_field
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import letters_of, one, piped, rows_of
from kafka_ingest_tests.support.made import Make

LAST_MICROSECOND = dt.datetime(2024, 5, 1, 23, 59, 59, 999_999)


@pytest.fixture
def stream(made: Make) -> Stream:
    columns = {
        "at": date_field(),
        "ms": date_field(unit="ms"),
        "days": date_field(unit="days"),
        "zoned": date_field(zones={"CST": "America/Chicago", "CDT": "-05:00"}, on_error="null"),
        "day": date_field(sa.Date, timezone="Asia/Shanghai"),
        "day_number": date_field(sa.Date, unit="days", timezone="America/New_York"),
    }
    return Stream(name="dated", topics="dated", routes={"d": made("dated", columns=columns)})


def loaded(stream: Stream, *messages: dict[str, Any] | bytes) -> ParsedSlice:
    bodies = [m if isinstance(m, bytes) else {"type": "d", "id": "x"} | m for m in messages]
    return piped(stream, one(*bodies, topic="dated"))


def row(stream: Stream, message: dict[str, Any] | bytes) -> dict[str, Any]:
    (model,) = stream.routes.values()
    (found,) = rows_of(loaded(stream, message), model)
    return {name: value for name, value in found.items() if value is not None and name[0] != "_" and name != "id"}


def test_a_number_of_json_is_read_with_all_its_digits(stream: Stream) -> None:
    """A double would be the next day's midnight."""
    body = b'{"type":"d","id":"x","at":1714607999.9999999,"ms":1714607999999.9999,"day":1714579199.9999999}'
    assert row(stream, body) == {"at": LAST_MICROSECOND, "ms": LAST_MICROSECOND, "day": dt.date(2024, 5, 1)}


def test_a_number_is_read_in_its_columns_unit(stream: Stream) -> None:
    message = {"ms": 63_072_000_000, "days": 19844, "day_number": 19844, "at": 1714566615}
    assert row(stream, message) == {
        "ms": dt.datetime(1972, 1, 1),
        "days": dt.datetime(2024, 5, 1),
        "day_number": dt.date(2024, 5, 1),
        "at": dt.datetime(2024, 5, 1, 12, 30, 15),
    }
    assert row(stream, {"ms": 253_402_300_799_999, "days": "19844"}) == {
        "ms": dt.datetime(9999, 12, 31, 23, 59, 59, 999_000),
        "days": dt.datetime(2024, 5, 1),
    }


def test_an_array_is_a_date(stream: Stream) -> None:
    assert row(stream, {"at": [2024, 5, 1, 12, 30], "day": [2024, 5, 1], "zoned": [2024, 5, 1, 12, 30, 15, 1000]}) == {
        "at": dt.datetime(2024, 5, 1, 12, 30),
        "day": dt.date(2024, 5, 1),
        "zoned": dt.datetime(2024, 5, 1, 12, 30, 15, 1),
    }


def test_abbreviations_mean_what_the_column_says_and_its_unreadable_dates_may_be_null(stream: Stream) -> None:
    assert row(stream, {"zoned": "Wed, 01 May 24 12:30:15 CST"}) == {"zoned": dt.datetime(2024, 5, 1, 18, 30, 15)}
    assert row(stream, {"zoned": "Wed, 01 May 24 12:30:15 CDT"}) == {"zoned": dt.datetime(2024, 5, 1, 17, 30, 15)}
    for unreadable in ("Wed, 01 May 24 12:30:15 IST", True, {"$date": 1}, 19844):
        assert row(stream, {"zoned": unreadable}) == {}


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"at": 19844}, "at: 19844 is a number that says no date by itself: say what it counts with unit="),
        ({"at": "202405"}, "or, where its digits are a date, with formats="),
        ({"at": "soon"}, "at: 'soon' is not in a form that is read; say its form with formats="),
        ({"at": "1 May 2024 12:30 CST"}, "at: '1 May 2024 12:30 CST' has the zone CST, of which the column has to say"),
        ({"day": 19844}, "day: 19844 is a number that says no date by itself: say what it counts with unit="),
        ({"day_number": 19844.5}, "day_number: 19844.5 has a part of a day"),
        ({"day": "0000-00-00"}, "day: '0000-00-00' looks like a date, but has a month, day"),
        ({"day": "9999-12-31T23:00:00Z"}, "day: '9999-12-31T23:00:00Z' is outside the years 1000 to 9999"),
    ],
)
def test_a_dead_letter_says_what_to_declare(stream: Stream, message: dict[str, Any], error: str) -> None:
    ((stage, text),) = letters_of(loaded(stream, message)).values()
    assert stage == "dates"
    assert error in text


@pytest.mark.parametrize(
    ("sent", "day"),
    [
        *(("2024-05-01", 1), ("2024-05-01T00:00", 1), ("2024-05-01 23:59:59.999999", 1), ("2024-05-01Z", 1)),
        *(
            ("2024年5月1日", 1),
            ("20240501", 1),
            (20240501, 1),
            ("2024-05-01-11:00", 1),
            ("2024-05-01T23:59:60", 1),
            (20240501235960, 1),
        ),
        # instants: the day in Shanghai
        *(("2024-05-01T15:59:59Z", 1), ("2024-05-01T16:00:00Z", 2), ("2024-05-01T00:00:00+14:00", 30)),
        *((1714579199, 1), (1714579200, 2), (1714579199999, 1), ("/Date(1714579200000)/", 2)),
        ("Wed, 01 May 2024 12:30:15 EST", 2),
    ],
)
def test_a_day_is_never_one_off(stream: Stream, sent: Any, day: int) -> None:
    assert row(stream, {"day": sent}) == {"day": dt.date(2024, 4 if day == 30 else 5, day)}


EAST = dt.timezone(dt.timedelta(hours=8))
DAYS_OF_A_STEP: list[tuple[Any, Any]] = [
    (dt.date(2024, 5, 1), dt.date(2024, 5, 1)),
    (dt.datetime(2024, 5, 1), dt.date(2024, 5, 1)),
    (pd.Timestamp("2024-05-01"), dt.date(2024, 5, 1)),
    (dt.datetime(2024, 4, 30, 16, tzinfo=dt.timezone.utc), dt.date(2024, 5, 1)),
    (pd.Timestamp("2024-05-01 12:00", tz="America/New_York"), dt.date(2024, 5, 2)),
    (None, None),
    (dt.datetime(2024, 5, 1, 12), "2024-05-01 12:00:00 has a time of day, and the column holds days"),
    (dt.date(999, 12, 31), "0999-12-31 is outside the years 1000 to 9999"),
    ("2024-05-01", "is translate_dates among the steps?"),
    (19844, "is translate_dates among the steps?"),
]


@pytest.mark.parametrize("as_column", [False, True], ids=["objects", "column"])
@pytest.mark.parametrize(("made_by_step", "expected"), DAYS_OF_A_STEP, ids=[str(made) for made, _ in DAYS_OF_A_STEP])
def test_a_day_that_a_step_makes(stream: Stream, made_by_step: Any, expected: Any, as_column: bool) -> None:
    def step(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        values = pd.Series([made_by_step] * len(rows), rows.index, dtype=object)
        is_time = as_column and isinstance(made_by_step, dt.datetime)
        return rows.assign(day=pd.to_datetime(values) if is_time else values)

    parsed = loaded(dataclasses.replace(stream, steps=(step,)), {}, {})
    if isinstance(expected, str):
        assert all(expected in text for _, text in letters_of(parsed).values())
        assert len(letters_of(parsed)) == 2
    else:
        (model,) = stream.routes.values()
        assert [found["day"] for found in rows_of(parsed, model)] == [expected] * 2


def test_a_default_stands_in_for_a_day_that_is_missing(made: Make) -> None:
    model = made("defaulted", columns={"day": date_field(sa.Date, default=dt.date(2000, 1, 1))})
    stream = Stream(name="s", topics="t", routes={"d": model})
    parsed = piped(stream, one({"type": "d", "id": "x"}, {"type": "d", "id": "y", "day": "2024-05-01"}, topic="t"))
    assert [found["day"] for found in rows_of(parsed, model)] == [dt.date(2000, 1, 1), dt.date(2024, 5, 1)]


def test_the_rules_of_dates_go_to_another_process(stream: Stream) -> None:
    (target,) = stream.targets
    for sent, there in zip(target.bound, pickle.loads(pickle.dumps(target)).bound, strict=True):  # noqa: S301  our own
        assert there.rule == sent.rule
