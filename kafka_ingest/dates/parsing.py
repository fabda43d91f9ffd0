"""A column of dates in any form to instants in UTC.

1. Sort the values by what they are: missing, text, integer, float, decimal, array, date or datetime, or nothing a date can be.
2. Text: group by shape (texts.py), match each shape with the layouts, read the fields of a whole group at once.
3. Numbers (epochs.py) and arrays (arrays.py). Dates and datetimes, as Avro and Protobuf give them, say all themselves.
4. Wall clocks to UTC, all at once (wallclock.py), or, in a column of days, everything to its day; refuse what MySQL's DATETIME
   cannot hold.
5. One message per value that could not be read.
"""

from __future__ import annotations

import datetime as dt
import re
import reprlib
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.dates import fields, layouts
from kafka_ingest.dates.arrays import read_arrays
from kafka_ingest.dates.bounds import EARLIEST_MICROSECONDS, LATEST_MICROSECONDS
from kafka_ingest.dates.epochs import read_floats, read_numbers
from kafka_ingest.dates.layouts import Layout
from kafka_ingest.dates.outcomes import (
    ABSENT,
    FINE,
    IMPOSSIBLE,
    NO_UNIT,
    OUTSIDE,
    UNREADABLE,
    WRONG_TYPE,
    ZONE,
    Read,
    explain,
    unknown_zone,
)
from kafka_ingest.dates.rule import DateRule, layout_of
from kafka_ingest.dates.texts import by_shape
from kafka_ingest.dates.wallclock import MICROS_PER_DAY, Array, to_utc, to_wall

# The layouts a shape fits, in the order to try; None stands for a number.
_Plan = tuple[tuple["re.Match[str]", "Layout | None"], ...]

_MISSING, _TEXT, _INTEGER, _FLOAT, _DECIMAL, _ARRAY, _INSTANT, _WALL, _DATE, _OTHER = range(10)
_KINDS: dict[type, int] = {
    type(None): _MISSING,
    str: _TEXT,
    int: _INTEGER,
    float: _FLOAT,
    Decimal: _DECIMAL,
    list: _ARRAY,
    dt.date: _DATE,
}

_ACCEPTED = (
    "ISO 8601, YYYY/MM/DD, {slashes}, YYYY.MM.DD, DD.MM.YYYY, YYYYMMDD[HHMM[SS]], 2024年5月1日, RFC 2822, "
    "May 1, 2024, asctime, or an epoch {unit}"
)
_SHOWN_CHARACTERS = 80
_MOMENTS: dict[int, pa.DataType] = {
    _INSTANT: pa.timestamp("us", "UTC"),
    _WALL: pa.timestamp("us"),
    _DATE: pa.date32(),
}
_NAT = np.iinfo(np.int64).min
_LARGEST = 2**63  # of an integer
_DECIMAL_DIGITS = pa.decimal128(31, 9)  # the whole part and what is left of it have 32 digits, of 38
_LARGEST_EXPONENT, _SMALLEST_EXPONENT = 30, -60  # beyond, a decimal is no number of a date, and is not written out


@dataclass(frozen=True, slots=True)
class ParsedDates:
    """Every value's instant, and what was wrong with those that have none."""

    instants: pd.Series
    """datetime64[us], naive, with the input's index and name: in UTC, or, of a column of days, the day's midnight. NaT where the
    value is missing or unreadable."""
    errors: pd.Series
    """One sentence (object, str) for each value that could not be read, under its label; empty when all is well."""


def parse_dates(values: pd.Series, rule: DateRule = DateRule()) -> ParsedDates:  # noqa: B008 (DateRule is frozen)
    """Read every value as an instant. Never raises on data; each value's result depends on it and the rule alone."""
    # 1. What the values are.
    reading = _Reading(len(values))
    texts, rows = _text_column(values)
    objects = None
    if texts is None:
        objects, kinds = _objects(values, numbers_as_text=bool(rule.formats) and rule.unit is None)
        rows = np.flatnonzero(kinds == _TEXT)
        texts = _arrow(objects[rows].tolist())
        reading.outcomes[kinds == _OTHER] = WRONG_TYPE
    # 2. Text.
    _read_texts(reading, texts, rows, rule)
    # 3. Numbers and arrays.
    if objects is not None:
        _read_integers(reading, objects, np.flatnonzero(kinds == _INTEGER), rule)
        _read_floats(reading, objects, np.flatnonzero(kinds == _FLOAT), rule)
        _read_decimals(reading, objects, np.flatnonzero(kinds == _DECIMAL), rule)
        arrays = np.flatnonzero(kinds == _ARRAY)
        reading.put(arrays, read_arrays(objects[arrays], rule.unit))
        for kind, arrow_type in _MOMENTS.items():
            _read_moments(reading, objects, np.flatnonzero(kinds == kind), arrow_type, walls=kind != _INSTANT)
    # 4. UTC, or days.
    outcomes, micros = reading.outcomes, reading.micros
    fine = outcomes == FINE
    if rule.is_date:
        at = np.flatnonzero(fine & ~reading.walls)
        micros[at] = to_wall(micros[at], rule.timezone)
        micros -= micros % MICROS_PER_DAY
    else:
        at = np.flatnonzero(fine & reading.walls)
        micros[at] = to_utc(micros[at], rule.timezone)
    outcomes[fine & ((micros < EARLIEST_MICROSECONDS) | (micros > LATEST_MICROSECONDS))] = OUTSIDE
    micros[outcomes != FINE] = _NAT
    # 5. Messages.
    return ParsedDates(
        instants=pd.Series(micros.view("M8[us]"), index=values.index, name=values.name),
        errors=_errors(values, reading, rule),
    )


