"""One slice into the database: rows, dead letters and ledger in one transaction."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
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
from kafka_ingest.sinks.isolate import write_isolating
from kafka_ingest.sinks.newest import newest_per_key
from kafka_ingest.streams.model import Model, business_key, is_upsert, table_of
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import count_by_window

# Slices smaller than this are not judged by their dead-letter ratio: one bad message of one is not a bad deploy.
JUDGED_MESSAGES = 100

_ROW, _DELETE, _DEAD, _IGNORED = 1, 2, 3, 4


@dataclass(frozen=True, slots=True)
class LoadContext:
    """Who loads: written beside every row of the ledger."""

    stream: Stream
    run_id: str
    window_key: str | None = None
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc)
    at_step: Callable[[str], None] = lambda _step: None
    """Called before each numbered step, with its number: where fault tests kill the process."""


def load(sink: Sink, parsed: ParsedSlice, kind: BatchKind, context: LoadContext) -> LoadResult:
    """Apply a slice exactly once. Safe to repeat with the same slice: what the ledger has is skipped.

    1. make staging ready, outside the transaction
    2. BEGIN
    3. lock the ledger rows of the slice's partitions, in order
    4. a live range must start at the ledger's next offset: below it the overlap is skipped, above it the load refuses;
       a backfill loads what it names, and the part that continues from the next offset is live
    5. rows of each table, the refused ones found by bisection
    6. deletes of each table
    7. dead letters
    8. refuse too many dead letters, prove the accounting
    9. append the ranges to the ledger, advance the next offsets
    10. COMMIT

    A crash before 10 leaves nothing, a crash after it leaves everything; the next run sees in 4 which it was.

    Raises OffsetGap, DeadLetterLimit, AccountingError, and what `Sink.translate` makes of the driver's errors.
    """
    stream = context.stream
    # Loading a range again also empties it in append tables that no longer get a row from it.
    models = [
        m for m in stream.models if m in parsed.rows or m in parsed.deletes or (kind != "live" and not is_upsert(m))
    ]
    started = time.perf_counter()
    doing = f"loading {ranges_text(parsed.raw.ranges)} of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection:
        context.at_step("1")
        sink.begin_load(connection, models)
        context.at_step("2")
        with connection.begin():
            context.at_step("3")
            locked = ledger.positions(connection, stream.name, lock=[r.topic_partition for r in parsed.raw.ranges])
            context.at_step("4")
            parts = _admit(parsed, kind, {tp: p.next_offset for tp, p in locked.items()}, stream.name)
            inside = _Inside(parsed, parts)
            letters = inside.dead_letters()
            rows_by_table: dict[str, int] = {}
            for model in models:
                rows, deletes = inside.of(parsed.rows.get(model)), inside.of(parsed.deletes.get(model))
                context.at_step("5")
                refused = _write_rows(connection, sink, model, rows, deletes, inside.ranges)
                rows_by_table[table_of(model).name] = (0 if rows is None else len(rows)) - len(refused)
                context.at_step("6")
                if deletes is not None and len(deletes):
                    kept = None if rows is None else rows.drop(index=list(refused))
                    refused |= _write_deletes(connection, sink, model, newest_per_key(model, kept, deletes)[1])
                route = next(name for name, routed in stream.routes.items() if routed is model)
                letters += [DeadLetter(n, "database", error, route) for n, error in refused.items()]
            context.at_step("7")
            now = context.now()
            replace_dead_letters(
                connection, stream.name, parsed.raw, inside.ranges, letters, run_id=context.run_id, now=now
            )
            context.at_step("8")
            counts = inside.counts(letters)
            _judge(counts, letters, stream, parsed)
            context.at_step("9")
            ledger.append_batches(
                connection, stream.name, counts, window_key=context.window_key, run_id=context.run_id, now=now
            )
            advanced = {c.range.topic_partition: c.range.end for c in counts if c.kind == "live"}
            ledger.advance(connection, stream.name, advanced, run_id=context.run_id, now=now)
            context.at_step("10")
        context.at_step("11")
    p50, p95 = inside.latency_seconds(context.now())
    stamps = inside.timestamps_ms()
    return LoadResult(
        counts=tuple(counts),
        rows_by_table=rows_by_table,
        next_offsets={tp: p.next_offset for tp, p in locked.items()} | advanced,
        messages_by_window=count_by_window(stream, stamps, now=now),
        load_seconds=time.perf_counter() - started,
        latency_p50_seconds=p50,
        latency_p95_seconds=p95,
    )


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
                raise OffsetGap(
                    f"stream {stream}: {each} starts above the ledger's next offset {position}; loading it would leave out "
                    f"{each.start - position} offsets. Launch a new run: it plans from the ledger."
                )
            parts.append((replace(each, start=min(position, each.end)), "live"))
        elif each.start <= position < each.end:
            parts.append((replace(each, end=position), kind))
            parts.append((replace(each, start=position), "live"))
        else:
            parts.append((each, kind))
    return [(each, part_kind) for each, part_kind in parts if each.size]


class _Inside:
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
        self._all = bool((self._part >= 0).all())

    def of(self, frame: pd.DataFrame | None) -> pd.DataFrame | None:
        """The frame's rows that are inside."""
        if frame is None or self._all:
            return frame
        return frame[self._part[frame.index.to_numpy(dtype=np.int64)] >= 0]

    def dead_letters(self) -> list[DeadLetter]:
        return [letter for letter in self._parsed.dead_letters if self._part[letter.number] >= 0]

    def counts(self, letters: list[DeadLetter]) -> list[RangeCounts]:
        """Per admitted range what became of its messages; the absent offsets are counted from what Kafka delivered."""
        raw = self._parsed.raw
        outcome = np.zeros(len(raw), dtype=np.int8)
        for frame in self._parsed.rows.values():
            outcome[frame.index.to_numpy(dtype=np.int64)] = _ROW
        for frame in self._parsed.deletes.values():
            outcome[frame.index.to_numpy(dtype=np.int64)] = _DELETE
        outcome[self._parsed.ignored] = _IGNORED
        outcome[[letter.number for letter in letters]] = _DEAD
        counts = []
        for number, (each, kind) in enumerate(self._parts):
            members = np.flatnonzero(self._part == number)
            by_outcome = np.bincount(outcome[members], minlength=5)
            stamps = raw.timestamps_ms[members]
            stamps = stamps[stamps >= 0]
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
                )
            )
        return counts

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


