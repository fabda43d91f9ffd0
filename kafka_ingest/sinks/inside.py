"""The part of a slice that is loaded: its messages, and what becomes of each."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.records import BatchKind, DeadLetter, OffsetRange, Outcome, ParsedSlice, RangeCounts

# What an outcome is called, by its number here; 0 is a message nobody accounted for.
_OUTCOMES: tuple[Outcome | None, ...] = (None, "row", "delete", "dead_letter", "ignored")
_ROW, _DELETE, _DEAD, _IGNORED = 1, 2, 3, 4


class Inside:
    """The messages of a slice that are inside the admitted ranges, and what becomes of each."""

    def __init__(self, parsed: ParsedSlice, parts: list[tuple[OffsetRange, BatchKind]]) -> None:
        self._parsed = parsed
        self._parts = parts
        self.ranges = [each for each, _ in parts]
        raw = parsed.raw
        self._part = np.full(len(raw), -1, dtype=np.int64)
        by_partition = {r.topic_partition: i for i, r in enumerate(raw.ranges)}
        for number, (each, _) in enumerate(parts):
            own = raw.range_index == by_partition[each.topic_partition]
            self._part[own & (raw.offsets >= each.start) & (raw.offsets < each.end)] = number
        self.is_whole = bool((self._part >= 0).all())
        """Whether every message of the slice is inside."""

    def of(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """The frame's rows that are inside."""
        if frame is None or self.is_whole:
            return frame
        return frame[self._part[frame.index.to_numpy(dtype=np.int64)] >= 0]

    def dead_letters(self) -> list[DeadLetter]:
        return [letter for letter in self._parsed.dead_letters if self._part[letter.number] >= 0]

    def counts(self, letters: list[DeadLetter]) -> list[RangeCounts]:
        """Per admitted range what became of its messages; the absent offsets are counted from what Kafka delivered."""
        raw = self._parsed.raw
        outcome = self._outcomes(letters)
        tables, table = self._tables()
        counts = []
        for number, (each, kind) in enumerate(self._parts):
            members = np.flatnonzero(self._part == number)
            by_outcome = np.bincount(outcome[members], minlength=5)
            stamps = raw.timestamps_ms[members]
            stamps = stamps[stamps >= 0]
            by_table = np.bincount(table[members[outcome[members] == _ROW]], minlength=len(tables))
            counts.append(
                RangeCounts(
                    range=each,
                    kind=kind,
                    rows=int(by_outcome[_ROW]),
                    deletes=int(by_outcome[_DELETE]),
                    dead_letters=int(by_outcome[_DEAD]),
                    ignored=int(by_outcome[_IGNORED]),
                    absent=self._absent(each, len(members)),
                    min_timestamp_ms=_bounded(stamps.min()) if len(stamps) else None,
                    max_timestamp_ms=_bounded(stamps.max()) if len(stamps) else None,
                    rows_by_table={name: int(n) for name, n in zip(tables, by_table, strict=True) if n},
                )
            )
        return counts

    def _tables(self) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The tables of the slice, and per message the number of the one it has a row for; -1 for none."""
        table = np.full(len(self._parsed.raw), -1, dtype=np.int64)
        names = []
        for number, (target, frame) in enumerate(self._parsed.rows.items()):
            table[frame.index.to_numpy(dtype=np.int64)] = number
            names.append(target.label)
        return names, table

    def outcomes(self, letters: list[DeadLetter]) -> dict[int, Outcome]:
        """What became of each message inside, by its number."""
        outcome = self._outcomes(letters)
        named = {int(n): _OUTCOMES[outcome[n]] for n in np.flatnonzero(self._part >= 0)}
        return {number: name for number, name in named.items() if name is not None}

    def _outcomes(self, letters: list[DeadLetter]) -> npt.NDArray[np.int8]:
        outcome = np.zeros(len(self._parsed.raw), dtype=np.int8)
        for frame in self._parsed.rows.values():
            outcome[frame.index.to_numpy(dtype=np.int64)] = _ROW
        for frame in self._parsed.deletes.values():
            outcome[frame.index.to_numpy(dtype=np.int64)] = _DELETE
        outcome[self._parsed.ignored] = _IGNORED
        outcome[[letter.number for letter in letters]] = _DEAD
        return outcome

    def _absent(self, each: OffsetRange, delivered: int) -> int:
        """The reader's own count where the whole range is loaded, so that accounting compares two sources."""
        raw = self._parsed.raw
        return raw.absent[raw.ranges.index(each)] if each in raw.ranges else each.size - delivered

    def timestamps_ms(self) -> npt.NDArray[np.int64]:
        return self._parsed.raw.timestamps_ms[self._part >= 0]

    def latency_seconds(self, now: dt.datetime) -> tuple[float | None, float | None]:
        """p50 and p95 from Kafka timestamp to now, of the live messages that have one."""
        live = [number for number, (_, kind) in enumerate(self._parts) if kind == "live"]
        stamps = self._parsed.raw.timestamps_ms[np.isin(self._part, live)]
        stamps = stamps[stamps >= 0]
        if not len(stamps):
            return None, None
        p50, p95 = np.percentile(now.timestamp() - stamps / 1000.0, [50, 95])
        return float(p50), float(p95)


# Kafka takes any 64-bit timestamp; a DATETIME ends with the year 9999.
_MAX_LEDGER_TIMESTAMP_MS = 253_402_300_799_999


def _bounded(milliseconds: Any) -> int:
    return min(int(milliseconds), _MAX_LEDGER_TIMESTAMP_MS)
