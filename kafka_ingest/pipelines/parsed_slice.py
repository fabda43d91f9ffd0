"""A slice whose messages have become rows, deletes, dead letters, or nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.slices import DeadLetter, RawSlice
from kafka_ingest.streams.target import TargetTable


@dataclass(slots=True)
class ParsedSlice:
    """A slice on its way to the tables.

    `rows` and `deletes` are frames per table whose index is the message number; every message of `raw` is in exactly
    one of rows, deletes, dead_letters and ignored.
    """

    raw: RawSlice
    rows: dict[TargetTable, pd.DataFrame] = field(default_factory=dict)
    deletes: dict[TargetTable, pd.DataFrame] = field(default_factory=dict)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    ignored: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    parsed_by: str | None = None
    """The run whose code made the frames. Another run, which may have newer code, parses `raw` again."""
