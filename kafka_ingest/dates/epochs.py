"""Numbers, and text made of digits: compact dates and epochs.

1. 8, 12 or 14 digits that begin with a year from 1900 to 2100 are a compact date, YYYYMMDD[HHMM[SS]], never an epoch:
   20240230 is an impossible date, not an evening in August 1970. A fraction belongs to the seconds, so only 14 digits
   may have one other than zero.
2. Any other JSON number (a value that is no text) is an epoch in UTC, and its size tells the unit: below 1e11 seconds (up
   to the year 5138), below 1e14 milliseconds, below 1e17 microseconds (both from March 1973 on), from there on nanoseconds.
   0 is 1970-01-01.
3. Any other text of digits, with or without a sign and a fraction, is an epoch by the same sizes only where nine digits or
   more stand before the point. "2024", "202405" and "0" are errors: as text they are more likely a year, a month or "none"
   than a time in 1970. The column's own `formats` come first and may take them.

What this cannot tell apart: epochs in seconds between 1970-08-08 and 1970-09-01, and in milliseconds between
1976-01-09 and 1976-08-28, have the digits of a compact date (14 digits in milliseconds are the years 2572 to 2635);
and milliseconds before March 1973 are read as seconds.
"""

from __future__ import annotations

import numpy as np

from kafka_ingest.dates.wallclock import Array, wall_micros

_NANOS = 1_000_000_000
_MILLIS_FROM, _MICROS_FROM, _NANOS_FROM = 10**11, 10**14, 10**17
_FIRST_YEAR, _LAST_YEAR = 1900, 2100
TEXT_EPOCH_DIGITS = 9
"""Digits before the point that a text needs to be an epoch: seconds from 1973-03-03 on, and before 1966-10-31."""


def read_numbers(magnitude: Array, nanos: Array, negative: Array) -> tuple[Array, Array, Array]:
    """Microseconds, which rows are wall clocks (compact dates), and which are possible.

    `magnitude` is int64 and not negative, `nanos` the fraction in billionths of the unit. What is finer than a
    microsecond is cut off towards the past, so that it moves no instant forward.
    """
    scale = np.full(len(magnitude), 1_000_000, dtype=np.int64)
    scale[magnitude >= _MILLIS_FROM] = 1_000
    scale[magnitude >= _MICROS_FROM] = 1
    fraction = nanos * scale
    micros = magnitude * scale + fraction // _NANOS
    inexact = fraction % _NANOS != 0
    in_nanos = magnitude >= _NANOS_FROM
    if in_nanos.any():
        micros[in_nanos] = magnitude[in_nanos] // 1_000
        inexact[in_nanos] = (magnitude[in_nanos] % 1_000 != 0) | (nanos[in_nanos] != 0)
    micros = np.where(negative, -micros - inexact, micros)
    compact = np.zeros(len(magnitude), dtype=bool)
    possible = np.ones(len(magnitude), dtype=bool)
    for digits in (8, 12, 14):
        unit = 10 ** (digits - 4)
        rows = np.flatnonzero((magnitude >= _FIRST_YEAR * unit) & (magnitude < (_LAST_YEAR + 1) * unit) & ~negative)
        if len(rows):
            compact[rows] = True
            micros[rows], possible[rows] = _compact(magnitude[rows] * 10 ** (14 - digits), nanos[rows] // 1_000)
            if digits < 14:
                possible[rows] &= nanos[rows] == 0
    return micros, compact, possible


def read_floats(values: Array) -> tuple[Array, Array, Array]:
    """As `read_numbers`, for finite floats below 2**63; rounded to the microsecond, the nearest a float can mean."""
    size = np.abs(values)
    whole = np.floor(size)
    scale = np.where(size < _MILLIS_FROM, 1e6, np.where(size < _MICROS_FROM, 1e3, 1.0))
    nanos = np.rint((size - whole) * scale) * (_NANOS / scale)
    return read_numbers(whole.astype(np.int64), nanos.astype(np.int64), values < 0)


def _compact(digits: Array, micros: Array) -> tuple[Array, Array]:
    """Wall clocks of YYYYMMDDHHMMSS as integers."""
    day, clock = np.divmod(digits, 1_000_000)
    return wall_micros(
        day // 10_000, day // 100 % 100, day % 100, clock // 10_000, clock // 100 % 100, clock % 100, micros
    )
