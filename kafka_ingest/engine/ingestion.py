"""The stages of one run over one stream: plan, read, translate, load, commit, drain. No Dagster here."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

from confluent_kafka import Consumer

from kafka_ingest.engine.observe import StreamState, group_of, observe, read_next_offsets
from kafka_ingest.engine.plan import plan
from kafka_ingest.engine.publish import publish_waiting
from kafka_ingest.kafka.dead_letter_topic import DeadLetterPublisher
from kafka_ingest.kafka.group_offsets import commit_group_offsets
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader, open_consumer
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.records import Batch, BatchKind, LoadResult, OffsetRange, ParsedSlice, TopicPartition
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink, open_sink
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.streams.stream import Stream

# While a run stays alive: how often it asks for new messages, and the least time from slice to slice, which bounds the
# ledger's growth (two rows a second per Kafka partition at most) and costs half of it in freshness.
POLL_SECONDS = 0.1
SLICE_SECONDS = 0.5
# How often a live run looks whether the stream's topics and partitions have changed.
TOPICS_SECONDS = 30.0


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
        self._consumer: Consumer | None = None
        self._reader: RangeReader | None = None
        topic = stream.dead_letter_topic
        self._publisher = None if topic is None else DeadLetterPublisher(settings, topic)
        self._stopping = Event()
        self._loaded_to: dict[TopicPartition, int] = {}
        """Per partition the end of what this object has loaded: where a backfill goes on."""

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
        reader = self._open_reader(len(batch.ranges))
        reader.restart(batch.ranges)
        return self._decode_next(reader)

    def translate(self, parsed: ParsedSlice) -> ParsedSlice:
        """The stream's steps (dates among them), then validation."""
        return run_pipeline(parsed, self.stream)

    def load(self, parsed: ParsedSlice, kind: BatchKind) -> LoadResult:
        """See `sinks.load.load`."""
        result = load(self.sink, parsed, kind, self._context)
        self._loaded_to |= {r.topic_partition: r.end for r in parsed.raw.ranges}
        return result

    def commit(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Offsets to the consumer group: what the ledger says, for all partitions of the stream that differ.

        The ledger's word counts, so a commit that an earlier run did not get to is repaired here.
        """
        group_id = group_of(self.stream, self.settings)
        positions = read_next_offsets(self.sink, self.stream)
        committed = self.metadata.group_offsets(group_id, positions)
        behind = {tp: offset for tp, offset in positions.items() if committed.get(tp) != offset}
        self._at_step("commit")
        commit_group_offsets(self._open_consumer(len(next_offsets)), group_id, behind, run_id=self.run_id)
        self._publish()  # what an earlier run did not get to, too

    def look(self) -> StreamState:
        """How the stream stands now: log ends, positions, lag."""
        return observe(self.stream, self.metadata, self.sink, self.settings)

    def drain(self, batch: Batch) -> Iterator[LoadResult]:
        """Go on: what did not fit in the first slice, then, in a live run, what comes.

        Slice after slice, each its own transaction followed by its offsets' commit; the next slice is read and translated
        by a thread while the database loads. A live run ends when nothing has come for the stream's linger time, when its
        time is up, or when the stream's partitions have changed (the next run reads the new ones); a run until caught up at the
        ends that the log has now, as a busy topic never stands still; a backfill at its end.
        """
        reader = self._open_reader(len(batch.ranges))
        is_live = batch.kind == "live"
        positions = read_next_offsets(self.sink, self.stream)
        wanted = self._rest(batch, positions)
        self._stopping.clear()  # set by an earlier drain of this run, where the op is tried again
        reader.restart(wanted)
        follows = is_live and not batch.until_caught_up
        source = _LiveSource(self, reader) if follows else _RangeSource(reader)
        group_id = group_of(self.stream, self.settings)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
            upcoming = pool.submit(self._prepare_next, source, reader)
            try:
                while (parsed := upcoming.result()) is not None:
                    upcoming = pool.submit(self._prepare_next, source, reader)
                    result = self.load(parsed, batch.kind)
                    self._at_step("commit")
                    commit_group_offsets(
                        self._open_consumer(len(wanted)), group_id, result.next_offsets, run_id=self.run_id
                    )
                    if result.total("dead_letters"):
                        self._publish()
                    yield result
            finally:
                self._stopping.set()  # ends the thread's wait for messages, so leaving this block is quick

    def close(self) -> None:
        """Release connections. Idempotent."""
        self._stopping.set()
        if self._publisher is not None:
            self._publisher.close()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._reader = None
        self.sink.close()

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
        return tuple(OffsetRange(*tp, positions[tp], max(positions[tp], ends[tp])) for tp in known)

    def _prepare_next(self, source: _LiveSource | _RangeSource, reader: RangeReader) -> ParsedSlice | None:
        if not source.wait_until_due():
            return None
        return self.translate(self._decode_next(reader))

    def _decode_next(self, reader: RangeReader) -> ParsedSlice:
        policy = self.stream.batch
        return self._decoder.decode(reader.read_slice(max_rows=policy.max_rows, max_bytes=policy.max_bytes))

    def _open_consumer(self, partitions: int) -> Consumer:
        if self._consumer is None:
            self._consumer = open_consumer(
                self.settings, group_of(self.stream, self.settings), partitions=max(1, partitions)
            )
        return self._consumer

    def _open_reader(self, partitions: int) -> RangeReader:
        if self._reader is None:
            self._reader = RangeReader(self._open_consumer(partitions))
        return self._reader


class _RangeSource:
    """Due as long as something of the ranges remains."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader

    def wait_until_due(self) -> bool:
        return bool(self._reader.remaining())


class _LiveSource:
    """Follows the ends of the log, and says when a slice is due: `take(min_messages, within=max_wait_seconds)`."""

    def __init__(self, ingestion: Ingestion, reader: RangeReader) -> None:
        self._ingestion = ingestion
        self._reader = reader
        self._partitions = tuple(reader.positions())
        now = time.monotonic()
        policy = ingestion.stream.batch
        self._time_up = ingestion.started + policy.max_run_seconds
        self._last_slice = now - SLICE_SECONDS
        self._topics_seen = now

    def wait_until_due(self) -> bool:
        """True when a slice is due, False when the run is over."""
        policy = self._ingestion.stream.batch
        stopping = self._ingestion._stopping
        idle_since = time.monotonic()
        waiting_since: float | None = None
        while not stopping.is_set():
            now = time.monotonic()
            if now >= self._time_up or self._partitions_changed(now):
                return False
            waiting = self._follow_ends()
            if waiting:
                waiting_since = now if waiting_since is None else waiting_since
                is_paced = now - self._last_slice >= SLICE_SECONDS or waiting >= policy.max_rows
                if is_paced and (waiting >= policy.min_messages or now - waiting_since >= policy.max_wait_seconds):
                    self._last_slice = now
                    return True
            elif now - idle_since >= policy.linger:
                return False
            stopping.wait(POLL_SECONDS)
        return False

    def _follow_ends(self) -> int:
        """Move the ranges' ends to the log's; how many offsets wait."""
        ends = self._ingestion.metadata.ends(self._partitions)
        positions = self._reader.positions()
        self._reader.read_to(OffsetRange(*tp, position, max(position, ends[tp])) for tp, position in positions.items())
        return sum(r.size for r in self._reader.remaining())

    def _partitions_changed(self, now: float) -> bool:
        if now - self._topics_seen < TOPICS_SECONDS:
            return False
        self._topics_seen = now
        return self._ingestion.metadata.topics(self._ingestion.stream).partitions != self._partitions
