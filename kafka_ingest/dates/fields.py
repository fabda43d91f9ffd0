"""The fields of a layout, read from the byte columns of all rows of one shape at once."""

from __future__ import annotations

import re

import numpy as np

from kafka_ingest.dates.epochs import read_numbers
from kafka_ingest.dates.layouts import Layout
from kafka_ingest.dates.outcomes import FINE, IMPOSSIBLE, NO_UNIT, OUTSIDE, SHORT_YEAR, ZONE, Read
from kafka_ingest.dates.rule import DateRule
from kafka_ingest.dates.wallclock import MICROS_PER_SECOND, Array, day_of_year, wall_micros
from kafka_ingest.dates.words import HALVES, HOURS_BY_PART, MONTHS, WEEKDAYS, zone_words

Spans = dict[str, tuple[int, int]]

# A year of two digits is 20.. up to the first of these and 19.. from the second on, by RFC 2822 (4.3) and by POSIX (strptime).
_TWENTIES_UP_TO, _NINETEENS_FROM = 49, 69
_INT64_DIGITS = 19
_FINE, _IMPOSSIBLE = np.int8(FINE), np.int8(IMPOSSIBLE)


def zone_columns(match: re.Match[str]) -> slice:
    """Where in a shape with a zone it stands."""
    return slice(*_spans(match)["z"])


def read(grid: Array, match: re.Match[str], layout: Layout, rule: DateRule) -> Read:
    """What rows of one shape say."""
    spans = _spans(match)
    # A part of the day before the time and one after it, or two zones: no row says one thing.
    possible: Array = np.full(len(grid), len(spans) == sum(map(bool, match.groupdict().values())))
    for name, letters in layout.literals.items():
        for at, letter in zip(range(*spans.get(name, (0, 0))), letters, strict=False):
            byte = grid[:, at]
            possible &= (byte == ord(letter)) | (byte == ord(letter.upper()))
    if "ms" in spans:
        micros = _digits(grid, spans["ms"]) * (-1_000 if match["sign"] == "-" else 1_000)
        return Read(micros, np.zeros(len(grid), dtype=bool), np.where(possible, _FINE, _IMPOSSIBLE))

    # 1. The day.
    year, short = _year(grid, spans)
    month, day = _month_and_day(grid, spans, possible, year, day_first=rule.day_first)
    # 2. The time of day.
    hour = _hour(grid, spans, match, possible)
    second = _number(grid, spans, "S")
    if rule.is_date and "S" in spans:
        possible &= second <= 60
        second = np.minimum(second, 59)  # the leap second is one of its day
    wall, exists = wall_micros(year, month, day, hour, _number(grid, spans, "M"), second, _micros(grid, spans.get("f")))
    possible &= exists
    # 3. The zone. A date without a time is that date, whatever its offset.
    is_wall = "z" not in spans or (rule.is_date and spans.keys().isdisjoint("HI"))
    nameless: Array | None = None
    if not is_wall:
        seconds, known, is_name = _zone(grid, spans, match, rule)
        wall = wall - seconds * MICROS_PER_SECOND
        if not known.all():
            nameless = ~known & is_name
            possible &= known | is_name
    # 4. What became of each row.
    outcomes = np.where(possible, _FINE, _IMPOSSIBLE)
    if short is not None:
        outcomes[possible & short] = SHORT_YEAR
    if nameless is not None:
        outcomes[possible & nameless] = ZONE
    return Read(wall, np.full(len(grid), is_wall), outcomes)


def read_digits(grid: Array, match: re.Match[str], rule: DateRule) -> Read:
    """As `read`, for text that is a number; leading zeros (zero dates) are impossible."""
    low, high = match.span("whole")
    nanos = np.zeros(len(grid), dtype=np.int64) + _micros(grid, match.span("part") if match["part"] else None, places=9)
    negative = np.full(len(grid), match["sign"] == "-")
    unit = rule.unit
    if unit == "ns" and high - low >= _INT64_DIGITS:
        # The dates after 2262: microseconds, and whether there are more nanoseconds.
        nanos = np.where((nanos != 0) | (_digits(grid, (high - 3, high)) != 0), 1, 0)
        magnitude, unit, too_large = _digits(grid, (low, high - 3)), "us", np.zeros(len(grid), dtype=bool)
    else:
        unsigned = _digits(grid, (low, high), np.uint64)
        too_large = (unsigned >= 2**63) | (high - low > _INT64_DIGITS)
        magnitude = np.where(too_large, 0, unsigned).astype(np.int64)
    read = read_numbers(magnitude, nanos, negative, unit, is_date=rule.is_date)
    read.outcomes[too_large] = NO_UNIT if rule.unit is None else OUTSIDE
    if high - low > 1:
        read.outcomes[grid[:, low] == ord("0")] = IMPOSSIBLE
    return read


