"""Rows and deletes of a slice into their tables, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.records import DeadLetter, OffsetRange, ParsedSlice
from kafka_ingest.sinks.base import RowsRejected, Sink
from kafka_ingest.sinks.inside import Inside
from kafka_ingest.sinks.isolate import write_isolating
from kafka_ingest.sinks.newest import newest_per_key
from kafka_ingest.sinks.ranges import delete_ranges, position_of
from kafka_ingest.sinks.turn import OutOfTurn
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable

NOTHING_AHEAD: Mapping[TargetTable, pd.DataFrame] = MappingProxyType({})


def empty_ranges(connection: sa.Connection, targets: Sequence[TargetTable], ranges: Sequence[OffsetRange]) -> None:
    """Delete what append tables hold of these ranges, so that loading a range again replaces it."""
    for target in targets:
        if not target.is_upsert:
            table = target.table
            delete_ranges(connection, table, position_of(table), ranges)


def write_ahead(
    connection: sa.Connection, sink: Sink, targets: Sequence[TargetTable], parsed: ParsedSlice
) -> dict[TargetTable, pd.DataFrame]:
    """What needs no look at the tables, before it is known that the slice may load: rows of append tables, and those to
    upsert into their staging tables. The rows written so, for `write_tables`.

    Raises OutOfTurn where a row is refused: it may be one that another run has loaded meanwhile, which only the ledger tells
    from one that is bad.
    """
    ahead: dict[TargetTable, pd.DataFrame] = {}
    for target in targets:
        rows, deletes = parsed.rows.get(target), parsed.deletes.get(target)
        if rows is None or not len(rows):
            continue
        try:
            if target.is_upsert:
                rows, _ = newest_per_key(target, rows, deletes)
                sink.stage(connection, target, rows)
            else:
                sink.insert(connection, target, rows)
        except RowsRejected as error:
            raise OutOfTurn(str(error)) from error
        ahead[target] = rows
    return ahead


def write_tables(
    connection: sa.Connection,
    sink: Sink,
    stream: Stream,
    targets: Sequence[TargetTable],
    parsed: ParsedSlice,
    inside: Inside,
    at_step: Callable[[str], None],
    ahead: Mapping[TargetTable, pd.DataFrame] = NOTHING_AHEAD,
) -> tuple[dict[str, int], list[DeadLetter]]:
    """Steps 5 (rows) and 6 (deletes) of a load, for each of `targets`: the rows of each table, and the dead letters, those
    of the slice and those the database makes. The ranges of append tables are empty, but for rows written
    ahead: these are all rows of their tables."""
    letters = inside.dead_letters()
    rows_by_table: dict[str, int] = {}
    for target in targets:
        rows, deletes = inside.of(parsed.rows.get(target)), inside.of(parsed.deletes.get(target))
        at_step("5")
        refused = _write_rows(connection, sink, target, rows, deletes, ahead.get(target))
        rows_by_table[target.label] = (0 if rows is None else len(rows)) - len(refused)
        at_step("6")
        if deletes is not None and len(deletes):
            kept = None if rows is None else rows.drop(index=list(refused))
            refused |= _write_deletes(connection, sink, target, newest_per_key(target, kept, deletes)[1])
        route = stream.route_of(target)
        letters += [DeadLetter(n, "database", error, route) for n, error in refused.items()]
    return rows_by_table, letters


def _write_rows(
    connection: sa.Connection,
    sink: Sink,
    target: TargetTable,
    rows: pd.DataFrame | None,
    deletes: pd.DataFrame | None,
    ahead: pd.DataFrame | None,
) -> dict[int, str]:
    """Rows the database refused."""
    if target.is_upsert:

        def upsert(part: pd.DataFrame) -> None:
            (sink.upsert_staged if part is ahead else sink.upsert)(connection, target, part)

        refused: dict[int, str] = {}
        while rows is not None and len(rows):
            newest, _ = (ahead, None) if ahead is not None and not refused else newest_per_key(target, rows, deletes)
            if not len(newest):
                break
            now = write_isolating(connection, newest, upsert)
            refused |= now
            if not now:
                break
            # A refused message counts for nothing, so its key falls to the message before it, as it would have, had that
            # one come in a slice of its own. Only these keys are written again.
            keys = list(target.key)
            again = pd.MultiIndex.from_frame(rows.loc[list(now), keys].astype(object))
            rows = rows[pd.MultiIndex.from_frame(rows[keys].astype(object)).isin(again)].drop(index=list(now))
        return refused
    if ahead is not None or rows is None or not len(rows):
        return {}
    return write_isolating(connection, rows, lambda part: sink.insert(connection, target, part))


def _write_deletes(connection: sa.Connection, sink: Sink, target: TargetTable, deletes: pd.DataFrame) -> dict[int, str]:
    """Deletes the database refused: by a trigger, or a row elsewhere that refers to this one."""
    if not len(deletes):
        return {}
    return write_isolating(connection, deletes, lambda part: sink.delete(connection, target, part))
