"""Decoded messages as the rows of a table, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.pipelines.envelopes import says_unavailable, unavailable
from kafka_ingest.pipelines.explode import ElementColumns, is_loadable, places_in_arrays, too_large
from kafka_ingest.pipelines.kept_fields import KeptFields
from kafka_ingest.pipelines.parsed_slice import RowOrigins
from kafka_ingest.pipelines.sources import SourceColumns
from kafka_ingest.slices import DeadLetter, RawSlice, position_columns
from kafka_ingest.streams.formats.arrays import ArrayReader
from kafka_ingest.streams.formats.base import ColumnReader, MessageReader
from kafka_ingest.streams.model import INDEX_COLUMN
from kafka_ingest.streams.target import TargetTable

Numbers = npt.NDArray[np.int64]


class Rows:
    """The rows of one table as they are decoded, column by column."""

    def __init__(self, target: TargetTable, others: SourceColumns | None, *, refuses_unavailable: bool) -> None:
        self._columns = {bound.name: Column(bound) for bound in target.read}
        self._kept = {which: KeptFields(bound) for which, bound in enumerate(target.read) if bound in target.kept}
        self._others = others
        self._refuses_unavailable = refuses_unavailable
        self._names = [bound.name for bound in target.bound]
        self._route = ""
        self.numbers: list[Numbers] = []
        self.empty: list[Numbers] = []
        """Messages that are no row."""
        self.dead_letters: list[DeadLetter] = []
        """Of messages whose rows are too many."""
        self.origins: RowOrigins | None = None
        """Of the frame's rows, where it is not indexed by message number."""

    @property
    def bytes(self) -> int:
        """What the rows take, where that may be much more than their messages do."""
        return 0

    def add(self, reader: MessageReader | ArrayReader, decoded: Sequence[object], numbers: Numbers, route: str) -> None:
        """Take in messages that a reader has decoded. route: their type, for dead letters."""
        self._route = route
        self.numbers.append(numbers)
        for which, column in enumerate(self._columns.values()):
            if which in self._kept:
                column.add(self._kept[which].take(reader.column(decoded, which)))
            else:
                column.add(
                    reader.values(decoded, which) if isinstance(reader, ColumnReader) else reader.column(decoded, which)
                )

    def frame(self, raw: RawSlice, dead_letters: list[DeadLetter]) -> pd.DataFrame:
        """In order of message number, without those whose key or headers cannot be read, which become dead letters."""
        index = pd.Index(np.concatenate(self.numbers))
        columns = {name: column.series(index) for name, column in self._columns.items()}
        errors: dict[int, str] = {}
        if self._refuses_unavailable:
            for name, numbers in unavailable(columns):
                errors |= dict.fromkeys(numbers, says_unavailable(name))
        if self._others is not None:
            columns |= self._others.read(raw, index.to_numpy(), errors)
            columns = {name: columns[name] for name in self._names}
        frame = pd.DataFrame(columns | position_columns(raw, index), copy=False)
        if errors:
            dead_letters.extend(DeadLetter(number, "decode", error, self._route) for number, error in errors.items())
            frame = frame.drop(index=list(errors))
        return frame if index.is_monotonic_increasing else frame.sort_index()

    def absent(self) -> pd.DataFrame:
        """Which kept columns each message does not carry, by message number."""
        columns = {kept.name: kept.absent() for kept in self._kept.values()}
        return pd.DataFrame(columns, index=np.concatenate(self.numbers))


class ElementRows(Rows):
    """Those of a table whose messages are several rows each, indexed by row number."""

    def __init__(self, target: TargetTable, others: SourceColumns | None, *, refuses_unavailable: bool) -> None:
        super().__init__(target, others, refuses_unavailable=refuses_unavailable)
        self._elements = ElementColumns(target)

    @property
    def bytes(self) -> int:
        return self._elements.bytes

    def add(self, reader: MessageReader | ArrayReader, decoded: Sequence[object], numbers: Numbers, route: str) -> None:
        """As for `Rows`; messages without an element are no row."""
        self._route = route
        counts, sizes = self._elements.add(cast("ArrayReader", reader), decoded)
        is_taken = is_loadable(counts, sizes)
        if is_taken.any():
            self.numbers.append(numbers[is_taken])
        self.empty.append(numbers[counts == 0])
        for at in np.flatnonzero((counts > 0) & ~is_taken).tolist():
            self.dead_letters.append(
                DeadLetter(int(numbers[at]), "decode", too_large(int(counts[at]), int(sizes[at])), route)
            )

    def frame(self, raw: RawSlice, dead_letters: list[DeadLetter]) -> pd.DataFrame:
        """In order of message and element, without the messages whose key or headers cannot be read."""
        messages, counts = np.concatenate(self.numbers), self._elements.counts()
        index = pd.Index(messages)
        columns = self._elements.around(index)
        errors: dict[int, str] = {}
        if self._others is not None:
            columns |= self._others.read(raw, messages, errors)
        columns |= position_columns(raw, index)
        of_rows = np.repeat(np.arange(len(messages)), counts)
        rows = pd.RangeIndex(len(of_rows))
        repeated = {name: column.take(of_rows).set_axis(rows) for name, column in columns.items()}
        whole = repeated | self._elements.own(rows) | {INDEX_COLUMN: pd.Series(places_in_arrays(counts), rows)}
        if self._refuses_unavailable:
            for name, places in unavailable({name: whole[name] for name in self._columns}):
                errors |= dict.fromkeys(messages[of_rows[places]].tolist(), says_unavailable(name))
        names = [*self._names, *(name for name in whole if name not in self._names)]
        frame = pd.DataFrame({name: whole[name] for name in names}, copy=False)
        dead_letters.extend(DeadLetter(number, "decode", error, self._route) for number, error in errors.items())
        kept = messages[of_rows]
        if errors:
            is_kept = ~np.isin(kept, list(errors))
            frame, kept = frame[is_kept], kept[is_kept]
        if not pd.Index(kept).is_monotonic_increasing:
            order = np.argsort(kept, kind="stable")
            frame, kept = frame.iloc[order], kept[order]
        frame = frame.reset_index(drop=True)
        self.origins = RowOrigins(kept, frame[INDEX_COLUMN].to_numpy(dtype=np.int32))
        return frame
