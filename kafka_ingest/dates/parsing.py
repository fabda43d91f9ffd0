"""A column of dates in any form to instants in UTC.

1. Sort the values by what they are: missing, text, integer, float, or nothing a date can be.
2. Text: group by shape (texts.py), match each shape with the layouts, read the fields of a whole group at once.
3. Numbers: compact dates and epochs (epochs.py).
4. Wall clocks to UTC, all at once (wallclock.py); refuse what MySQL's DATETIME cannot hold.
5. One message per value that could not be read.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from kafka_ingest.dates import layouts
from kafka_ingest.dates.bounds import EARLIEST_MICROSECONDS, LATEST_MICROSECONDS
from kafka_ingest.dates.epochs import TEXT_EPOCH_DIGITS, read_floats, read_numbers
from kafka_ingest.dates.layouts import Layout
from kafka_ingest.dates.rule import DateRule, layout_of
from kafka_ingest.dates.texts import by_shape
from kafka_ingest.dates.wallclock import Array, to_utc

# The layouts a shape fits, in the order to try; None stands for a number.
_Plan = tuple[tuple["re.Match[str]", "Layout | None"], ...]

_MISSING, _TEXT, _INTEGER, _FLOAT, _OTHER = range(5)
_KINDS: dict[type, int] = {type(None): _MISSING, str: _TEXT, int: _INTEGER, float: _FLOAT}

# What became of a value; the text completes "'…' …".
_FINE, _ABSENT, _UNREADABLE, _IMPOSSIBLE, _OUTSIDE, _WRONG_TYPE, _SHORT = range(7)
_WHY = {
    _UNREADABLE: "is not in a form that is read",
    _IMPOSSIBLE: "looks like a date, but has a month, day, time or zone that does not exist",
    _OUTSIDE: "is outside the years 1000 to 9999 in UTC, which is what a MySQL DATETIME holds",
    _WRONG_TYPE: "is neither text nor a number",
    _SHORT: f"is a text of digits that is no compact date, and too short for an epoch (below {TEXT_EPOCH_DIGITS} digits)",
}
_ACCEPTED = (
    "ISO 8601, YYYY/MM/DD, {slashes}, YYYY.MM.DD, DD.MM.YYYY, YYYYMMDD[HHMM[SS]], 2024年5月1日, RFC 2822, "
    "May 1, 2024, or an epoch in s, ms, µs or ns"
)
_SHOWN_CHARACTERS = 80
_NAT = np.iinfo(np.int64).min
_LARGEST = 2**63  # of an integer; epochs in nanoseconds end there, in the year 2262


@dataclass(frozen=True, slots=True)
class ParsedDates:
    """Every value's instant, and what was wrong with those that have none."""

    instants: pd.Series
    """datetime64[us], naive, in UTC, with the input's index and name; NaT where the value is missing or unreadable."""
    errors: pd.Series
    """One sentence (object, str) for each value that could not be read, under its label; empty when all is well."""


def parse_dates(values: pd.Series, rule: DateRule = DateRule()) -> ParsedDates:  # noqa: B008 (DateRule is frozen)
    """Read every value as an instant. Never raises on data; each value's result depends on it and the rule alone."""
    # 1. What the values are.
    reading = _Reading(len(values))
    texts, rows = _text_column(values)
    objects, numbers = None, np.zeros(0, dtype=np.int64)
    if texts is None:
        objects, kinds, numbers = _objects(values, numbers_as_text=bool(rule.formats))
        rows = np.flatnonzero(kinds == _TEXT)
        texts = _arrow(objects[rows].tolist())
        reading.states[kinds == _OTHER] = _WRONG_TYPE
    # 2. Text.
    _read_texts(reading, texts, rows, rule, numbers)
    # 3. Numbers.
    if objects is not None:
        _read_integers(reading, objects, np.flatnonzero(kinds == _INTEGER))
        _read_floats(reading, objects, np.flatnonzero(kinds == _FLOAT))
    # 4. UTC.
    states, micros = reading.states, reading.micros
    at = np.flatnonzero(reading.walls & (states == _FINE))
    micros[at] = to_utc(micros[at], rule.timezone)
    states[(states == _FINE) & ((micros < EARLIEST_MICROSECONDS) | (micros > LATEST_MICROSECONDS))] = _OUTSIDE
    micros[states != _FINE] = _NAT
    # 5. Messages.
    failed = np.flatnonzero(states > _ABSENT)
    shown = values.iloc[failed].to_numpy(dtype=object)
    accepted = ", ".join((*rule.formats, _ACCEPTED.format(slashes="D/M/YYYY" if rule.day_first else "M/D/YYYY")))
    messages = [
        f"{_shown(value)} {_WHY[state]}; accepted: {accepted}"
        for value, state in zip(shown, states[failed].tolist(), strict=True)
    ]
    return ParsedDates(
        instants=pd.Series(micros.view("M8[us]"), index=values.index, name=values.name),
        errors=pd.Series(messages, index=values.index[failed], name=values.name, dtype=object),
    )


class _Reading:
    """The results so far, one entry per row: `walls` marks microseconds that are wall clocks, not yet UTC."""

    def __init__(self, length: int) -> None:
        self.states = np.full(length, _ABSENT, dtype=np.int8)
        self.micros = np.zeros(length, dtype=np.int64)
        self.walls = np.zeros(length, dtype=bool)

    def put(self, rows: Array, micros: Array, walls: Array, possible: Array) -> None:
        self.micros[rows] = micros
        self.walls[rows] = walls
        self.states[rows] = np.where(possible, _FINE, _IMPOSSIBLE)


