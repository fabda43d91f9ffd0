"""Dead letters through today's code into the tables: rows, marks and ledger in one transaction."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from kafka_ingest.errors import OffsetGap
from kafka_ingest.records import (
    BatchKind,
    DeadLetter,
    LoadResult,
    OffsetRange,
    Outcome,
    ParsedSlice,
    RawSlice,
    ranges_text,
)
from kafka_ingest.sinks import ledger
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.inside import Inside
from kafka_ingest.sinks.letters import Condition, Letter, lock, mark_replayed
from kafka_ingest.sinks.load import LoadContext, prove_accounting
from kafka_ingest.sinks.tables import fits
from kafka_ingest.sinks.writing import empty_ranges, write_tables
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import count_by_window

_KIND: BatchKind = "replay"


@dataclass(frozen=True, slots=True)
class ReplayedLetter:
    """What became of one letter; stage, error and route are those of its new failure, or None."""

    id: int
    position: str
    outcome: Outcome
    route: str | None
    stage: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What one replay transaction did, or would have done."""

    load: LoadResult
    letters: tuple[ReplayedLetter, ...]
    changes_by_window: Mapping[str, Mapping[str, int]]
    """Table → window → rows and deletes that came into it."""


def raw_slice_of(letters: Sequence[Letter]) -> RawSlice:
    """The original messages, as the reader would deliver them from a log that holds nothing else.

    `letters` are in order of position, so that letter `i` is message number `i`.
    """
    by_partition: dict[tuple[str, int], list[int]] = {}
    for letter in letters:
        by_partition.setdefault(letter.topic_partition, []).append(letter.kafka_offset)
    ranges = tuple(OffsetRange(*tp, offsets[0], offsets[-1] + 1) for tp, offsets in by_partition.items())
    counts = [len(offsets) for offsets in by_partition.values()]
    stamps = [-1 if one.kafka_timestamp is None else round(one.kafka_timestamp.timestamp() * 1000) for one in letters]
    return RawSlice(
        ranges=ranges,
        range_index=np.repeat(np.arange(len(ranges), dtype=np.int32), counts),
        offsets=np.array([letter.kafka_offset for letter in letters], dtype=np.int64),
        timestamps_ms=np.array(stamps, dtype=np.int64),
        keys=[letter.key for letter in letters],
        values=[letter.value for letter in letters],
        headers=[letter.headers for letter in letters],
        absent=tuple(each.size - count for each, count in zip(ranges, counts, strict=True)),
    )


