"""The stages of one run over one stream: plan, read, apply steps, load, commit, drain. No Dagster here."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from threading import Event
from typing import Any

from kafka_ingest.engine.arrow_memory import use_system_allocator
from kafka_ingest.engine.ended_runs import RunRecords
from kafka_ingest.engine.fingerprint import Fingerprint, check
from kafka_ingest.engine.garbage import leave_out_imports
from kafka_ingest.engine.lease_keeper import LeaseKeeper
from kafka_ingest.engine.loss import check_same_topics, explain_cut, with_topic_ids
from kafka_ingest.engine.orders import MessageOrders
from kafka_ingest.engine.plan import plan
from kafka_ingest.engine.publish import publish_waiting
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.engine.shared_clients import SharedClients
from kafka_ingest.engine.stream_state import (
    StreamState,
    group_of,
    leader_epochs_at,
    observe,
    read_next_offsets,
    read_positions,
)
from kafka_ingest.engine.triggers import LiveTrigger, RangeTrigger, Trigger
from kafka_ingest.errors import LogCut
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.dead_letter_topic import DeadLetterPublisher
from kafka_ingest.kafka.group_offsets import GroupCommitter
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.ledger.leases import IN_GROUP
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


class Ingestion:
    """One run. Its methods are the run's stages, in order; each may be repeated after a RetryableError. Close it."""

    def __init__(
        self,
        stream: Stream,
        settings: Settings,
        *,
        run_id: str,
        window_key: str | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc),
        at_step: Callable[[str], None] = lambda _step: None,
        shard: Shard = WHOLE,
        shared: SharedClients | None = None,
        records: RunRecords | None = None,
    ) -> None:
        """shared: clients that other streams' loads in this process use as well; of its own where None."""
        use_system_allocator()
        leave_out_imports()
        self.stream = stream
        self.settings = settings
        self.run_id = run_id
        self.shard = shard
        self.started = time.monotonic()
        self._shared = shared
        self.metadata = KafkaMetadata(settings) if shared is None else shared.metadata
        self.sink: Sink = open_sink(settings.database_url) if shared is None else shared.sink
        self._now = now
        self._at_step = at_step
        self._context = LoadContext(stream, run_id, window_key, now, at_step)
        self._decoder = StreamDecoder(stream, schema_finder(settings))
        self._reader: RangeReader | None = None
        self._group_id = group_of(stream, settings)
        self._open_consumer = partial(open_consumer, settings, self._group_id)
        self._committer = (
            GroupCommitter(self._open_consumer, self._group_id) if shared is None else shared.committer(self._group_id)
        )
        self._orders = MessageOrders(stream, self.sink, self.metadata, self._new_reader)
        topic = stream.dead_letter_topic
        self._publisher = None if topic is None else DeadLetterPublisher(settings, topic)
        self._stopping = Event()
        self._left: RawSlice | None = None
        """What was read and is not parsed yet: its rows would have been too many for one slice."""
        self._leases = LeaseKeeper(self.sink, run_id, records) if shared is None else shared.leases
        self._loaded_to: dict[TopicPartition, int] = {}
        """Per partition the end of what this object has loaded: where a backfill goes on."""
        self._topic_ids: dict[str, str] = {}
        """Of the topics being read, the ids that the ledger had before."""
        self._told_gone: set[str] = set()
        self._is_where_expected = False

    def expect(self, expected: Fingerprint | None) -> None:
        """Hold the run to where the sensor that launched it looks; None: wherever it is. Called before whichever stage is the
        first in this process, as a run re-executed from failure begins with a later one; looked at once.

        Raises WrongEnvironment where this process reaches another cluster or database: nothing is written then.
        """
        if expected is not None and not self._is_where_expected:
            check(expected, self.metadata, self.sink, stream=self.stream.name)
            self._is_where_expected = True

    def keep_lease(self, *, backfill: str | None = None) -> None:
        """From now on this run says that it is there, and loads only while it has its lease; those that Dagster has ended load
        nothing more. Idempotent; called once the ledger stands, before the first load in this process. backfill: BACKFILL, or
        `part_text` where it loads a part of one. Raises LeaseLost where the lease was revoked, or Dagster has ended this run."""
        what = f"{self.shard}{'' if self._shared is None else IN_GROUP}" if backfill is None else backfill
        self._leases.acquire(self.stream.name, what, self._stopping.set)
        self._context = replace(self._context, has_lease=True)

    def _is_divided_anew(self) -> bool:
        """Whether live runs that began after this one divide the stream into other shards, or load it with its group."""
        return any(lease.division != str(self.shard.count) for lease in self._leases.newer(self.stream.name))

    def release_lease(self) -> None:
        """The run has loaded all it will. Idempotent."""
        self._leases.release(self.stream.name)

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
            shard=self.shard,
        )

    def read(self, batch: Batch) -> ParsedSlice:
        """The first slice of the batch, decoded and routed. Repeatable: it always starts at the batch's start."""
        positions = read_positions(self.sink, self.stream)
        ranges = batch.ranges
        if batch.kind == "live":  # a topic may have been deleted since the plan
            existing = set(self.metadata.topics(self.stream).partitions)
            ranges = tuple(r for r in ranges if r.topic_partition in existing)
        reader = self._open_reader()
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

    def resume(self, first: LoadResult) -> None:
        """Take into account what this run has loaded in another process: executors may give every op one of its own. A backfill
        goes on behind it."""
        self._loaded_to = {c.range.topic_partition: c.range.end for c in first.counts} | self._loaded_to

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets to the consumer group: what the ledger says, for all partitions of the shard that exist and differ.

        The ledger decides, so a commit that an earlier run did not get to is made up for here.
        """
        positions = read_next_offsets(self.sink, self.stream)
        existing = set(self.metadata.topics(self.stream).partitions)
        self._tell_gone(tp.topic for tp in positions if tp not in existing and self.stream.takes_topic(tp.topic))
        positions = {tp: offset for tp, offset in positions.items() if tp in existing and self.shard.has(tp)}
        committed = self.metadata.group_offsets(self._group_id, positions)
        behind = {tp: offset for tp, offset in positions.items() if committed.get(tp) != offset}
        self._at_step("commit_offsets")
        self._commit_offsets(behind)
        self._publish()  # what an earlier run did not get to, too

    def follow(self) -> tuple[TopicPartition, ...]:
        """Begin to fetch what the ledger does not have, so that it is there when a drain asks; which partitions these are."""
        positions = read_positions(self.sink, self.stream)
        partitions = self.shard.of(tp for tp in self.metadata.topics(self.stream).partitions if tp in positions)
        at = [OffsetRange(*tp, positions[tp].next_offset, positions[tp].next_offset) for tp in partitions]
        self._restart(self._open_reader(), at, positions)
        return partitions

    def end_drain(self) -> None:
        """The drain under way, if there is one, loads what it has read, and ends. Threads may call it."""
        self._stopping.set()

    def look(self) -> StreamState:
        """How the stream stands now: log ends, positions, lag."""
        return observe(self.stream, self.metadata, self.sink, self.settings)

    def drain(self, batch: Batch, *, is_slot_wanted: Callable[[], bool] = lambda: False) -> Iterator[LoadResult]:
        """Go on: what did not fit in the first slice, then, in a live run, what comes.

        Slice after slice, each its own transaction followed by its offsets' commit, in order; the next slice is read and
        translated by a thread while the database loads, over as many connections as the stream has `loaders`. A live run ends
        when nothing has come for the stream's linger time, when its time is up or, shortly before, the next run has taken
        over, when the stream's partitions have changed (the next run reads the new ones), or when it has caught up and
        `is_slot_wanted`; a run until caught up at the ends that the log has now, as a busy topic never stands still; a backfill
        at its end.
        """
        self._stopping.clear()  # set by an earlier drain of this run, where the op is tried again
        for result in self._drain(batch, is_slot_wanted):
            if result.total("dead_letters"):
                self._publish()
            yield result
        self._leases.check(self.stream.name)

    def _drain(self, batch: Batch, is_slot_wanted: Callable[[], bool]) -> Iterator[LoadResult]:
        positions = read_positions(self.sink, self.stream)
        wanted = self._rest(batch, {tp: p.next_offset for tp, p in positions.items()})
        reader = self._open_reader()
        self._restart(reader, wanted, positions)
        if batch.kind != "live" or batch.until_caught_up:
            yield from self._slices(reader, RangeTrigger(reader, self._stopping), batch.kind)
            return
        time_up = self.started + self.stream.batch.max_run_seconds
        source = LiveTrigger(self.stream, self.shard, self.metadata, reader, self._stopping, time_up, is_slot_wanted)
        for result in self._slices(reader, source, batch.kind):
            yield result
            is_late = time.monotonic() > time_up - self.stream.batch.handover_seconds
            if result.skipped and (is_late or self._is_divided_anew()):
                self._stopping.set()  # the next run has taken over, or others have that divide the stream otherwise

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
                        self._commit_offsets(result.next_offsets)
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
        if self._shared is None:
            self._committer.close()
            self._leases.close()
            self.sink.close()

    def _commit_offsets(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        self._tell_gone(self._committer.commit(next_offsets, run_id=self.run_id))

    def _publish(self) -> None:
        """Dead letters to the stream's dead-letter topic, where it has one."""
        if self._publisher is not None:
            publish_waiting(self.sink, self.stream, self._publisher, now=self._now, at_step=self._at_step)

    def left_of(self, batch: Batch) -> tuple[OffsetRange, ...]:
        """What of a backfill this object has not loaded yet.

        Where another run has loaded the first slice (re-execution from failure), nothing is known, and the whole backfill is
        loaded again: it converges.
        """
        starts = {r: min(max(self._loaded_to.get(r.topic_partition, r.start), r.start), r.end) for r in batch.ranges}
        return tuple(replace(r, start=start) for r, start in starts.items() if start < r.end)

    def _rest(self, batch: Batch, positions: Mapping[TopicPartition, int]) -> tuple[OffsetRange, ...]:
        """What is left to do: what is loaded counts, not what is read, as the reader is ahead and a load may have failed."""
        if batch.kind != "live":
            return self.left_of(batch)
        # A partition added since the plan is left to the next run, which pins its start.
        known = [tp for tp in self.shard.of(self.metadata.topics(self.stream).partitions) if tp in positions]
        ends = self.metadata.ends(known)
        return tuple(OffsetRange(*tp, positions[tp], max(positions[tp], end)) for tp, end in sorted(ends.items()))

    def _slice_sizes(self) -> Iterator[int]:
        rows = FIRST_SLICE_ROWS
        while True:
            rows = min(2 * rows, self.stream.batch.max_rows)
            yield rows

    def _prepare(self, source: Trigger, reader: RangeReader, max_rows: int) -> ParsedSlice | None:
        with self._cut_explained():
            if self._left is None and not source.wait_until_due():
                return None
        return self.apply_steps(self._decode_next(reader, max_rows=max_rows))

    def _decode_next(self, reader: RangeReader, *, max_rows: int) -> ParsedSlice:
        raw = self._left or self._read_next(reader, max_rows)
        parsed = self._decode(raw)
        self._left = raw.split(len(parsed.raw))[1] if len(parsed.raw) < len(raw) else None
        return parsed

    def _read_next(self, reader: RangeReader, max_rows: int) -> RawSlice:
        with self._cut_explained():
            raw = reader.read_slice(max_rows=max_rows, max_bytes=self.stream.batch.max_bytes)
        return self._orders.count(with_topic_ids(self.stream, raw, self._topic_ids, self.metadata))

    @contextmanager
    def _cut_explained(self) -> Iterator[None]:
        """The reader's LogCut with what to do; DataLoss where the topic was made again, which looks like a cut."""
        try:
            yield
        except LogCut as error:
            check_same_topics(self.stream, self._topic_ids, self.metadata.topic_ids([error.topic]))
            raise explain_cut(self.stream, error) from error

    def _decode(self, raw: RawSlice) -> ParsedSlice:
        parsed = self._decoder.decode(raw)
        parsed.parsed_by = self.run_id
        return parsed

    def _restart(
        self, reader: RangeReader, ranges: Sequence[OffsetRange], positions: Mapping[TopicPartition, LedgerPosition]
    ) -> None:
        """Read these ranges of the logs that the ledger knows."""
        self._topic_ids = {tp.topic: p.topic_id for tp, p in positions.items() if p.topic_id is not None}
        self._left = None
        reader.restart(ranges, leader_epochs_at(positions, ranges))

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

    def _open_reader(self) -> RangeReader:
        if self._reader is None:
            shared = self._shared
            self._reader = (
                self._new_reader() if shared is None else shared.open_reader(self._group_id, self.stream.name)
            )
        return self._reader

    def _new_reader(self) -> RangeReader:
        return RangeReader(self._open_consumer(), reopen=lambda messages: self._open_consumer(queued_messages=messages))
