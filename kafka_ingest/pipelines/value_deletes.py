"""Deletes that stand in messages' values → business keys, and what orders them.

The key's columns are read where the envelope says that the deleted row stands, by the rules of rows. A key that is not there,
as a replica identity leaves it out, is read from the message's key, by the rules of tombstones (tombstones.py). What gives no
key is a dead letter, never "nothing to delete"; so is what has nothing to be ordered by, where the model is ordered.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.pipelines.readings import is_missing
from kafka_ingest.pipelines.sources import SourceColumns
from kafka_ingest.pipelines.tombstones import KeyReaders, key_of, typed_keys
from kafka_ingest.slices import DeadLetter, RawSlice, position_columns
from kafka_ingest.streams.formats.arrays import ArrayReader
from kafka_ingest.streams.formats.base import MessageReader
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.target import TargetTable

Numbers = npt.NDArray[np.int64]


def delete_bound(target: TargetTable) -> tuple[BoundColumn, ...]:
    """The columns that a delete of the table has, in the table's order."""
    return tuple(bound for bound in target.bound if bound.name in target.key or bound.name == target.order_by)


class ValueDeletes:
    """The deletes of one table in one slice, as they are decoded."""

    def __init__(self, target: TargetTable, others: SourceColumns | None, keys: KeyReaders | None) -> None:
        """others: reads those columns of a delete that do not stand in the value. keys: reads messages' keys; None where they
        do not name a row."""
        self._target = target
        self._read = [bound for bound in delete_bound(target) if bound.rule.is_in_value]
        self._columns = [Column(bound) for bound in self._read]
        self._others = others
        self._keys = keys
        self._route = ""
        self.numbers: list[Numbers] = []
        """Of the messages, once for each row that they delete."""
        self.empty: list[Numbers] = []
        """Messages that are no row."""
        self._errors: dict[int, str] = {}

    def add(self, reader: MessageReader | ArrayReader, decoded: Sequence[object], numbers: Numbers, route: str) -> None:
        """Take in messages that delete, as a reader of these columns has decoded them. route: their type, for dead letters."""
        columns, counts = self._take_apart(reader, decoded)
        self.empty.append(numbers[counts == 0])
        self._add(columns, np.repeat(numbers, counts), route)

    def add_moved(
        self,
        reader: MessageReader | ArrayReader,
        rows: Sequence[object],
        old_reader: MessageReader | ArrayReader,
        old: Sequence[object],
        numbers: Numbers,
        route: str,
    ) -> None:
        """Take in updates: those whose key was another before delete the row of that one.

        rows, old: the same messages, decoded by readers of a delete's columns as the row is, and as `old` has them, where only
        what has changed is not null. A message that has both, in numbers that do not match, becomes a dead letter.
        """
        now, counts = self._take_apart(reader, rows)
        before, old_counts = self._take_apart(old_reader, old)
        keys = [
            at for at, bound in enumerate(self._read) if bound.name in self._target.key and bound.rule.source is None
        ]
        if not (counts == old_counts).all():
            uneven = (counts != old_counts) & (old_counts > 0)
            self._errors |= dict.fromkeys(numbers[uneven].tolist(), "data and old have different numbers of rows")
            is_even = counts == old_counts
            now = _of_messages(now, counts, is_even)
            before = _of_messages(before, old_counts, is_even)
            numbers, counts = numbers[is_even], counts[is_even]
        moved = [
            any(was is not None and was != is_ for is_, was in zip(row, row_before, strict=True))
            for row, row_before in zip(
                zip(*(now[at] for at in keys), strict=True), zip(*(before[at] for at in keys), strict=True), strict=True
            )
        ]
        if any(moved):
            for at in keys:
                now[at] = [is_ if was is None else was for is_, was in zip(now[at], before[at], strict=True)]
            self._add([list(compress(column, moved)) for column in now], np.repeat(numbers, counts)[moved], route)

    def _add(self, columns: list[list[object]], numbers: Numbers, route: str) -> None:
        self._route = route
        if len(numbers):
            self.numbers.append(numbers)
            for column, values in zip(self._columns, columns, strict=True):
                column.add(values)

    def _take_apart(
        self, reader: MessageReader | ArrayReader, decoded: Sequence[object]
    ) -> tuple[list[list[object]], Numbers]:
        """The columns of all rows of these messages, and how many each has."""
        if self._target.explode is not None:
            return self._of_elements(cast("ArrayReader", reader), decoded)
        columns = [reader.column(decoded, which) for which in range(len(self._read))]
        return columns, np.ones(len(decoded), dtype=np.int64)

    def _of_elements(self, reader: ArrayReader, decoded: Sequence[object]) -> tuple[list[list[object]], Numbers]:
        """The columns of the elements of all messages, and how many each has."""
        arrays = reader.elements(decoded)
        counts = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
        elements = [element for array in arrays for element in array]
        columns: list[list[object]] = []
        own = around = 0
        for bound in self._read:
            if self._target.is_of_element(bound):
                columns.append(reader.element_column(elements, own))
                own += 1
            else:
                values = zip(reader.column(decoded, around), counts.tolist(), strict=True)
                columns.append([value for value, count in values for _ in range(count)])
                around += 1
        return columns, counts

    def frame(self, raw: RawSlice, dead_letters: list[DeadLetter]) -> pd.DataFrame:
        """In order of message number. Those that name no row become dead letters."""
        target, errors = self._target, self._errors
        numbers = np.concatenate(self.numbers) if self.numbers else np.empty(0, dtype=np.int64)
        given = {
            bound.name: column.series(pd.Index(numbers)).astype(object)
            for bound, column in zip(self._read, self._columns, strict=True)
        }
        if self._others is not None:
            given |= self._others.read(raw, numbers, errors)
        self._complete(given, raw, numbers, errors)
        frame = typed_keys(target, delete_bound(target), given, numbers, errors)
        if target.order_by is not None and target.order_by not in target.key:
            for number in frame.index[frame[target.order_by].isna()].tolist():
                errors.setdefault(number, f"{target.order_by}: missing or null, and it says when the row was deleted")
        frame = frame.drop(index=[number for number in frame.index if number in errors])
        dead_letters.extend(DeadLetter(n, "decode", f"delete: {error}", self._route) for n, error in errors.items())
        return frame.assign(**position_columns(raw, frame.index)).sort_index(kind="stable")

    def _complete(self, given: dict[str, pd.Series], raw: RawSlice, numbers: Numbers, errors: dict[int, str]) -> None:
        """Keys that the values do not have, from the messages' keys."""
        keys = [bound.name for bound in self._read if bound.name in self._target.key]
        lacking = [
            place
            for place, values in enumerate(zip(*(given[name] for name in keys), strict=True))
            if any(map(is_missing, values))
        ]
        if not lacking:
            return
        columns = {name: given[name].tolist() for name in keys}
        for place in lacking:
            number = int(numbers[place])
            missing = ", ".join(name for name in keys if is_missing(columns[name][place]))
            if self._keys is None:
                errors.setdefault(number, f"the deleted row has no {missing}")
                continue
            try:
                found = dict(
                    zip([b.name for b in self._keys.schema.columns], key_of(self._keys, raw.keys[number]), strict=True)
                )
            except ValueError as error:
                errors.setdefault(number, f"the deleted row has no {missing}, and {error}")
                continue
            for name in keys:
                columns[name][place] = found[name]
        for name in keys:
            given[name] = pd.Series(columns[name], index=numbers, dtype=object)


def _of_messages(columns: list[list[object]], counts: Numbers, chosen: npt.NDArray[np.bool_]) -> list[list[object]]:
    """The columns of the rows of some messages."""
    kept = np.repeat(chosen, counts).tolist()
    return [list(compress(column, kept)) for column in columns]
