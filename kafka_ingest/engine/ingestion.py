"""The stages of one run over one stream: plan, read, apply steps, load, commit, drain. No Dagster here."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

from kafka_ingest.engine.loss import check_same_topics, explain_cut
from kafka_ingest.engine.orders import MessageOrders
from kafka_ingest.engine.plan import plan
from kafka_ingest.engine.publish import publish_waiting
from kafka_ingest.engine.stream_state import (
    StreamState,
    group_of,
    leader_epochs_at,
    observe,
    read_next_offsets,
    read_positions,
)
from kafka_ingest.engine.triggers import LiveTrigger, RangeTrigger, Trigger
from kafka_ingest.errors import CommitUnanswered, KafkaUnavailable, LogCut
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.dead_letter_topic import DeadLetterPublisher
from kafka_ingest.kafka.group_offsets import commit_group_offsets
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.commit_order import CommitTicket
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import Batch, BatchKind, LoadResult, OffsetRange, RawSlice, TopicPartition
from kafka_ingest.streams.stream import Stream

LOGGER = logging.getLogger(__name__)

# The first slice of a run passes through its ops one after the other, and the database has nothing to do until the first one
# of a drain is prepared: so slices begin small, and each is twice as large as the one before, up to the stream's `max_rows`.
FIRST_SLICE_ROWS = 5_000


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


class Ingestion:
    """One run. Its methods are the run's stages, in order; each may be repeated after a RetryableError. Close it."""

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        *,
        run_id: str,
        window_key: str | None = None,
        now: Callable[[], dt.datetime] = _utc_now,
        at_step: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self.stream = stream
        self.settings = settings
        self.run_id = run_id
        self.started = time.monotonic()
        self.metadata = KafkaMetadata(settings)
        self.sink: Sink = open_sink(settings.database_url)
        self._now = now
        self._at_step = at_step
        self._context = LoadContext(stream, run_id, window_key, now, at_step)
        self._decoder = StreamDecoder(stream)
        self._reader: RangeReader | None = None
        self._orders = MessageOrders(stream, self.sink, self.metadata, self._new_reader)
        topic = stream.dead_letter_topic
        self._publisher = None if topic is None else DeadLetterPublisher(settings, topic)
        self._stopping = Event()
        self._loaded_to: dict[TopicPartition, int] = {}
        """Per partition the end of what this object has loaded: where a backfill goes on."""
        self._topic_ids: dict[str, str] = {}
        """Of the topics being read, the ids that the ledger had before."""
        self._told_gone: set[str] = set()

    def plan(self, requested: Sequence[OffsetRange], kind: BatchKind) -> Batch:
        """See `engine.plan.plan`."""
        return plan(
            self.stream,
            requested,
            kind,
            metadata=self.metadata,
            sink=self.sink,
            settings=self.settings,
            run_id=self.run_id,
            now=self._now(),
        )

    def read(self, batch: Batch) -> ParsedSlice:
        """The first slice of the batch, decoded and routed. Repeatable: it always starts at the batch's start."""
        positions = read_positions(self.sink, self.stream)
        ranges = batch.ranges
        if batch.kind == "live":  # a topic may have been deleted since the plan
            existing = set(self.metadata.topics(self.stream).partitions)
            ranges = tuple(r for r in ranges if r.topic_partition in existing)
        reader = self._open_reader(len(ranges))
        self._restart(reader, ranges, positions)
        return self._decode_next(reader, max_rows=min(FIRST_SLICE_ROWS, self.stream.batch.max_rows))

    def apply_steps(self, parsed: ParsedSlice) -> ParsedSlice:
        """The stream's steps (dates among them), then validation. What another run decoded is decoded again."""
        if parsed.parsed_by != self.run_id:
            parsed = self._decode(parsed.raw)
        done = run_pipeline(parsed, self.stream)
        done.parsed_by = self.run_id
        return done

    def load(self, parsed: ParsedSlice, kind: BatchKind, ticket: CommitTicket | None = None) -> LoadResult:
        """See `sinks.load.load`. What another run parsed (re-execution from failure) is parsed again: the code may have
        changed since, and what newer code has loaded must not become what older code made of it."""
        if parsed.parsed_by != self.run_id:
            parsed = self.apply_steps(parsed)
        result = load(self.sink, parsed, kind, self._context, ticket)
        self._loaded_to |= {r.topic_partition: r.end for r in parsed.raw.ranges}
        return result

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets to the consumer group: what the ledger says, for all partitions of the stream that exist and differ.

        The ledger decides, so a commit that an earlier run did not get to is made up for here.
        """
        group_id = group_of(self.stream, self.settings)
        positions = read_next_offsets(self.sink, self.stream)
        existing = set(self.metadata.topics(self.stream).partitions)
        self._tell_gone(tp.topic for tp in positions if tp not in existing and self.stream.takes_topic(tp.topic))
        positions = {tp: offset for tp, offset in positions.items() if tp in existing}
        committed = self.metadata.group_offsets(group_id, positions)
        behind = {tp: offset for tp, offset in positions.items() if committed.get(tp) != offset}
        self._at_step("commit_offsets")
        self._commit_offsets(self._open_reader(len(next_offsets)), behind)
        self._publish()  # what an earlier run did not get to, too

    def look(self) -> StreamState:
        """How the stream stands now: log ends, positions, lag."""
        return observe(self.stream, self.metadata, self.sink, self.settings)

    def drain(self, batch: Batch) -> Iterator[LoadResult]:
        """Go on: what did not fit in the first slice, then, in a live run, what comes.

        Slice after slice, each its own transaction followed by its offsets' commit, in order; the next slice is read and
        translated by a thread while the database loads, over as many connections as the stream has `loaders`. A live run ends
        when nothing has come for the stream's linger time, when its time is up or, shortly before, the next run has taken
        over, or when the stream's partitions have changed (the next run reads the new ones); a run until caught up at the ends
        that the log has now, as a busy topic never stands still; a backfill at its end.
        """
        self._stopping.clear()  # set by an earlier drain of this run, where the op is tried again
        for result in self._drain(batch):
            if result.total("dead_letters"):
                self._publish()
            yield result

    def _drain(self, batch: Batch) -> Iterator[LoadResult]:
        positions = read_positions(self.sink, self.stream)
        wanted = self._rest(batch, {tp: p.next_offset for tp, p in positions.items()})
        reader = self._open_reader(len(wanted))
        self._restart(reader, wanted, positions)
        if batch.kind != "live" or batch.until_caught_up:
            yield from self._slices(reader, RangeTrigger(reader, self._stopping), batch.kind)
            return
        time_up = self.started + self.stream.batch.max_run_seconds
        source = LiveTrigger(self.stream, self.metadata, reader, self._stopping, time_up)
        for result in self._slices(reader, source, batch.kind):
            yield result
            if result.skipped and time.monotonic() > time_up - self.stream.batch.handover_seconds:
                self._stopping.set()  # the next run has taken over

    def _slices(self, reader: RangeReader, source: Trigger, kind: BatchKind) -> Iterator[LoadResult]:
        """The slices a source says are due, in order, each result after its commit: one slice is prepared while those before
        it are loaded."""
        loaders = self.stream.batch.loaders if self.sink.loads_in_parallel else 1
        with (
            ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reading,
            ThreadPoolExecutor(loaders, thread_name_prefix="loader") as loading,
        ):
            sizes = self._slice_sizes()
            upcoming: Future[ParsedSlice | None] | None = reading.submit(self._prepare, source, reader, next(sizes))
            in_flight: deque[Future[LoadResult]] = deque()
            ticket: CommitTicket | None = None
            try:
                while upcoming or in_flight:
                    awaited: list[Future[Any]] = list(in_flight)[:1]
                    if upcoming is not None and len(in_flight) < loaders:
                        awaited.append(upcoming)
                    wait_for(awaited, return_when=FIRST_COMPLETED)
                    if in_flight and in_flight[0].done():
                        result = in_flight.popleft().result()
                        self._at_step("commit_offsets")
                        self._commit_offsets(reader, result.next_offsets)
                        yield result
                    elif upcoming is not None:
                        parsed, upcoming = upcoming.result(), None
                        if parsed is not None:
                            upcoming = reading.submit(self._prepare, source, reader, next(sizes))
                            ticket = CommitTicket(ticket)
                            in_flight.append(loading.submit(self._load_in_order, parsed, kind, ticket))
            except BaseException:
                self._stopping.set()  # ends the thread's wait for messages, so leaving this block is quick
                raise

    def _load_in_order(self, parsed: ParsedSlice, kind: BatchKind, ticket: CommitTicket) -> LoadResult:
        with ticket:
            return self.load(parsed, kind, ticket)

    def close(self) -> None:
        """Release connections. Idempotent."""
        self._stopping.set()
        if self._publisher is not None:
            self._publisher.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self.sink.close()

    def _commit_offsets(self, reader: RangeReader, next_offsets: Mapping[TopicPartition, int]) -> None:
        group_id = group_of(self.stream, self.settings)
        try:
            self._tell_gone(commit_group_offsets(reader.consumer, group_id, next_offsets, run_id=self.run_id))
        except CommitUnanswered:
            reader.is_lost = True  # its consumer closes itself; the next try opens another
            raise

    def _publish(self) -> None:
        """Dead letters to the stream's dead-letter topic, where it has one."""
        if self._publisher is not None:
            publish_waiting(self.sink, self.stream, self._publisher, now=self._now, at_step=self._at_step)

    def _rest(self, batch: Batch, positions: Mapping[TopicPartition, int]) -> tuple[OffsetRange, ...]:
        """What is left to do: what is loaded counts, not what is read, as the reader is ahead and a load may have failed."""
        if batch.kind != "live":
            # Where the first slice was loaded by another process (re-execution from failure), nothing is known, and the
            # whole backfill is loaded again: it converges.
            starts = {
                r: min(max(self._loaded_to.get(r.topic_partition, r.start), r.start), r.end) for r in batch.ranges
            }
            return tuple(replace(r, start=start) for r, start in starts.items() if start < r.end)
        # A partition added since the plan is left to the next run, which pins its start.
        known = [tp for tp in self.metadata.topics(self.stream).partitions if tp in positions]
        ends = self.metadata.ends(known)
        return tuple(OffsetRange(*tp, positions[tp], max(positions[tp], end)) for tp, end in sorted(ends.items()))

    def _slice_sizes(self) -> Iterator[int]:
        rows = FIRST_SLICE_ROWS
        while True:
            rows = min(2 * rows, self.stream.batch.max_rows)
            yield rows

    def _prepare(self, source: Trigger, reader: RangeReader, max_rows: int) -> ParsedSlice | None:
        if not source.wait_until_due():
            return None
        return self.apply_steps(self._decode_next(reader, max_rows=max_rows))

    def _decode_next(self, reader: RangeReader, *, max_rows: int) -> ParsedSlice:
        try:
            raw = reader.read_slice(max_rows=max_rows, max_bytes=self.stream.batch.max_bytes)
        except LogCut as error:
            # A topic that was made again looks like one that was cut.
            check_same_topics(self.stream, self._topic_ids, self.metadata.topic_ids([error.topic]))
            raise explain_cut(self.stream, error) from error
        return self._decode(self._orders.count(self._identified(raw)))

    def _decode(self, raw: RawSlice) -> ParsedSlice:
        parsed = self._decoder.decode(raw)
        parsed.parsed_by = self.run_id
        return parsed

    def _restart(
        self, reader: RangeReader, ranges: Sequence[OffsetRange], positions: Mapping[TopicPartition, LedgerPosition]
    ) -> None:
        """Read these ranges of the logs that the ledger knows."""
        self._topic_ids = {tp.topic: p.topic_id for tp, p in positions.items() if p.topic_id is not None}
        reader.restart(ranges, leader_epochs_at(positions, ranges))

    def _identified(self, raw: RawSlice) -> RawSlice:
        """The slice with the ids of its topics, asked for after its messages were read.

        The ledger's ids were written before. An id is given to one topic only and does not come back, so where the id
        after reading is the ledger's, the topic of that name was the same all the while, and every message of the slice
        is of the log that the ledger's offsets mean. The load compares the two once more, under the ledger's lock.

        Raises DataLoss where the ids differ, KafkaUnavailable where a topic has no id any more: the next try goes on
        without it.
        """
        topics = {r.topic for r in raw.ranges}
        ids = self.metadata.topic_ids(sorted(topics))
        if gone := sorted(topics - ids.keys()):
            raise KafkaUnavailable(
                f"stream {self.stream.name}: topic {', '.join(gone)} was deleted while it was read; what was read of it is "
                "not loaded. It is gone on with without it.",
                stream=self.stream.name,
            )
        check_same_topics(self.stream, self._topic_ids, ids)
        return replace(
            raw, logs=tuple(replace(log, topic_id=ids[r.topic]) for r, log in zip(raw.ranges, raw.logs, strict=True))
        )

    def _tell_gone(self, topics: Iterable[str]) -> None:
        """Say once in a run which topics of the stream Kafka does not have any more."""
        new = set(topics) - self._told_gone
        self._told_gone |= new
        if new:
            kept = (
                f"{tp}@{o}" for tp, o in sorted(read_next_offsets(self.sink, self.stream).items()) if tp.topic in new
            )
            LOGGER.warning(
                "stream %s: topic %s does not exist any more, so its offsets are not committed to the consumer group; the "
                "ledger keeps its position (%s)",
                self.stream.name,
                ", ".join(sorted(new)),
                ", ".join(kept),
            )

    def _open_reader(self, partitions: int) -> RangeReader:
        if self._reader is None or self._reader.is_lost:
            self._reader = self._new_reader(partitions)
        return self._reader

    def _new_reader(self, partitions: int) -> RangeReader:
        opened = partial(open_consumer, self.settings, group_of(self.stream, self.settings), partitions=partitions)
        return RangeReader(opened(), reopen=lambda messages: opened(queued_messages=messages))
