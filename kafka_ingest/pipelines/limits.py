"""The bounds of each type of column, for a whole column at once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.dates.bounds import EARLIEST, LATEST
from kafka_ingest.pipelines.readings import out_of_bounds
from kafka_ingest.streams.column_types import BINARIES, binary_bytes, integer_bounds
from kafka_ingest.streams.members import listing_of, no_member
from kafka_ingest.streams.model import BoundColumn, ExactText
from kafka_ingest.type_names import ArrowArray, ArrowScalar

# What MySQL takes with four bytes a character: VARCHAR(n) in a row of 65,535 bytes, in a key of 3,072; and LONGTEXT.
_STRING_CHARACTERS = 16_383
_KEY_CHARACTERS = 768
_ALL_CHARACTERS = (1 << 30) - 1
# Manual, "The DATE, DATETIME, and TIMESTAMP Types".
_TIMESTAMPS = (dt.datetime(1970, 1, 1, 0, 0, 1), dt.datetime(2038, 1, 19, 3, 14, 7, 999_999))  # noqa: DTZ001  naive UTC
_DAYS = (dt.date(1000, 1, 1), dt.date(9999, 12, 31))

Limit = tuple[pa.BooleanArray, Callable[[ArrowScalar], str]]
"""Which values are bad, and what is wrong with one."""


def limits_of(array: ArrowArray, bound: BoundColumn) -> list[Limit]:
    """The bounds of a column's type, of values that its reading has let through."""
    kind = bound.column.type
    if bound.rule.dates is not None:
        return _dates(array, bound)
    listing = listing_of(kind)
    if isinstance(listing, sa.Enum):
        foreign = pc.invert(pc.is_in(array, pa.array([None, *listing.enums], pa.large_string())))
        return [(foreign, lambda v: no_member(v.as_py(), listing.enums))]
    length = kind.length if isinstance(kind, ExactText) else getattr(kind, "length", None)
    if isinstance(kind, sa.String | ExactText) and length is not None and listing is None:
        assert isinstance(array, pa.LargeStringArray)  # noqa: S101  narrowing
        is_key = bound.column.primary_key
        longer = pc.greater(pc.utf8_length(array), pa.scalar(length))
        return [(longer, lambda v: _too_long(len(v.as_py()), length, is_key=is_key))]
    if isinstance(kind, BINARIES):
        return _bytes(array, *binary_bytes(kind))
    bounds = integer_bounds(kind)
    if bounds is not None:
        return _integers(array, *bounds)
    if isinstance(kind, sa.Float):
        return [(pc.invert(pc.is_finite(array)), lambda v: f"{v} is not finite")]
    return []


def _dates(array: ArrowArray, bound: BoundColumn) -> list[Limit]:
    if isinstance(bound.column.type, sa.Date):
        bad = pc.or_(pc.less(array, pa.scalar(_DAYS[0])), pc.greater(array, pa.scalar(_DAYS[1])))
        return [(bad, lambda v: f"{np.datetime64(v.value, 'D')} is outside the years 1000 to 9999")]
    low, high = _TIMESTAMPS if isinstance(bound.column.type, mysql.TIMESTAMP) else (EARLIEST, LATEST)
    said = (
        "what a TIMESTAMP holds, 1970 to 2038"
        if isinstance(bound.column.type, mysql.TIMESTAMP)
        else "the years 1000 to 9999"
    )
    bad = pc.or_(pc.less(array, pa.scalar(low, array.type)), pc.greater(array, pa.scalar(high, array.type)))
    # As numpy writes it: a datetime ends with the year 9999.
    return [(bad, lambda v: f"{np.datetime64(v.value, 'us')} is outside {said}")]


def _integers(array: ArrowArray, low: int, high: int) -> list[Limit]:
    least, most = (0, (1 << 64) - 1) if pa.types.is_uint64(array.type) else (-(1 << 63), (1 << 63) - 1)
    bad = [pc.less(array, pa.scalar(low, array.type))] if low > least else []
    bad += [pc.greater(array, pa.scalar(high, array.type))] if high < most else []
    return [(mask, lambda v: out_of_bounds(v, low, high)) for mask in bad]


def _bytes(array: ArrowArray, fewest: int, most: int | None) -> list[Limit]:
    assert isinstance(array, pa.LargeStringArray)  # noqa: S101  narrowing
    sizes = pc.divide(pc.binary_length(array), 2)  # two digits a byte
    wanted = f"exactly {most}" if fewest == most else f"{most:,}" if most is not None else ""
    bad = [pc.less(sizes, pa.scalar(fewest))] if fewest else []
    bad += [pc.greater(sizes, pa.scalar(most))] if most is not None else []
    return [(mask, lambda v: f"{len(v.as_py()) // 2:,} bytes, and the column holds {wanted}") for mask in bad]


def _too_long(characters: int, length: int, *, is_key: bool) -> str:
    """With a type that holds the text: the next round number of characters, up to what MySQL takes."""
    most = _KEY_CHARACTERS if is_key else _STRING_CHARACTERS
    rounds = (figure * 10**power for power in range(1, 5) for figure in (1, 2, 4, 5))
    wanted = next((figure for figure in sorted({*rounds, most}) if characters <= figure <= most), None)
    fitting = [] if wanted is None else [f"String({wanted})"]
    if not is_key:
        fitting.append("Text" if characters <= _STRING_CHARACTERS else f"Text({_ALL_CHARACTERS})")
    advice = f": {' or '.join(fitting)}" if fitting else ", and none that is a key holds more"
    return f"{characters:,} characters, and the column holds {length:,}{advice}"