def replay_slice(
    sink: Sink,
    parsed: ParsedSlice,
    letters: Sequence[Letter],
    where: Condition,
    context: LoadContext,
    *,
    dry_run: bool = False,
) -> ReplayResult:
    """Apply letters exactly once. `parsed` is what today's code makes of `raw_slice_of(letters)`.

    1. make staging ready, outside the transaction
    2. BEGIN
    3. lock the ledger rows of the letters' partitions, in order: a load of the same partitions now waits, or is done
    4. lock the letters that still answer to `where`, in order; those another replay or a backfill has dealt with since
       they were read are left out
    5. empty the letters' positions in append tables; rows of each table, the refused ones found by bisection
    6. deletes of each table
    7. mark each letter with what became of it
    8. prove the accounting
    9. append the letters' ranges to the ledger; next offsets stay as they are
    10. COMMIT, or ROLLBACK in a dry run

    A crash before 10 leaves nothing, a crash after it leaves everything; the next replay sees in 4 which it was.
    A dry run leaves out tables that are yet to be made or altered: their rows are only validated.

    Raises OffsetGap, AccountingError, and what `Sink.translate` makes of the driver's errors.
    """
    stream = context.stream
    started = time.perf_counter()
    doing = f"replaying dead letters of {ranges_text(parsed.raw.ranges)} of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection:
        context.at_step("1")
        # No table has a row of a message that is a dead letter, so only the tables that get one are looked at.
        targets = [t for t in stream.targets if t in parsed.rows or t in parsed.deletes]
        if dry_run:
            targets = [t for t in targets if fits(connection, t)]
            connection.rollback()
        sink.begin_load(connection, targets)
        context.at_step("2")
        with connection.begin() as transaction:
            context.at_step("3")
            partitions = [r.topic_partition for r in parsed.raw.ranges]
            locked = ledger.positions(connection, stream.name, lock=partitions)
            if unknown := [tp for tp in partitions if tp not in locked]:
                raise OffsetGap(
                    f"stream {stream.name}: the ledger has no position for {unknown[0]}; run the stream first"
                )
            context.at_step("4")
            inside = _admit(connection, parsed, letters, where)
            empty_ranges(connection, targets, inside.ranges)
            rows_by_table, dead = write_tables(connection, sink, stream, targets, parsed, inside, context.at_step)
            context.at_step("7")
            now = context.now()
            outcomes = {letters[n].id: outcome for n, outcome in inside.outcomes(dead).items()}
            still_dead = {letters[letter.number].id: letter for letter in dead}
            mark_replayed(connection, outcomes, still_dead, run_id=context.run_id, now=now)
            context.at_step("8")
            counts = inside.counts(dead)
            prove_accounting(counts, stream)
            context.at_step("9")
            ledger.append_batches(
                connection, stream.name, counts, window_key=context.window_key, run_id=context.run_id, now=now
            )
            context.at_step("10")
            if dry_run:
                transaction.rollback()
        context.at_step("11")
    return ReplayResult(
        load=LoadResult(
            counts=tuple(counts),
            rows_by_table=rows_by_table,
            next_offsets={tp: p.next_offset for tp, p in locked.items()},
            messages_by_window=count_by_window(stream, inside.timestamps_ms(), now=now),
            skipped=0,
            load_seconds=time.perf_counter() - started,
            latency_p50_seconds=None,
            latency_p95_seconds=None,
        ),
        letters=tuple(
            ReplayedLetter(
                id=letter.id,
                position=letter.position,
                outcome=outcomes[letter.id],
                route=None if (dead_again := still_dead.get(letter.id)) is None else dead_again.route,
                stage=None if dead_again is None else dead_again.stage,
                error=None if dead_again is None else dead_again.error,
            )
            for letter in letters
            if letter.id in outcomes
        ),
        changes_by_window=_changes(stream, parsed, inside, dead, now),
    )


def _changes(
    stream: Stream, parsed: ParsedSlice, inside: Inside, dead: Sequence[DeadLetter], now: dt.datetime
) -> dict[str, Mapping[str, int]]:
    refused = {letter.number for letter in dead}
    changes = {}
    for target in stream.targets:
        frames = [inside.of(frames.get(target)) for frames in (parsed.rows, parsed.deletes)]
        numbers = [int(n) for frame in frames if frame is not None for n in frame.index if int(n) not in refused]
        if numbers:
            changes[target.label] = count_by_window(stream, parsed.raw.timestamps_ms[numbers], now=now)
    return changes


def _admit(connection: sa.Connection, parsed: ParsedSlice, letters: Sequence[Letter], where: Condition) -> Inside:
    """The letters to replay now, as ranges: neighbours in one range."""
    ids = lock(connection, where, letters)
    parts: list[OffsetRange] = []
    for letter in letters:
        if letter.id not in ids:
            continue
        last = parts[-1] if parts else None
        if last is not None and (*last.topic_partition, last.end) == (*letter.topic_partition, letter.kafka_offset):
            parts[-1] = OffsetRange(*letter.topic_partition, last.start, last.end + 1)
        else:
            parts.append(OffsetRange(*letter.topic_partition, letter.kafka_offset, letter.kafka_offset + 1))
    return Inside(parsed, [(each, _KIND) for each in parts])