def _write_rows(
    connection: sa.Connection,
    sink: Sink,
    model: type[Model],
    rows: pd.DataFrame | None,
    deletes: pd.DataFrame | None,
    ranges: list[OffsetRange],
) -> dict[int, str]:
    """Rows the database refused. An append table's range is emptied first, so that loading it again replaces it."""
    if is_upsert(model):
        refused: dict[int, str] = {}
        while rows is not None and len(rows):
            newest, _ = newest_per_key(model, rows, deletes)
            if not len(newest):
                break
            now = write_isolating(connection, newest, lambda part: sink.upsert(connection, model, part))
            refused |= now
            if not now:
                break
            # A refused message counts for nothing, so its key falls to the message before it, as it would have, had that
            # one come in a slice of its own. Only these keys are written again.
            keys = list(business_key(model))
            again = pd.MultiIndex.from_frame(rows.loc[list(now), keys].astype(object))
            rows = rows[pd.MultiIndex.from_frame(rows[keys].astype(object)).isin(again)].drop(index=list(now))
        return refused
    table = table_of(model)
    for each in ranges:
        connection.execute(
            sa.delete(table).where(
                table.c["_kafka_topic"] == each.topic,
                table.c["_kafka_partition"] == each.partition,
                table.c["_kafka_offset"] >= each.start,
                table.c["_kafka_offset"] < each.end,
            )
        )
    if rows is None or not len(rows):
        return {}
    return write_isolating(connection, rows, lambda part: sink.insert(connection, model, part))


def _write_deletes(connection: sa.Connection, sink: Sink, model: type[Model], deletes: pd.DataFrame) -> dict[int, str]:
    """Deletes the database refused: by a trigger, or a row elsewhere that refers to this one."""
    if not len(deletes):
        return {}
    return write_isolating(connection, deletes, lambda part: sink.delete(connection, model, part))


def _judge(counts: list[RangeCounts], letters: list[DeadLetter], stream: Stream, parsed: ParsedSlice) -> None:
    messages = sum(c.range.size - c.absent for c in counts)
    limit = stream.max_dead_letter_ratio
    if messages >= JUDGED_MESSAGES and len(letters) > limit * messages:
        first = min(letters, key=lambda letter: letter.number)
        raise DeadLetterLimit(
            f"stream {stream.name}: {len(letters)} of {messages} messages in {ranges_text(c.range for c in counts)} are bad, "
            f"over the limit of {limit:.0%}; nothing was loaded. First: {parsed.raw.position(first.number)}: {first.error}. "
            "Fix the model or the producer, or raise max_dead_letter_ratio."
        )
    for each in counts:
        if each.accounted != each.range.size:
            raise AccountingError(
                f"stream {stream.name}: {each.range} has {each.range.size} offsets, but {each.rows} rows + "
                f"{each.deletes} deletes + {each.dead_letters} dead letters + {each.ignored} ignored + "
                f"{each.absent} absent = {each.accounted}. "
                "Nothing was committed. This is a bug in kafka_ingest or in a pipeline step; please report it."
            )
