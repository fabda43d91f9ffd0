"""How the values of a column become what Arrow holds of them: a rule for each type of column.

Values come from JSON, from another format or from a step, so each rule says which Python types it takes; everything else is an
error of its message. Texts that a database would read in a way of its own (decimals, members of a SET, UUIDs, times, bytes) are
brought to one form here, so that equal values are equal texts.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.pipelines.diagnosis import foreign_text, lone_surrogate
from kafka_ingest.streams.column_types import (
    BINARIES,
    MICROSECOND_DIGITS,
    ExactUuid,
    integer_bounds,
    second_digits,
)
from kafka_ingest.streams.members import listing_of, no_member
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.numbers import read_number
from kafka_ingest.type_names import ArrowArray, ArrowChunks, SqlType

_TEXT = pa.large_string()
_INSTANT = pa.timestamp("us")


@dataclass(frozen=True, slots=True)
class Reading:
    """How one column is read."""

    convert: Callable[[Any], object]
    """One value that is there; ValueError or TypeError for what does not fit."""
    arrow: pa.DataType
    takes_text: bool = False
    """Text that is text already is taken as it stands."""
    is_plain: bool = False
    """Arrow itself takes the right Python types and no others."""
    whole: Callable[[pd.Series], ArrowArray | None] | None = None
    """The whole column at once; None where some value must be looked at by itself."""
    cut: Callable[[ArrowArray], ArrowArray] | None = None
    """What is done to values that are read: instants lose the decimals that the column does not have."""


def reading_of(bound: BoundColumn) -> Reading:
    """The rule of a column."""
    kind = bound.column.type
    if bound.rule.dates is not None:
        if isinstance(kind, sa.Date):
            zone = ZoneInfo(bound.rule.dates.timezone)
            return Reading(partial(_to_day, zone), pa.date32(), whole=partial(_days, zone))
        return Reading(_to_instant, _INSTANT, whole=_instants, cut=_cut_to(second_digits(kind)))
    if isinstance(kind, sa.JSON):
        return Reading(_to_json, _TEXT, takes_text=True)
    if isinstance(kind, sa.Boolean):
        return Reading(_to_boolean, pa.bool_(), is_plain=True)
    bounds = integer_bounds(kind)
    if bounds is not None:
        takes_flags = isinstance(kind, mysql.BIT) and bounds[1] == 1
        arrow = pa.int64() if bounds[1] < 1 << 63 else pa.uint64()
        return Reading(_to_integer(*bounds, takes_flags=takes_flags), arrow, is_plain=True)
    if isinstance(kind, sa.Float):
        return Reading(_to_float, pa.float64(), is_plain=True)
    if isinstance(kind, sa.Numeric):
        digits = _digits(kind)
        return Reading(_to_decimal(*digits), _TEXT, whole=lambda values: _decimal_texts(values.tolist(), *digits))
    return _text_reading(kind)


def _text_reading(kind: SqlType) -> Reading:
    """Types whose values go to the database as text."""
    if isinstance(kind, BINARIES):
        return Reading(_to_hex, _TEXT)
    if isinstance(kind, ExactUuid):
        return Reading(_to_uuid, _TEXT)
    if isinstance(kind, sa.Time):
        return Reading(_to_time(kind), _TEXT)
    listing = listing_of(kind)
    if isinstance(listing, mysql.SET):
        return Reading(_to_members(listing.values), _TEXT)
    if listing is not None:
        return Reading(_to_member(listing.enums), _TEXT, takes_text=True, is_plain=True)
    return Reading(_to_text, _TEXT, takes_text=True, is_plain=True)


def to_arrow(values: pd.Series, arrow_type: pa.DataType) -> ArrowArray:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    # What pandas makes of a step's values (str, Int64, category …) goes by way of plain objects: from its own types Arrow
    # casts freely, texts to numbers among them.
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.to_numpy(dtype=object)
    return one_chunk(pa.array(plain, arrow_type, from_pandas=True))


def one_chunk(array: ArrowArray | ArrowChunks) -> ArrowArray:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _to_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # exact; a float's text would be a guess
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in a text column")
    value.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return value


def _to_member(members: Sequence[str]) -> Callable[[object], str]:
    """A member of an ENUM by its text: a database would take "2" for the second member, and an integer for its number."""
    known = {member: member for member in members}

    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(no_member(value, members))
        return known[value]

    return convert


def _to_members(members: Sequence[str]) -> Callable[[object], str]:
    """The members of a SET joined by commas in the order of the declaration, in which the database keeps them: in any other
    order two texts would be one value."""
    places = {member: place for place, member in enumerate(members)}

    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(no_member(value, members))
        if value == "":
            return value
        chosen = value.split(",")
        for each in chosen:
            if each not in places:
                raise ValueError(no_member(each, members))
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"{repr(value)[:60]} names a member twice")
        return ",".join(sorted(chosen, key=places.__getitem__))

    return convert


def _to_json(value: object) -> str | None:
    """JSON text as it came, or as a step wrote it; what else a step put there is encoded. A JSON null is NULL."""
    if isinstance(value, str):
        return value
    raw = bytes(value) if isinstance(value, msgspec.Raw | bytes) else msgspec.json.encode(value)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(lone_surrogate(raw) or foreign_text(raw) or str(error)) from error
    return None if text in ("", "null") else text


def _to_boolean(value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{type(value).__name__} in a boolean column")
    return bool(value)


def _to_integer(low: int, high: int, *, takes_flags: bool) -> Callable[[object], int]:
    def convert(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # pandas turns integers to floats where a step leaves a value out
        is_flag = isinstance(value, bool) and not takes_flags
        if is_flag or not isinstance(value, int | np.integer):
            raise TypeError(f"{type(value).__name__} {str(value)[:40]} in an integer column")
        if not low <= value <= high:
            raise ValueError(out_of_bounds(value, low, high))
        return int(value)

    return convert


def out_of_bounds(value: object, low: int, high: int) -> str:
    """What is wrong with an integer."""
    shown = str(value)[:40]
    return (
        f"{shown} does not fit {high.bit_length() + 1} bits"
        if low == -high - 1
        else f"{shown} is not from {low} to {high}"
    )


def _to_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{type(value).__name__} in a number column")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{str(value)[:40]}… does not fit a double") from None


def _digits(kind: sa.Numeric[Any]) -> tuple[int, int]:
    """Precision and scale: MySQL's DECIMAL is DECIMAL(10,0)."""
    return kind.precision or 10, kind.scale or 0