class _Reading:
    """The results so far, one entry per row: `walls` marks microseconds that are wall clocks, not yet UTC."""

    def __init__(self, length: int) -> None:
        self.outcomes = np.full(length, ABSENT, dtype=np.int8)
        self.micros = np.zeros(length, dtype=np.int64)
        self.walls = np.zeros(length, dtype=bool)
        self.zones: dict[int, str] = {}
        """The abbreviations that are not known, by row."""

    def put(self, rows: Array, read: Read) -> None:
        """Enter what was read. What a layout before found wrong stays, unless this one reads it, or knows better than that it
        is no date that exists."""
        if read.outcomes.any():
            is_news = (read.outcomes == FINE) | (self.outcomes[rows] <= IMPOSSIBLE)
            rows, read = rows[is_news], Read(*(column[is_news] for column in read))
        self.micros[rows] = read.micros
        self.walls[rows] = read.walls
        self.outcomes[rows] = read.outcomes


def _errors(values: pd.Series, reading: _Reading, rule: DateRule) -> pd.Series:
    failed = np.flatnonzero(reading.outcomes > ABSENT)
    if not len(failed):
        return pd.Series([], index=values.index[:0], name=values.name, dtype=object)
    shown = values.iloc[failed].to_numpy(dtype=object)
    built_in = _ACCEPTED.format(
        slashes="D/M/YYYY" if rule.day_first else "M/D/YYYY",
        unit="of ten digits (s), 13 (ms), 16 (µs) or 19 (ns)" if rule.unit is None else f"in {rule.unit}",
    )
    why = explain(", ".join((*rule.formats, built_in)))
    messages = [
        f"{_shown(value)} {why[outcome] if outcome != ZONE else unknown_zone(reading.zones[row])}"
        for row, value, outcome in zip(failed.tolist(), shown, reading.outcomes[failed].tolist(), strict=True)
    ]
    return pd.Series(messages, index=values.index[failed], name=values.name, dtype=object)


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


def _objects(values: pd.Series, *, numbers_as_text: bool) -> tuple[Array, Array]:
    """The values as plain Python objects, and the kind of each; integers are text where the formats are to see them."""
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
    return objects, kinds


def _plain(value: Any) -> tuple[int, object]:
    """The kind of a value of an unusual type, and the value without its subclass (whose methods may do anything)."""
    kind = type(value)
    if value is pd.NA or value is pd.NaT:
        return _MISSING, None
    if issubclass(kind, str):
        return _TEXT, str.__str__(value)
    if issubclass(kind, dt.datetime):
        return (_WALL if value.tzinfo is None else _INSTANT), value
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


def _read_texts(reading: _Reading, texts: pa.LargeStringArray, rows: Array, rule: DateRule) -> None:
    reading.outcomes[rows] = UNREADABLE
    for at, grid, shape in by_shape(texts):
        pending = rows[at]
        if not shape:
            reading.outcomes[pending] = ABSENT
            continue
        for match, layout in _plan(shape, rule.formats):
            read = fields.read(grid, match, layout, rule) if layout else fields.read_digits(grid, match, rule)
            reading.put(pending, read)
            if not read.outcomes.any():
                break
            _note_zones(reading, pending, grid, match, read)
            left = reading.outcomes[pending] != FINE
            grid, pending = grid[left], pending[left]


def _note_zones(reading: _Reading, rows: Array, grid: Array, match: re.Match[str], read: Read) -> None:
    """Keep the abbreviations that are not known, for the messages."""
    unknown = np.flatnonzero(read.outcomes == ZONE)
    if len(unknown):
        names = grid[unknown][:, fields.zone_columns(match)]
        reading.zones |= {
            row: bytes(name).decode("ascii").upper() for row, name in zip(rows[unknown].tolist(), names, strict=True)
        }


@lru_cache(maxsize=4096)
def _plan(shape: str, formats: tuple[str, ...]) -> _Plan:
    """The layouts a shape fits, in the order to try them."""
    candidates = [*map(layout_of, formats), *layouts.BUILT_IN, *(() if shape.isascii() else layouts.EAST_ASIAN)]
    plan: list[tuple[re.Match[str], Layout | None]] = [
        (match, layout) for layout in candidates if (match := layout.shape.fullmatch(shape))
    ]
    number = layouts.NUMBER.fullmatch(shape)
    return (*plan, (number, None)) if number else tuple(plan)


