"""What becomes of a value: it is read, it is missing, or one sentence says why not and what to declare."""

from __future__ import annotations

from typing import NamedTuple

from kafka_ingest.dates.wallclock import Array

FINE, ABSENT = 0, 1
UNREADABLE, IMPOSSIBLE, OUTSIDE, WRONG_TYPE, NO_UNIT, HOUR_OR_SECOND, PART_OF_DAY, SHORT_YEAR, FRACTION, ZONE = range(
    2, 12
)


class Read(NamedTuple):
    """What was read, an entry per row."""

    micros: Array
    """Microseconds since 1970-01-01; they mean nothing where the outcome is not FINE."""
    walls: Array
    """Which are on a wall clock, not yet in UTC."""
    outcomes: Array
    """int8, of those above."""


def explain(accepted: str) -> dict[int, str]:
    """The sentence that follows a value, by outcome but ZONE. accepted: the forms that are read."""
    return {
        UNREADABLE: "is not in a form that is read; say its form with formats=, as formats=['%d.%m.%y %H:%M']; accepted: "
        + accepted,
        IMPOSSIBLE: f"looks like a date, but has a month, day, time or zone that does not exist; accepted: {accepted}",
        OUTSIDE: "is outside the years 1000 to 9999 in UTC, which is what a MySQL DATETIME holds",
        WRONG_TYPE: "is neither text nor a number, nor an array such as [2024, 5, 1, 12, 30]",
        NO_UNIT: "is a number that says no date by itself: say what it counts with unit= (days, s, ms, us or ns), or, where "
        "its digits are a date, with formats=, as formats=['%Y%m']",
        HOUR_OR_SECOND: "is an hour of a day or an epoch in seconds: say which with formats=['%Y%m%d%H'] or unit='s'",
        PART_OF_DAY: "has a part of a day, and unit='days' counts whole ones",
        SHORT_YEAR: "has a year from 50 to 68, which some read as 19.. and some as 20..: say how with formats=, where %y is 20..",
        FRACTION: "ends with nanoseconds or with milliseconds: say which with unit='ns' or unit='ms'",
    }


def unknown_zone(name: str) -> str:
    """The sentence of ZONE. name: the abbreviation."""
    return (
        f"has the zone {name}, of which the column has to say what it means: zones={{'{name}': …}}, with an offset ('+08:00') "
        "or an IANA zone that uses the name ('Asia/Shanghai')"
    )
