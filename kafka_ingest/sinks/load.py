"""One slice into the database: rows, dead letters and ledger in one transaction."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.errors import AccountingError, DeadLetterLimit, OffsetGap
from kafka_ingest.records import (
    BatchKind,
    DeadLetter,
    LoadResult,
    OffsetRange,
    ParsedSlice,
    RangeCounts,
    TopicPartition,
    ranges_text,
)
from kafka_ingest.sinks import ledger
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.dead_letters import replace_dead_letters
from kafka_ingest.sinks.inside import Inside
from kafka_ingest.sinks.turn import GIVE_WAY_SECONDS, OutOfTurn, Turn
from kafka_ingest.sinks.writing import NOTHING_AHEAD, empty_ranges, write_ahead, write_tables
from kafka_ingest.streams.model import Model, is_upsert
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import count_by_window

LOGGER = logging.getLogger(__name__)

# Slices smaller than this are not judged by their dead-letter ratio: one bad message of one is not a bad deploy.
JUDGED_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Who loads: written beside every row of the ledger."""

    stream: Stream
    run_id: str
    window_key: str | None = None
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc)
    at_step: Callable[[str], None] = lambda _step: None
    """Called before each numbered step, with its number: where fault tests kill the process."""


def load(
    sink: Sink, parsed: ParsedSlice, kind: BatchKind, context: LoadContext, turn: Turn | None = None
) -> LoadResult:
    """Apply a slice exactly once. Safe to repeat with the same slice: what the ledger has is skipped.

    1. make staging ready, outside the transaction
    2. BEGIN
    3. lock the ledger rows of the slice's partitions, in order
    4. a live range must start at the ledger's next offset: below it the overlap is skipped, above it the load refuses;
       a backfill loads what it names, and the part that continues from the next offset is live
    5. empty the ranges of append tables; rows of each table, the refused ones found by bisection
    6. deletes of each table
    7. dead letters
    8. refuse too many dead letters, prove the accounting
    9. append the ranges to the ledger, advance the next offsets
    10. COMMIT

    A crash before 10 leaves nothing, a crash after it leaves everything; the next run sees in 4 which it was.

    turn: the slice's place among those loaded at the same time. While the slice before it is being loaded, this one's rows are
    written ahead: between 2 and 3 its ranges of append tables are emptied and filled, rows to upsert brought to their staging
    tables, and it waits there until the slice before is committed. Where 4 then does not admit the whole slice, all is rolled
    back and done again in the order above. The caller settles the turn.

    Raises OffsetGap, DeadLetterLimit, AccountingError, Abandoned, and what `Sink.translate` makes of the driver's errors.
    """
    turn = turn or Turn()
    if not turn.has_come():
        try:
            return _load(sink, parsed, kind, context, turn, is_ahead=True)
        except OutOfTurn as reason:
            LOGGER.info("%s is loaded again, in its turn: %s", ranges_text(parsed.raw.ranges), reason)
        turn.wait()
    return _load(sink, parsed, kind, context, turn, is_ahead=False)


def _load(
    sink: Sink, parsed: ParsedSlice, kind: BatchKind, context: LoadContext, turn: Turn, *, is_ahead: bool
) -> LoadResult:
    stream = context.stream
    models = [m for m in stream.models if m in parsed.rows or m in parsed.deletes]
    started = time.perf_counter()
    doing = f"loading {ranges_text(parsed.raw.ranges)} of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection:
        context.at_step("1")
        sink.begin_load(connection, models)
        context.at_step("2")
        with connection.begin():
            if kind != "live":
                models = _with_emptied(models, stream)
            ahead = NOTHING_AHEAD
            if is_ahead:
                context.at_step("ahead")
                empty_ranges(connection, models, parsed.raw.ranges)
                turn.let_follow()
                ahead = write_ahead(connection, sink, models, parsed)
                turn.wait(GIVE_WAY_SECONDS)
            context.at_step("3")
            locked = _lock(connection, sink, parsed, stream, is_ahead=is_ahead)
            context.at_step("4")
            parts = _admit(parsed, kind, {tp: p.next_offset for tp, p in locked.items()}, stream.name)
            inside = Inside(parsed, parts)
            is_emptied_too = kind == "live" and ledger.has_backfill(connection, stream.name, inside.ranges)
            if is_ahead:
                if is_emptied_too or not inside.is_whole:
                    raise OutOfTurn("another run has loaded from these ranges")
            else:
                if is_emptied_too:
                    models = _with_emptied(models, stream)
                empty_ranges(connection, models, inside.ranges)
                turn.let_follow()
            rows_by_table, letters = write_tables(
                connection, sink, stream, models, parsed, inside, context.at_step, ahead
            )
            context.at_step("7")
            now = context.now()
            replace_dead_letters(
                connection, stream.name, parsed.raw, inside.ranges, letters, run_id=context.run_id, now=now
            )
            context.at_step("8")
            counts = inside.counts(letters)
            _judge(counts, letters, stream, parsed)
            prove_accounting(counts, stream)
            context.at_step("9")
            ledger.append_batches(
                connection, stream.name, counts, window_key=context.window_key, run_id=context.run_id, now=now
            )
            advanced = {c.range.topic_partition: c.range.end for c in counts if c.kind == "live"}
            epochs = {
                r.topic_partition: log.leader_epoch
                for r, log in zip(parsed.raw.ranges, parsed.raw.logs, strict=True)
                if log.leader_epoch is not None and r.topic_partition in advanced
            }
            ledger.advance(connection, stream.name, advanced, run_id=context.run_id, now=now, leader_epochs=epochs)
            context.at_step("10")
        context.at_step("11")
    p50, p95 = inside.latency_seconds(context.now())
    stamps = inside.timestamps_ms()
    return LoadResult(
        counts=tuple(counts),
        rows_by_table=rows_by_table,
        next_offsets={tp: p.next_offset for tp, p in locked.items()} | advanced,
        messages_by_window=count_by_window(stream, stamps, now=now),
        skipped=sum(r.size for r in parsed.raw.ranges) - sum(r.size for r in inside.ranges),
        load_seconds=time.perf_counter() - started,
        latency_p50_seconds=p50,
        latency_p95_seconds=p95,
    )


