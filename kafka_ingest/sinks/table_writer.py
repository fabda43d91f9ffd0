"""Rows and deletes of a slice into their tables, inside the caller's transaction; what the database refuses is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import delete_ranges, position_of
from kafka_ingest.pipelines.explode import element_error
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.admission import AdmittedSlice
from kafka_ingest.sinks.base import RowsRejected, Sink
from kafka_ingest.sinks.commit_order import WriteAheadRejected
from kafka_ingest.sinks.latest_per_key import latest_per_key
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.slices import DeadLetter, OffsetRange
from kafka_ingest.streams.model import INDEX_COLUMN
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

Errors = dict[int, tuple[TargetTable, str]]
"""Of messages that the database refuses, by number: the table, and the database's words."""

NOTHING_AHEAD: Mapping[TargetTable, pd.DataFrame] = MappingProxyType({})


def empty_ranges(connection: sa.Connection, targets: Sequence[TargetTable], ranges: Sequence[OffsetRange]) -> None:
    """Delete what these append tables hold of these ranges, so that loading a range again replaces it."""
    for target in targets:
        delete_ranges(connection, target.table, position_of(target.table), ranges)


def write_ahead(
    connection: sa.Connection, sink: Sink, targets: Sequence[TargetTable], parsed: ParsedSlice
) -> dict[TargetTable, pd.DataFrame]:
    """What needs no look at the tables, before it is known that the slice may load: rows of append tables, and those to
    upsert into their staging tables. The rows written so, for `TableWriter`.

    Raises WriteAheadRejected where a row is refused: it may be one that another run has loaded meanwhile, which only the ledger
    tells from one that is bad.
    """
    ahead: dict[TargetTable, pd.DataFrame] = {}
    for target in targets:
        rows = parsed.rows.get(target)
        if rows is None or not len(rows):
            continue
        try:
            if target.is_upsert:
                rows, _ = latest_per_key(target, parsed.raw, rows, parsed.deletes.get(target))
                sink.stage(connection, target, rows)
            else:
                sink.insert(connection, target, rows)
        except RowsRejected as error:
            raise WriteAheadRejected(str(error)) from error
        ahead[target] = rows
    return ahead


class TableWriter:
    """Writes one slice: steps ROWS, DELETES and AGAIN of a load.

    ahead: rows of append tables that stand there already, and of upsert tables that are staged; all rows of their tables.
    """

    def __init__(
        self,
        connection: sa.Connection,
        sink: Sink,
        targets: Sequence[TargetTable],
        at_step: Callable[[str], None],
        ahead: Mapping[TargetTable, pd.DataFrame],
    ) -> None:
        self._connection = connection
        self._sink = sink
        self._targets = targets
        self._at_step = at_step
        self._ahead = ahead

    def write(self, stream: Stream, admitted: AdmittedSlice) -> list[DeadLetter]:
        """The dead letters: those of the slice, and those the database makes."""
        errors: Errors = {}
        if not any(
            target.explode is not None or _moving(admitted, target) for target in self._targets if target.is_upsert
        ):
            self._write(admitted, errors)
        else:
            # Of a message that is several rows by business key, or a row and the delete of its old key, some may stand, and
            # another of them be refused, perhaps only once the message after it is: then all is written again without it.
            savepoint = self._connection.begin_nested()
            while broken := self._write(admitted, errors):
                savepoint.rollback()
                errors = broken
                savepoint = self._connection.begin_nested()
            savepoint.commit()
        return admitted.dead_letters() + [
            DeadLetter(number, "database", error, stream.route_of(target))
            for number, (target, error) in sorted(errors.items())
        ]

    def _write(self, admitted: AdmittedSlice, errors: Errors) -> Errors:
        """Write all but the messages in `errors`, and add those that the database refuses. Where rows of such a message stand,
        the messages to write without."""
        left_out = frozenset(errors)
        refused: dict[TargetTable, set[int]] = {}
        for target in self._targets:
            rows, deletes = (_without(frame, left_out) for frame in (admitted.rows(target), admitted.deletes(target)))
            ahead = None if left_out and target.is_upsert else self._ahead.get(target)
            if target.is_upsert and (ahead is None or deletes is not None):
                rows, deletes = latest_per_key(target, admitted.parsed.raw, rows, deletes)
            self._at_step(LoadStep.ROWS)
            found = self._write_rows(target, rows, ahead)
            self._at_step(LoadStep.DELETES)
            if target.is_upsert and deletes is not None:
                found |= self._write_deletes(target, deletes)
            if found:
                refused[target] = set(found)
        self._at_step(LoadStep.AGAIN)
        if not refused:
            return {}
        again = self._write_again(admitted, refused, left_out)
        broken = {
            number: (target, error)
            for number, (target, error) in again.items()
            if target.is_upsert
            and (number in _moving(admitted, target) or (target.explode is not None and number not in refused[target]))
        }
        if broken:
            return errors | broken
        errors |= again
        return {}

    def _write_rows(
        self, target: TargetTable, rows: pd.DataFrame | None, ahead: pd.DataFrame | None = None
    ) -> dict[int, str]:
        """Rows the database refused, with its words."""
        connection, sink = self._connection, self._sink
        if not target.is_upsert:
            if ahead is not None or rows is None or not len(rows):
                return {}
            return write_isolating(connection, rows, lambda part: sink.insert(connection, target, part), target)
        whole = rows if ahead is None else ahead
        if whole is None or not len(whole):
            return {}

        def upsert(part: pd.DataFrame) -> None:
            (sink.upsert_staged if part is ahead else sink.upsert)(connection, target, part)

        return write_isolating(connection, whole, upsert, target)

    def _write_deletes(self, target: TargetTable, deletes: pd.DataFrame) -> dict[int, str]:
        """Deletes the database refused: by a trigger, or a row elsewhere that refers to this one."""
        if not len(deletes):
            return {}
        return write_isolating(
            self._connection, deletes, lambda part: self._sink.delete(self._connection, target, part)
        )

    def _write_again(
        self, admitted: AdmittedSlice, refused: Mapping[TargetTable, set[int]], left_out: Set[int]
    ) -> Errors:
        """One message after the other in the total order, as if each had come in a slice of its own: what was refused, and of
        an upsert table all messages of the slice with the keys of what was refused, as the one that counts may be refused
        where the one before it is good. What is still refused, with its table and the database's words."""
        waiting: list[tuple[int, TargetTable, pd.DataFrame, bool]] = []
        raw = admitted.parsed.raw
        ranks = raw.ranks()
        for target, numbers in refused.items():
            for frame, is_delete in (
                (_without(admitted.rows(target), left_out), False),
                (_without(admitted.deletes(target), left_out), True),
            ):
                if frame is None or not len(frame):
                    continue
                some = frame[_has_key_of(admitted, target, numbers, frame)]
                waiting += [(int(ranks[number]), target, one, is_delete) for number, one in _messages(some)]
        waiting.sort(key=lambda each: each[0])
        errors: Errors = {}
        for _, target, one, is_delete in waiting:
            if is_delete:
                again = self._write_deletes(target, latest_per_key(target, raw, None, one)[1])
            else:
                own = latest_per_key(target, raw, one, None)[0] if target.is_upsert else one
                again = self._write_rows(target, own)
            errors |= {number: (target, error) for number, error in again.items()}
        return errors