def _decimal_texts(values: list[object], precision: int, scale: int) -> ArrowArray | None:
    """What `_to_decimal` gives, for a whole column of Decimals at once; None where some value must be looked at by itself:
    it does not fit, is no Decimal, or has a text that is not the canonical one."""
    if not {decimal.Decimal, type(None)}.issuperset(map(type, values)):
        return None
    try:
        decimals = pa.array(
            values, pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
        )
    except (pa.ArrowInvalid, OverflowError):
        return None
    # Of a number as small as 1E-75 Arrow makes 0 without a word.
    zeros = np.flatnonzero(
        pc.equal(decimals, pa.scalar(decimal.Decimal(0))).fill_null(False).to_numpy(zero_copy_only=False)
    )
    if any(values[place] for place in zeros.tolist()):
        return None
    texts = decimals.cast(pa.string()).cast(pa.large_string())
    if scale == 0:
        return texts
    if pc.any(pc.match_substring(texts, "E")).as_py():
        return None  # Arrow writes 0.0000001 as 1E-7
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, "0"), ".")


def _to_decimal(precision: int, scale: int) -> Callable[[object], str]:
    """Exact decimals as text; a value with more digits than the column is refused, not rounded."""

    def convert(value: object) -> str:
        number = read_number(value)
        # By hand: Decimal.normalize() rounds to 28 digits and overflows beyond the exponents of its context.
        sign, all_digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # noqa: S101  finite, so it is
        digits = "".join(map(str, all_digits)).lstrip("0")
        significant = digits.rstrip("0")
        if not significant:
            return "0"
        exponent += len(digits) - len(significant)
        if max(0, -exponent) > scale or len(significant) + exponent > precision - scale:
            raise ValueError(f"{str(number)[:40]} does not fit DECIMAL({precision},{scale}) without rounding")
        return f"{decimal.Decimal((sign, tuple(map(int, significant)), exponent)):f}"

    return convert


def _to_instant(value: object) -> dt.datetime:
    if isinstance(value, dt.datetime):  # a step's own; translate_dates makes a whole column of instants
        return value if value.tzinfo is None else value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    raise TypeError(_no_date(value))


