"""Dates as arrays of numbers, as Jackson writes Java's LocalDate and LocalDateTime: [2024, 5, 1, 12, 30, 15, 123456789].

The seventh is nanoseconds. Jackson can be told to write milliseconds there (WRITE_DATE_TIMESTAMPS_AS_NANOSECONDS=false), as
`unit="ms"` says; without a unit a number below 1000 could be either.
"""

from __future__ import annotations

import numpy as np

from kafka_ingest.dates.outcomes import FRACTION, IMPOSSIBLE, WRONG_TYPE, Read
from kafka_ingest.dates.wallclock import Array, wall_micros

_LENGTHS = (3, 5, 6, 7)
_MILLISECONDS = 1_000


def read_arrays(values: Array, unit: str | None) -> Read:
    """Wall clocks of an object array of lists."""
    read = Read(
        np.zeros(len(values), dtype=np.int64),
        np.ones(len(values), dtype=bool),
        np.full(len(values), WRONG_TYPE, dtype=np.int8),
    )
    lengths = np.fromiter(
        (len(value) if _has_fields(value) else 0 for value in values), dtype=np.int64, count=len(values)
    )
    for length in _LENGTHS:
        rows = np.flatnonzero(lengths == length)
        if len(rows):
            fields = np.array(values[rows].tolist(), dtype=np.int64)
            year, month, day, hour, minute, second, part = np.pad(fields, ((0, 0), (0, 7 - length))).T
            micros = part * 1_000 if unit == "ms" else part // 1_000
            read.micros[rows], exists = wall_micros(year, month, day, hour, minute, second, micros)
            exists &= (hour < 24) & (second < 60) & (micros < 1_000_000)
            read.outcomes[rows] = np.where(exists, 0, IMPOSSIBLE)
            if unit is None:
                read.outcomes[rows[exists & (part > 0) & (part < _MILLISECONDS)]] = FRACTION
    return read


def _has_fields(value: object) -> bool:
    """Whether these are numbers that fields of a date can be."""
    return isinstance(value, list) and all(type(field) is int and 0 <= field < 10**9 for field in value)
