"""Old detail of the ledger, merged: neighbouring live ranges of a run's window become one entry with their sums."""

from __future__ import annotations

import datetime as dt
import json
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.ledger.positions import ledger_positions, lock_fences
from kafka_ingest.ledger.tables import BATCHES, aware_utc, naive_utc, of_partition
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_bounds, window_of
from kafka_ingest.type_names import SqlRow

# Entries read, and locked out of loading, at a time: a few tenths of a second.
ENTRIES_A_TRANSACTION = 5_000
_SUMMED = ("row_count", "delete_count", "dead_letter_count", "ignored_count", "absent_count")
# The counts are 32-bit integers.
_MAX_COUNT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one call did."""

    entries_before: int
    """Old live entries looked at."""
    entries_removed: int
    finished: bool
    """False where time was up; the next call goes on."""


@dataclass(frozen=True, slots=True)
class _Ages:
    """Before when an entry was loaded that is merged with those of any run, and with those of its own run only."""

    any_runs: dt.datetime
    within_runs: dt.datetime


def compact_ledger(
    sink: Sink,
    stream: Stream,
    *,
    before: dt.datetime,
    within_runs_before: dt.datetime | None = None,
    seconds: float,
    entries_a_transaction: int = ENTRIES_A_TRANSACTION,
    clock: Callable[[], float] = time.monotonic,
) -> Compacted:
    """Merge live entries loaded before `before`, per Kafka partition, for at most about `seconds`; and of those loaded after it,
    but before `within_runs_before`, the ones of one run.

    Entries are merged where they follow each other, have one window key and lie in one window by their event times, and
    where no other entry (backfill, replay, lost) touches them: those tell which load of an offset was the last. The last
    entry of a group stays, with the group's range and sums; accounting and tiling hold before, between and after. Safe
    to repeat and to interrupt: each step is one transaction that holds the partition's row of the ledger.

    Raises what `Sink.classify_error` makes of the driver's errors.
    """
    deadline = clock() + seconds
    ages = _Ages(naive_utc(before), naive_utc(max(before, within_runs_before or before)))
    looked = removed = 0
    with sink.errors(f"compacting the ledger of stream {stream.name}"), sink.engine.connect() as connection:
        if check_version(connection) != VERSION:  # not made yet, or not brought up to date by a run
            return Compacted(0, 0, True)
        partitions = list(ledger_positions(connection, stream.name))
        connection.rollback()
        for tp in sorted(partitions):
            after: int | None = -1
            carried = 0
            while after is not None:
                if clock() > deadline:
                    return Compacted(looked, removed, False)
                with connection.begin():
                    lock_fences(connection, stream.name, [tp])
                    seen, gone, after = _compact_some(connection, stream, tp, ages, after, entries_a_transaction)
                looked, removed = looked + seen - carried, removed + gone
                carried = 1  # the entry the last step ended with is looked at again
    return Compacted(looked, removed, True)


def _compact_some(
    connection: sa.Connection, stream: Stream, tp: TopicPartition, ages: _Ages, after: int, limit: int
) -> tuple[int, int, int | None]:
    """Entries looked at and removed, and the offset to go on from; None at the end."""
    c = BATCHES.c
    mine = of_partition(BATCHES, stream.name, tp)
    entries = connection.execute(
        sa.select(BATCHES)
        .where(mine, c.start_offset > after, c.kind == "live", c.loaded_at < ages.within_runs)
        .order_by(c.start_offset)
        .limit(limit)
    ).all()
    if not entries:
        return 0, 0, None
    others = connection.execute(
        sa.select(c.start_offset, c.end_offset).where(
            mine,
            c.kind != "live",
            c.start_offset < entries[-1].end_offset,
            c.end_offset > entries[0].start_offset,
        )
    ).all()
    spans = _joined(others)
    groups = _groups(stream, [e for e in entries if not _touched(e, spans)], ages)
    gone = 0
    for group in groups:
        if len(group) > 1:
            _merge(connection, group)
            gone += len(group) - 1
    if len(entries) < limit:
        return len(entries), gone, None
    # The last group, one entry now, may go on: the next step begins with it.
    last = groups[-1][0] if groups and groups[-1][-1] is entries[-1] else entries[-1]
    if gone or last.start_offset - 1 > after:
        return len(entries), gone, last.start_offset - 1
    return len(entries) + 1, gone, entries[-1].start_offset  # nothing else fits beside it: leave it behind


def _joined(ranges: Sequence[SqlRow]) -> list[tuple[int, int]]:
    """Disjoint intervals, in order."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((r.start_offset, r.end_offset) for r in ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _touched(entry: SqlRow, spans: Sequence[tuple[int, int]]) -> bool:
    number = bisect_left(spans, (entry.end_offset,)) - 1  # the last that starts before the entry's end
    return number >= 0 and spans[number][1] > entry.start_offset


def _groups(stream: Stream, entries: Sequence[SqlRow], ages: _Ages) -> list[list[SqlRow]]:
    """Entries that may become one."""
    groups: list[list[SqlRow]] = []
    window: str | None = None
    total = 0
    for each in entries:
        own = _window(stream, each)
        last = groups[-1][-1] if groups else None
        total += each.end_offset - each.start_offset
        if (
            last is not None
            and last.end_offset == each.start_offset
            and last.window_key == each.window_key
            and (last.run_id == each.run_id or max(last.loaded_at, each.loaded_at) < ages.any_runs)
            and own is not None
            and own == window
            and total <= _MAX_COUNT
        ):
            groups[-1].append(each)
        else:
            groups.append([each])
            total = each.end_offset - each.start_offset
        window = own
    return groups


def _window(stream: Stream, entry: SqlRow) -> str | None:
    """The window all of an entry's messages lie in; None where they lie in several, or carry no time."""
    if entry.min_timestamp is None or entry.max_timestamp is None:
        return None
    first, last = map(aware_utc, (entry.min_timestamp, entry.max_timestamp))
    if last.year == dt.MAXYEAR:  # its window has no end; such a time is a producer's mistake anyway
        return None
    key = window_of(stream, first, now=last)
    return key if last < window_bounds(stream, key)[1] else None


def _merge(connection: sa.Connection, group: Sequence[SqlRow]) -> None:
    """The last entry takes over the others; they go first, so that no moment has an overlap."""
    kept = group[-1]
    rows: Counter[str] = Counter()
    texts = [each.rows_by_table for each in group]
    for text in texts:
        rows.update(json.loads(text or "{}"))
    values: dict[str, object] = {name: sum(getattr(e, name) for e in group) for name in _SUMMED}
    values["start_offset"] = group[0].start_offset
    values["order_start"] = group[0].order_start
    values["min_timestamp"] = min(e.min_timestamp for e in group)
    values["max_timestamp"] = max(e.max_timestamp for e in group)
    values["rows_by_table"] = None if None in texts else json.dumps(dict(rows), sort_keys=True)
    ids = [e.id for e in group[:-1]]
    for number in range(0, len(ids), 1_000):
        connection.execute(sa.delete(BATCHES).where(BATCHES.c.id.in_(ids[number : number + 1_000])))
    connection.execute(sa.update(BATCHES).where(BATCHES.c.id == kept.id).values(**values))
