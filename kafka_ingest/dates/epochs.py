"""Numbers, and text made of digits: epochs and compact dates.

1. With a unit every number of the column counts it from 1970-01-01 on: `days` are calendar days, as a date without a time is
   one; `s`, `ms`, `us` and `ns` are instants. No number is a compact date then.
2. Without a unit a number is read where it says one thing only, by its digits:

   | digits | is | where |
   |---|---|---|
   | 8, 12, 14 | YYYYMMDD, YYYYMMDDHHMM, YYYYMMDDHHMMSS | years 1900 to 2100 |
   | 10, 13, 16, 19 | an epoch in s, ms, µs, ns | 2001-09-09T01:46:40 to the end of 2100 |

   Ten digits that are also the hour of a day (YYYYMMDDHH, of the years 1900 to 2100: of 100 epochs between March 2030 and July
   2036 it is one) are neither.
3. A fraction belongs to the seconds, so of compact dates only those of 14 digits may have one other than zero.
"""

from __future__ import annotations

import numpy as np

from kafka_ingest.dates.bounds import EARLIEST_MICROSECONDS, LATEST_MICROSECONDS
from kafka_ingest.dates.outcomes import FINE, HOUR_OR_SECOND, IMPOSSIBLE, NO_UNIT, OUTSIDE, PART_OF_DAY, Read
from kafka_ingest.dates.wallclock import MICROS_PER_DAY, Array, wall_micros

_NANOS = 1_000_000_000
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
_FIRST_SECOND, _END_SECOND = 10**9, 4_133_980_800
UNITS = {"days": MICROS_PER_DAY, "s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0}
"""The microseconds of a unit; of a nanosecond there is none."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": _NANOS}


def read_numbers(magnitude: Array, nanos: Array, negative: Array, unit: str | None, *, is_date: bool) -> Read:
    """What numbers say in a unit, or by their digits where it is None.

    `magnitude` is int64 and not negative, `nanos` the fraction in billionths of the unit. What is finer than a microsecond is
    cut off towards the past, so that it moves no instant forward.
    """
    if unit is not None:
        return _count(magnitude, nanos, negative, unit)
    read = Read(magnitude.copy(), np.zeros(len(magnitude), dtype=bool), np.full(len(magnitude), NO_UNIT, dtype=np.int8))
    positive = np.where(negative, 0, magnitude)
    # A column mostly has numbers of one kind, which these two tell without a look at each.
    span = int(positive.min(initial=np.iinfo(np.int64).max)), int(positive.max(initial=0))
    for name, scale in _PER_SECOND.items():
        rows = _between(positive, span, _FIRST_SECOND * scale, _END_SECOND * scale)
        if rows is not None:
            read.micros[rows], _, read.outcomes[rows] = _count(magnitude[rows], nanos[rows], negative[rows], name)
    for digits in (8, 10, 12, 14):
        scale = 10 ** (digits - 4)
        rows = _between(positive, span, _FIRST_YEAR * scale, (_LAST_YEAR + 1) * scale)
        if rows is not None:
            _compact(read, rows, magnitude[rows] * 10 ** (14 - digits), nanos[rows], digits, is_date=is_date)
    return read


def _between(numbers: Array, span: tuple[int, int], low: int, end: int) -> Array | slice | None:
    """Which of them are at least `low` and below `end`. span: the least and the greatest."""
    if span[1] < low or span[0] >= end:
        return None
    if span[0] >= low and span[1] < end:
        return slice(None)
    return np.flatnonzero((numbers >= low) & (numbers < end))


def read_floats(values: Array, unit: str | None, *, is_date: bool) -> Read:
    """As `read_numbers`, for finite floats below 2**63; rounded to the microsecond, the nearest a float can mean."""
    if unit == "ns":
        values, unit = values / 1_000, "us"
    size = np.abs(values)
    whole = np.floor(size)
    scale: Array | float
    if unit is None:
        scale = np.where(size < _FIRST_SECOND * 1_000, 1e6, np.where(size < _FIRST_SECOND * 1_000_000, 1e3, 1.0))
    else:
        scale = float(UNITS[unit])
    nanos = np.rint((size - whole) * scale) * (_NANOS / scale)
    return read_numbers(whole.astype(np.int64), nanos.astype(np.int64), values < 0, unit, is_date=is_date)


def _count(magnitude: Array, nanos: Array, negative: Array, unit: str) -> Read:
    scale = UNITS[unit]
    most = max(-EARLIEST_MICROSECONDS, LATEST_MICROSECONDS)
    outcomes = np.zeros(len(magnitude), dtype=np.int8)
    if scale:
        is_far = magnitude > most // scale
        magnitude = np.where(is_far, 0, magnitude)
        outcomes[is_far] = OUTSIDE
        micros = magnitude * scale
    if unit == "days":
        outcomes[nanos != 0] = PART_OF_DAY
        return Read(np.where(negative, -micros, micros), np.ones(len(magnitude), dtype=bool), outcomes)
    inexact: Array | bool = False
    if not scale:
        micros = magnitude // 1_000
        inexact = (magnitude % 1_000 != 0) | (nanos != 0)
    elif nanos.any():
        more, left = np.divmod(nanos * scale, _NANOS)
        micros += more
        inexact = left != 0
    return Read(np.where(negative, -micros - inexact, micros), np.zeros(len(magnitude), dtype=bool), outcomes)


def _compact(read: Read, rows: Array | slice, padded: Array, nanos: Array, digits: int, *, is_date: bool) -> None:
    """Enter the wall clocks of numbers, which are YYYYMMDDHHMMSS once `padded`."""
    day, clock = np.divmod(padded, 1_000_000)
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    if digits == 10:
        _, is_hour = wall_micros(day // 10_000, day // 100 % 100, day % 100, hour, 0, 0, 0)
        read.outcomes[rows] = np.where(is_hour & (nanos == 0), HOUR_OR_SECOND, read.outcomes[rows])
        return
    possible = (second <= 60) & ((nanos == 0) | (digits == 14))
    if is_date:
        second = np.minimum(second, 59)  # the leap second is one of its day
    micros, exists = wall_micros(day // 10_000, day // 100 % 100, day % 100, hour, minute, second, nanos // 1_000)
    read.micros[rows] = micros
    read.walls[rows] = True
    read.outcomes[rows] = np.where(possible & exists, FINE, IMPOSSIBLE)
