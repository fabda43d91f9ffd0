"""A slice whose messages have become rows, deletes, dead letters, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.slices import DeadLetter, RawSlice
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class RowOrigins:
    """Where each row of a table comes from whose messages are several rows."""

    messages: npt.NDArray[np.int64]
    """Message numbers, in order."""
    places: npt.NDArray[np.int32]
    """Places of the elements in their messages' arrays."""


@dataclass(slots=True)
class ParsedSlice:
    """A slice on its way to the tables.

    `rows` and `deletes` are frames per table whose index is the message number; every message of `raw` is in exactly
    one of rows, deletes, dead_letters and ignored. A message that is several rows has them one behind the other, under its
    number each; before the steps have run, the frames of such a table are indexed by row number instead, and `origins` has the
    messages.
    """

    raw: RawSlice
    rows: dict[TargetTable, pd.DataFrame] = field(default_factory=dict)
    deletes: dict[TargetTable, pd.DataFrame] = field(default_factory=dict)
    absent: dict[TargetTable, pd.DataFrame] = field(default_factory=dict)
    """Of tables with kept columns: which of these columns each message of `rows` does not carry. Until the rows are validated,
    which then have it in their own columns of places (streams/kept.py)."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    truncates: list[tuple[int, TargetTable]] = field(default_factory=list)
    """Messages that say that a table's source was truncated; the pipeline refuses such a slice."""
    ignored: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    origins: dict[TargetTable, RowOrigins] = field(default_factory=dict)
    """By row number, of the tables whose messages are several rows each; none once the steps have run."""
    parsed_by: str | None = None
    """The run whose code made the frames. Another run, which may have newer code, parses `raw` again."""