def _text_column(values: pd.Series) -> tuple[pa.LargeStringArray | None, Array]:
    """The texts of a pandas string column and their rows; None when the column must be looked at value by value."""
    dtype = values.dtype
    no_rows: Array = np.zeros(0, dtype=np.int64)
    if not (isinstance(dtype, pd.StringDtype) or (isinstance(dtype, pd.ArrowDtype) and dtype.type is str)):
        return None, no_rows
    try:
        texts: Any = pa.array(values, from_pandas=True).cast(pa.large_string())
    except (UnicodeEncodeError, pa.ArrowException):  # lone surrogates, or a text type Arrow cannot cast
        return None, no_rows
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    rows: Array = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
    return texts.drop_null(), rows


def _objects(values: pd.Series, *, numbers_as_text: bool) -> tuple[Array, Array, Array]:
    """The values as plain Python objects, the kind of each, and the rows of numbers that became text for the formats."""
    objects = values.to_numpy(dtype=object)
    kinds = np.fromiter(map(_KINDS.get, map(type, objects.tolist()), repeat(_OTHER)), dtype=np.int8, count=len(objects))
    others = np.flatnonzero(kinds == _OTHER)
    numbers = np.flatnonzero((kinds == _INTEGER) | (kinds == _FLOAT)) if numbers_as_text else others[:0]
    if len(others) or len(numbers):
        objects = objects.copy()
    for at in others.tolist():
        kinds[at], objects[at] = _plain(objects[at])
    for at in numbers.tolist():
        value = objects[at]
        if abs(value) < _LARGEST and value == int(value):  # a float too: integers become floats in a column with gaps
            kinds[at], objects[at] = _TEXT, str(int(value))
    return objects, kinds, numbers


def _plain(value: Any) -> tuple[int, object]:
    """The kind of a value of an unusual type, and the value without its subclass (whose methods may do anything)."""
    kind = type(value)
    if value is pd.NA or value is pd.NaT:
        return _MISSING, None
    if issubclass(kind, str):
        return _TEXT, str.__str__(value)
    if issubclass(kind, int) and kind is not bool:
        return _INTEGER, int.__add__(value, 0)
    if issubclass(kind, np.integer):
        return _INTEGER, int(value)
    if issubclass(kind, float):
        return _FLOAT, float.__add__(value, 0.0)
    if issubclass(kind, np.floating):
        return _FLOAT, float(value)
    return _OTHER, value


def _arrow(texts: list[str]) -> pa.LargeStringArray:
    try:
        return pa.array(texts, type=pa.large_string())
    except UnicodeEncodeError:  # lone surrogates: no date has one
        return pa.array([text.encode("utf-8", "replace").decode() for text in texts], type=pa.large_string())


def _read_texts(reading: _Reading, texts: pa.LargeStringArray, rows: Array, rule: DateRule, numbers: Array) -> None:
    """`numbers` are rows whose text was a number, which may be an epoch however short it is."""
    reading.states[rows] = _UNREADABLE
    for at, grid, shape in by_shape(texts):
        pending = rows[at]
        if not shape:
            reading.states[pending] = _ABSENT
            continue
        for match, layout in _plan(shape, rule.formats):
            if layout is None:
                micros, walls, possible = layouts.read_digits(grid, match)
            else:
                micros, walls, possible = layouts.read(grid, match, layout, day_first=rule.day_first)
            reading.put(pending, micros, walls, possible)
            if layout is None and match.end("whole") - match.start("whole") < TEXT_EPOCH_DIGITS:
                reading.states[pending[possible & ~walls & ~np.isin(pending, numbers)]] = _SHORT
            if possible.all():
                break
            grid, pending = grid[~possible], pending[~possible]


@lru_cache(maxsize=4096)
def _plan(shape: str, formats: tuple[str, ...]) -> _Plan:
    """The layouts a shape fits, in the order to try them."""
    candidates = [*map(layout_of, formats), *layouts.BUILT_IN]
    plan: list[tuple[re.Match[str], Layout | None]] = [
        (match, layout) for layout in candidates if (match := layout.shape.fullmatch(shape))
    ]
    number = layouts.NUMBER.fullmatch(shape)
    return (*plan, (number, None)) if number else tuple(plan)


def _read_integers(reading: _Reading, objects: Array, rows: Array) -> None:
    reading.states[rows] = _OUTSIDE
    numbers = objects[rows]
    try:
        integers = numbers.astype(np.int64)
    except OverflowError:
        small = np.fromiter((abs(number) < _LARGEST for number in numbers), dtype=bool, count=len(numbers))
        rows, integers = rows[small], numbers[small].astype(np.int64)
    rows, integers = rows[integers > -_LARGEST], integers[integers > -_LARGEST]
    reading.put(rows, *read_numbers(np.abs(integers), np.zeros_like(integers), integers < 0))


def _read_floats(reading: _Reading, objects: Array, rows: Array) -> None:
    floats = objects[rows].astype(np.float64)
    reading.states[rows] = np.where(np.isnan(floats), _ABSENT, _OUTSIDE)
    finite = np.abs(floats) < _LARGEST
    reading.put(rows[finite], *read_floats(floats[finite]))


def _shown(value: object) -> str:
    """The value as its error shows it, never longer than a line."""
    try:
        shown = repr(value[: _SHOWN_CHARACTERS + 1]) if type(value) is str else reprlib.repr(value)
    except Exception:  # noqa: BLE001 (a repr may raise anything, and an integer of 5,000 digits has none)
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"