def _lock(
    connection: sa.Connection, sink: Sink, parsed: ParsedSlice, stream: Stream, *, is_ahead: bool
) -> dict[TopicPartition, ledger.LedgerPosition]:
    """Rows written ahead do not wait for another run that has the lock: it may be about to write the same ones, and wait for
    them. Raises OutOfTurn then."""
    partitions = [r.topic_partition for r in parsed.raw.ranges]
    try:
        return ledger.positions(connection, stream.name, lock=partitions, waits=not is_ahead)
    except sa.exc.DBAPIError as error:
        if is_ahead and sink.is_locked(error):
            raise OutOfTurn("another run is loading these partitions") from error
        raise


def _with_emptied(models: Sequence[type[Model]], stream: Stream) -> list[type[Model]]:
    """Loading a range again also empties it in append tables that no longer get a row from it."""
    return [m for m in stream.models if m in models or not is_upsert(m)]


def _admit(
    parsed: ParsedSlice, kind: BatchKind, next_offsets: Mapping[TopicPartition, int], stream: str
) -> list[tuple[OffsetRange, BatchKind]]:
    """The ranges to load now, each with its kind; a backfill that crosses the next offset becomes two."""
    parts: list[tuple[OffsetRange, BatchKind]] = []
    for each in parsed.raw.ranges:
        position = next_offsets.get(each.topic_partition)
        if position is None:
            raise OffsetGap(
                f"stream {stream}: the ledger has no position for {each.topic_partition}; plan pins it first"
            )
        if kind == "live":
            if position < each.start:
                raise offset_gap(stream, each, position)
            parts.append((replace(each, start=min(position, each.end)), "live"))
        elif each.start <= position < each.end:
            parts.append((replace(each, end=position), kind))
            parts.append((replace(each, start=position), "live"))
        else:
            parts.append((each, kind))
    return [(each, part_kind) for each, part_kind in parts if each.size]


def is_over_limit(stream: Stream, messages: int, dead_letters: int) -> bool:
    """Whether so large a part of a slice is bad that it must not load."""
    return messages >= JUDGED_MESSAGES and dead_letters > stream.max_dead_letter_ratio * messages


def offset_gap(stream: str, wanted: OffsetRange, position: int) -> OffsetGap:
    """The refusal of a live range above the ledger's next offset."""
    return OffsetGap(
        f"stream {stream}: {wanted} starts above the ledger's next offset {position}; loading it would leave out "
        f"{wanted.start - position} offsets. Launch a new run: it plans from the ledger."
    )


def _judge(counts: list[RangeCounts], letters: list[DeadLetter], stream: Stream, parsed: ParsedSlice) -> None:
    messages = sum(c.range.size - c.absent for c in counts)
    if is_over_limit(stream, messages, len(letters)):
        first = min(letters, key=lambda letter: letter.number)
        raise DeadLetterLimit(
            f"stream {stream.name}: {len(letters)} of {messages} messages in {ranges_text(c.range for c in counts)} are bad, "
            f"over the limit of {stream.max_dead_letter_ratio:.0%}; nothing was loaded. "
            f"First: {parsed.raw.position(first.number)}: {first.error}. "
            "Fix the model or the producer, or raise max_dead_letter_ratio."
        )


def prove_accounting(counts: Iterable[RangeCounts], stream: Stream) -> None:
    """Raises AccountingError where a range does not add up."""
    for each in counts:
        if each.accounted != each.range.size:
            raise AccountingError(
                f"stream {stream.name}: {each.range} has {each.range.size} offsets, but {each.rows} rows + "
                f"{each.deletes} deletes + {each.dead_letters} dead letters + {each.ignored} ignored + "
                f"{each.absent} absent = {each.accounted}. "
                "Nothing was committed. This is a bug in kafka_ingest or in a pipeline step; please report it."
            )