def _moving(admitted: AdmittedSlice, target: TargetTable) -> frozenset[int]:
    """Messages that are both rows and deletes of the table: those that have changed a row's key."""
    rows, deletes = admitted.rows(target), admitted.deletes(target)
    if rows is None or deletes is None:
        return frozenset()
    return frozenset(np.intersect1d(rows.index.to_numpy(), deletes.index.to_numpy()).tolist())


def _without(frame: pd.DataFrame | None, numbers: Set[int]) -> pd.DataFrame | None:
    """The frame's rows but those of these messages."""
    return frame if frame is None or not numbers else frame[~frame.index.isin(list(numbers))]


def _messages(frame: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """The rows of each message, which stand one behind the other."""
    numbers = frame.index.to_numpy(dtype=np.int64)
    bounds = [0, *_starts(numbers).tolist(), len(numbers)] if len(numbers) else []
    for start, end in pairwise(bounds):
        yield int(numbers[start]), frame.iloc[start:end]


def _starts(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where another message begins, the first one left out."""
    return np.flatnonzero(np.diff(numbers)) + 1


def _has_key_of(admitted: AdmittedSlice, target: TargetTable, numbers: set[int], frame: pd.DataFrame) -> pd.Series:
    """Which messages of the frame are these, or, of an upsert table, have the key of one of these."""
    if not target.is_upsert:
        return frame.index.to_series().isin(numbers)
    keys = list(target.key)
    wanted = [
        f.loc[f.index.isin(numbers), keys] for f in (admitted.rows(target), admitted.deletes(target)) if f is not None
    ]
    found = pd.MultiIndex.from_frame(pd.concat([f.astype(object) for f in wanted]))
    return pd.Series(pd.MultiIndex.from_frame(frame[keys].astype(object)).isin(found), index=frame.index)


def write_isolating(
    connection: sa.Connection,
    rows: pd.DataFrame,
    write: Callable[[pd.DataFrame], None],
    target: TargetTable | None = None,
) -> dict[int, str]:
    """Write `rows`; the refused ones by message number with the database's words.

    One statement where all rows are good; about 2·k·log2(n) for k bad ones of n that the error does not name. Each try is a
    savepoint, so a refused part leaves nothing behind. Errors other than RowsRejected end the load.

    target: the table, where a message may be several rows, one behind the other: they are written together or not at all, and
    the words are of the first one that is refused.
    """
    refused: dict[int, str] = {}

    def refuse(part: pd.DataFrame, error: str) -> None:
        for number, own in _messages(part):
            if target is None or target.explode is None:
                refused[number] = error
            else:
                refused[number] = _of_first_refused(connection, own, write, target, error)

    parts = [rows]
    while parts:
        part = parts.pop()
        try:
            with connection.begin_nested():
                write(part)
        except RowsRejected as error:
            is_named = part.index.isin(error.numbers)
            if is_named.any():
                refuse(part[is_named], str(error))
                if not is_named.all():
                    parts.append(part[~is_named])
                continue
            starts = _starts(part.index.to_numpy(dtype=np.int64))
            if not len(starts):
                refuse(part, str(error))
                continue
            middle = int(starts[min(int(np.searchsorted(starts, len(part) // 2)), len(starts) - 1)])
            # The first half is written first: last in, first out.
            parts += [part.iloc[middle:], part.iloc[:middle]]
    return refused


def _of_first_refused(
    connection: sa.Connection,
    rows: pd.DataFrame,
    write: Callable[[pd.DataFrame], None],
    target: TargetTable,
    error: str,
) -> str:
    """The database's words on the first of a message's rows that it refuses: the shortest part of them from the first one on that
    it does not take, found by bisection. Nothing is written."""
    good, bad = 0, len(rows)
    while bad - good > 1:
        middle = (good + bad) // 2
        savepoint = connection.begin_nested()
        try:
            write(rows.iloc[:middle])
        except RowsRejected as found:
            bad, error = middle, str(found)
        else:
            good = middle
        finally:
            savepoint.rollback()
    return element_error(target, int(rows[INDEX_COLUMN].iloc[bad - 1]), error)