def _spans(match: re.Match[str]) -> Spans:
    return {name.rstrip("23"): match.span(name) for name, text in match.groupdict().items() if text}


def _year(grid: Array, spans: Spans) -> tuple[Array, Array | None]:
    """The year, and, where the form has years of two digits, whether their century is not certain."""
    if "y" in spans:
        year = _digits(grid, spans["y"])
        return year + np.where(year < _NINETEENS_FROM, 2000, 1900), None  # as strptime and POSIX
    if "yy" in spans:
        year = _digits(grid, spans["yy"])
        is_short = (year > _TWENTIES_UP_TO) & (year < _NINETEENS_FROM)
        return year + np.where(year < _NINETEENS_FROM, 2000, 1900), is_short
    return _digits(grid, spans["Y"]), None


def _month_and_day(
    grid: Array, spans: Spans, possible: Array, year: Array, *, day_first: bool
) -> tuple[Array | int, Array | int]:
    if "j" in spans:
        return day_of_year(year, _digits(grid, spans["j"]))
    if "a" in spans:
        possible &= WEEKDAYS.read(grid[:, slice(*spans["a"])])[1]
    if "first" in spans:
        first, second = _digits(grid, spans["first"]), _digits(grid, spans["second"])
        return (second, first) if day_first else (first, second)
    month = _number(grid, spans, "m", 1)
    if "b" in spans:
        month, known = MONTHS.read(grid[:, slice(*spans["b"])])
        possible &= known
    return month, _number(grid, spans, "d", 1)


def _hour(grid: Array, spans: Spans, match: re.Match[str], possible: Array) -> Array | int:
    hour = _number(grid, spans, "I" if "I" in spans else "H")
    if "part" in spans:
        hour = HOURS_BY_PART[match.string[slice(*spans["part"])]][hour]
        possible &= hour >= 0
        return hour
    if "p" in spans or "I" in spans:
        possible &= (hour >= 1) & (hour <= 12)
        hour = hour % 12
    if "p" in spans:
        half, known = HALVES.read(grid[:, slice(*spans["p"])])
        possible &= known
        hour = hour + half
    return hour


def _zone(grid: Array, spans: Spans, match: re.Match[str], rule: DateRule) -> tuple[Array, Array, Array]:
    """Seconds east of UTC, which rows have a zone that is known, and which of the others have an abbreviation."""
    low, high = spans["z"]
    zones = zone_words(rule.zones)
    if match.string[low] == "a":
        seconds, known = zones.read(grid[:, low:high])
        # Not the military letters, which RFC 822 has the wrong way round, nor the PM of 13:30 PM.
        is_name = ~HALVES.read(grid[:, low:high])[1] & (high - low > 1)
        return seconds, known, is_name
    digits = [at for at in range(low + 1, high) if match.string[at] == "0"]
    hour_digits = len(digits) if len(digits) <= 2 else len(digits) - 2
    hours = _digits(grid, (low + 1, low + 1 + hour_digits))
    minutes = _digits(grid, (high - 2, high)) if len(digits) > 2 else np.zeros(len(grid), dtype=np.int64)
    known = (hours < 24) & (minutes < 60)
    if "utc" in spans:  # GMT+8: the letters say no more than that an offset follows
        offset, is_utc = zones.read(grid[:, slice(*spans["utc"])])
        known &= is_utc & (offset == 0)
    seconds = (hours * 60 + minutes) * 60
    return -seconds if match.string[low] == "-" else seconds, known, np.zeros(len(grid), dtype=bool)


def _number(grid: Array, spans: Spans, name: str, default: int = 0) -> Array | int:
    return _digits(grid, spans[name]) if name in spans else default


def _digits(grid: Array, span: tuple[int, int], dtype: type[np.generic] = np.int64) -> Array:
    total = np.zeros(len(grid), dtype=dtype)
    for at in range(*span):
        total *= 10
        total += grid[:, at] & 15
    return total


def _micros(grid: Array, span: tuple[int, int] | None, places: int = 6) -> Array | int:
    """A fraction as an integer of so many decimal places; further digits are cut off."""
    if span is None:
        return 0
    low, high = span[0], min(span[1], span[0] + places)
    return _digits(grid, (low, high)) * np.int64(10 ** (places + low - high))