def _read_integers(reading: _Reading, objects: Array, rows: Array, rule: DateRule) -> None:
    numbers, unit = objects[rows], rule.unit
    try:
        integers = numbers.astype(np.int64)
    except OverflowError:
        if unit == "ns":  # the dates after 2262: cut to microseconds, towards the past
            numbers, unit = np.array([number // 1_000 for number in numbers.tolist()], dtype=object), "us"
        is_small = np.fromiter((abs(number) < _LARGEST for number in numbers), dtype=bool, count=len(numbers))
        reading.outcomes[rows[~is_small]] = _too_large(rule)
        rows, integers = rows[is_small], numbers[is_small].astype(np.int64)
    # The least has no magnitude in 64 bits; in nanoseconds the next is in the same microsecond, in any other unit no date.
    magnitude = np.abs(np.maximum(integers, 1 - _LARGEST))
    read = read_numbers(magnitude, np.zeros_like(integers), integers < 0, unit, is_date=rule.is_date)
    reading.put(rows, read)


def _read_floats(reading: _Reading, objects: Array, rows: Array, rule: DateRule) -> None:
    floats = objects[rows].astype(np.float64)
    reading.outcomes[rows[np.abs(floats) >= _LARGEST]] = _too_large(rule)
    finite = np.abs(floats) < _LARGEST  # NaN is absent
    reading.put(rows[finite], read_floats(floats[finite], rule.unit, is_date=rule.is_date))


def _too_large(rule: DateRule) -> int:
    return NO_UNIT if rule.unit is None else OUTSIDE


def _read_decimals(reading: _Reading, objects: Array, rows: Array, rule: DateRule) -> None:
    """Decimals, which JSON's fractions are, by their digits: exactly. As of integers, the formats see whole ones only."""
    values: list[Decimal] = objects[rows].tolist()
    parts = None if rule.formats or not values else _parts_at_once(values)
    if parts is not None:
        reading.put(rows, read_numbers(*parts, rule.unit, is_date=rule.is_date))
        return
    whole: dict[int, str] = {}
    others: dict[int, str] = {}
    for row, value in zip(rows.tolist(), values, strict=True):
        if value.is_nan():
            continue
        if value.is_infinite() or value.adjusted() > _LARGEST_EXPONENT:
            reading.outcomes[row] = _too_large(rule)
        elif value.adjusted() < _SMALLEST_EXPONENT:
            reading.outcomes[row] = UNREADABLE
        elif rule.unit is None and value == int(value):
            whole[row] = str(int(value))
        else:
            others[row] = f"{value:f}"
    for found, its_rule in ((whole, rule), (others, replace(rule, formats=()))):
        _read_texts(reading, _arrow(list(found.values())), np.array(list(found), dtype=np.int64), its_rule)


def _parts_at_once(values: list[Decimal]) -> tuple[Array, Array, Array] | None:
    """The whole parts, the billionths and the signs of decimals; None where some has more digits, or is to be looked at by
    itself."""
    try:
        decimals = pa.array(values, _DECIMAL_DIGITS)
        size = pc.abs(decimals)
        whole: Any = pc.floor(size)  # type: ignore[type-var]  # the stubs know no decimals here
        magnitude: Array = whole.cast(pa.int64()).to_numpy()
    except (pa.ArrowInvalid, OverflowError):
        return None
    if not magnitude.all():
        return None  # of a number as small as 1E-75 Arrow makes 0 without a word
    left: Any = pc.subtract(size, whole)
    nanos: Array = np.frombuffer(left.buffers()[1], dtype=np.int64)[::2]  # 128 bits each, of which half are enough
    return magnitude, nanos, pc.less(decimals, pa.scalar(Decimal(0))).to_numpy(zero_copy_only=False)


def _read_moments(reading: _Reading, objects: Array, rows: Array, arrow_type: pa.DataType, *, walls: bool) -> None:
    """Dates and datetimes; one without a zone is a wall clock, as a text without one is, and a date is its midnight."""
    if len(rows):
        micros = pa.array(objects[rows].tolist(), arrow_type).cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
        fine = np.full(len(rows), FINE, dtype=np.int8)
        reading.put(rows, Read(micros.view(np.int64), np.full(len(rows), walls), fine))


def _shown(value: object) -> str:
    """The value as its error shows it, never longer than a line."""
    try:
        shown = repr(value[: _SHOWN_CHARACTERS + 1]) if type(value) is str else reprlib.repr(value)
        shown = str(value) if type(value) is Decimal else shown
    except Exception:  # noqa: BLE001 (a repr may raise anything, and an integer of 5,000 digits has none)
        shown = f"<{type(value).__name__}>"
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[: _SHOWN_CHARACTERS - 1]}…"