def _instants(values: pd.Series) -> ArrowArray | None:
    # Only instants: Arrow would take any integer for microseconds.
    return to_arrow(values, _INSTANT) if pd.api.types.is_datetime64_any_dtype(values.dtype) else None


def _cut_to(digits: int) -> Callable[[ArrowArray], ArrowArray] | None:
    if digits >= MICROSECOND_DIGITS:
        return None
    step = 10 ** (MICROSECOND_DIGITS - digits)
    return lambda array: pc.floor_temporal(array, multiple=step, unit="microsecond")


def _days(zone: ZoneInfo, values: pd.Series) -> ArrowArray | None:
    """Days as their midnights, or instants with a zone, as the days they are in another; None where a time would be cut."""
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        return None
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()
    midnights = to_arrow(values, _INSTANT)
    days: ArrowArray = midnights.cast(pa.date32())
    return days if days.cast(_INSTANT).equals(midnights) else None


def _to_day(zone: ZoneInfo, value: object) -> dt.date:
    """A step's or a format's own day: of an instant with a zone the one it has in the column's."""
    if not isinstance(value, dt.date):
        raise TypeError(_no_date(value))
    if not isinstance(value, dt.datetime):
        return value
    if value.tzinfo is not None:
        return value.astimezone(zone).date()
    if value.time() != dt.time.min:
        raise ValueError(
            f"{value} has a time of day, and the column holds days: give it a zone, or leave the time away"
        )
    return value.date()


def _no_date(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r} is no date; is translate_dates among the steps?"


def _to_hex(value: object) -> str:
    """Bytes as capital hexadecimal digits."""
    if isinstance(value, str):
        raise TypeError(
            "text in a binary column; the column's cast says how bytes are written: cast=Cast(bytes_from='base64')"
        )
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"{type(value).__name__} in a binary column")
    return value.hex().upper()


_UUID = re.compile("[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _to_uuid(value: object) -> str:
    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError(f"{str(value)[:40]!r} is no UUID of 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12")
    return value.lower()


_TIME = re.compile(
    r"(?P<sign>-?)(?P<h>[0-9]{1,3}):(?P<m>[0-5][0-9])(?::(?P<s>[0-5][0-9])(?:\.(?P<f>[0-9]{1,9}))?)?", re.ASCII
)
_DAY_MICROSECONDS = 86_400_000_000
# MySQL's TIME is a span of up to 838:59:59 (manual, "The TIME Type").
_SPAN_MICROSECONDS = ((838 * 60 + 59) * 60 + 59) * 1_000_000


def _to_time(kind: sa.Time) -> Callable[[object], str]:
    """A time of day or, in MySQL's own TIME, a span, as `HH:MM:SS` with as many decimals as it has and the column holds."""
    is_span = isinstance(kind, mysql.TIME)
    step = 10 ** (MICROSECOND_DIGITS - second_digits(kind))

    def convert(value: object) -> str:
        microseconds = _time_microseconds(value)
        shown = str(value)[:40]
        if is_span and abs(microseconds) > _SPAN_MICROSECONDS:
            raise ValueError(f"{shown!r} is not from -838:59:59 to 838:59:59")
        if not is_span and not 0 <= microseconds < _DAY_MICROSECONDS:
            raise ValueError(f"{shown!r} is no time of day")
        return _time_text(microseconds // step * step if microseconds >= 0 else -(-microseconds // step * step))

    return convert


def _time_microseconds(value: object) -> int:
    """Since midnight; a fraction is cut to microseconds."""
    if isinstance(value, dt.timedelta):
        return value // dt.timedelta(microseconds=1)
    if isinstance(value, dt.time) and value.tzinfo is None:
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is no time without a zone, such as 09:30 or 09:30:15.123")
    seconds = (int(found["h"]) * 60 + int(found["m"])) * 60 + int(found["s"] or 0)
    microseconds = seconds * 1_000_000 + int((found["f"] or "").ljust(9, "0")[:6])
    return -microseconds if found["sign"] else microseconds


def _time_text(microseconds: int) -> str:
    seconds, fraction = divmod(abs(microseconds), 1_000_000)
    minutes, hours = seconds // 60 % 60, seconds // 3600
    text = f"{'-' if microseconds < 0 else ''}{hours:02}:{minutes:02}:{seconds % 60:02}"
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text
