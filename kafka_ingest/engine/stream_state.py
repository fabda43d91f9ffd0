"""How a stream stands: ledger against log, from metadata alone. Used by the sensor, the plan and the CLI."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.engine.readiness import PartitionState
from kafka_ingest.engine.shards import Shard
from kafka_ingest.kafka.metadata import KafkaMetadata, TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition, ledger_positions
from kafka_ingest.ledger.tables import OFFSETS
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import NO_ORDER, LeaderEpoch, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import first_window_start, window_bounds, window_key, window_of


@dataclass(frozen=True, slots=True)
class StreamState:
    """One look at a stream."""

    topics: TopicState
    watermarks: Mapping[TopicPartition, Watermarks]
    ledger: Mapping[TopicPartition, LedgerPosition]
    starts: Mapping[TopicPartition, int | None]
    """Where partitions without a ledger entry begin; None: at the end of the log at the moment the first run pins it."""

    def of_shard(self, shard: Shard) -> StreamState:
        """What concerns the partitions of one shard."""
        if shard.is_whole:
            return self
        return StreamState(
            topics=replace(self.topics, partitions=shard.of(self.topics.partitions)),
            watermarks={tp: marks for tp, marks in self.watermarks.items() if shard.has(tp)},
            ledger={tp: position for tp, position in self.ledger.items() if shard.has(tp)},
            starts={tp: start for tp, start in self.starts.items() if shard.has(tp)},
        )

    def position(self, tp: TopicPartition) -> int | None:
        """The ledger's next offset, else where the stream starts."""
        known = self.ledger.get(tp)
        return known.next_offset if known else self.starts[tp]

    @property
    def lag(self) -> int:
        """Offsets between position and last stable offset, all partitions."""
        return sum(self.lag_of(tp) for tp in self.watermarks)

    def waiting(self) -> dict[TopicPartition, int]:
        """First waiting offset of each partition where something waits."""
        known = {tp: self.position(tp) for tp in self.watermarks if self.lag_of(tp)}
        return {tp: max(position, self.watermarks[tp].low) for tp, position in known.items() if position is not None}

    @property
    def loaded_at(self) -> dt.datetime | None:
        """When a position moved last; None where the ledger has none."""
        return max((position.updated_at for position in self.ledger.values()), default=None)

    def lag_of(self, tp: TopicPartition) -> int:
        """The partition's part of the lag; 0 where its position is not pinned yet."""
        position, marks = self.position(tp), self.watermarks[tp]
        return 0 if position is None else max(0, marks.high - max(position, marks.low))


def group_of(stream: Stream, settings: Settings) -> str:
    """Consumer group of a stream."""
    return stream.group_id or settings.group_id


def observe(stream: Stream, metadata: KafkaMetadata, sink: Sink, settings: Settings) -> StreamState:
    """Look once. A constant number of requests, however many partitions."""
    # The ledger first: a run that loads at this moment moves its positions up, but never past ends asked for later.
    return observe_log(stream, read_positions(sink, stream), metadata, settings)


def observe_log(
    stream: Stream, positions: Mapping[TopicPartition, LedgerPosition], metadata: KafkaMetadata, settings: Settings
) -> StreamState:
    """The second half of a look: positions as they were read just now, and the log."""
    topics = metadata.topics(stream)
    watermarks = metadata.watermarks(topics.partitions)
    # A topic may be deleted between the two questions.
    topics = replace(topics, partitions=tuple(tp for tp in topics.partitions if tp in watermarks))
    known = {tp: p for tp, p in positions.items() if tp in watermarks}
    starts = _starts(stream, metadata, watermarks, known, group_of(stream, settings))
    return StreamState(topics=topics, watermarks=watermarks, ledger=known, starts=starts)


def read_positions(sink: Sink, stream: Stream) -> dict[TopicPartition, LedgerPosition]:
    """The ledger's positions; none where the ledger has not been made yet. What is kept of the log that a
    recreated topic had before, under `topic@old-id`, is no position of a topic there is."""
    with sink.errors(f"reading the ledger of stream {stream.name}"), sink.engine.connect() as connection:
        version = check_version(connection)
        if not version and not sa.inspect(connection).has_table(OFFSETS.name):
            return {}
        found = ledger_positions(connection, stream.name, is_up_to_date=version == VERSION)
    return {tp: position for tp, position in found.items() if "@" not in tp.topic}


def read_next_offsets(sink: Sink, stream: Stream) -> dict[TopicPartition, int]:
    """Per partition the ledger's next offset."""
    return {tp: position.next_offset for tp, position in read_positions(sink, stream).items()}


def next_offsets_of(sink: Sink, streams: Collection[str]) -> dict[str, dict[TopicPartition, int]]:
    """By stream and partition the ledger's next offset; one query. The ledger has to be there."""
    c = OFFSETS.c
    asked = sa.select(c.stream, c.topic, c.kafka_partition, c.next_offset).where(c.stream.in_(streams))
    found: dict[str, dict[TopicPartition, int]] = {name: {} for name in streams}
    with sink.errors(f"reading the ledger of {len(found)} streams"), sink.engine.connect() as connection:
        for stream, topic, partition, next_offset in connection.execute(asked):
            found[stream][TopicPartition(topic, partition)] = next_offset
    return found


def leader_epochs_at(
    positions: Mapping[TopicPartition, LedgerPosition], ranges: Iterable[OffsetRange]
) -> dict[TopicPartition, LeaderEpoch | None]:
    """Of the last message loaded before each range that continues where the ledger stands."""
    starts = {r.topic_partition: r.start for r in ranges}
    return {tp: p.leader_epoch for tp, p in positions.items() if starts.get(tp) == p.next_offset}


def _starts(
    stream: Stream,
    metadata: KafkaMetadata,
    watermarks: Mapping[TopicPartition, Watermarks],
    known: Collection[TopicPartition],
    group_id: str,
) -> dict[TopicPartition, int | None]:
    unknown = [tp for tp in watermarks if tp not in known]
    if isinstance(stream.start, dt.datetime):
        found = metadata.offsets_for_time(unknown, stream.start)
        return {tp: found[tp] if found[tp] >= 0 else watermarks[tp].high for tp in unknown}
    if stream.start == "group":
        committed = metadata.group_offsets(group_id, unknown)
        return {tp: committed.get(tp, watermarks[tp].low) for tp in unknown}
    # A partition added to a topic that is being read holds only new messages: none of them may be left out.
    topics_read = {tp.topic for tp in known}
    return {
        tp: None if stream.start == "latest" and tp.topic not in topics_read else watermarks[tp].low for tp in unknown
    }


def partition_states(
    state: StreamState, stream: Stream, metadata: KafkaMetadata, *, now: dt.datetime, next_tick_seconds: float
) -> dict[TopicPartition, PartitionState]:
    """What `readiness` needs. Messages that would exceed `max_wait_seconds` before the next tick count as aged.

    A message whose timestamp lies more than `max_wait_seconds` in the future says nothing about its age: it counts as
    aged at once. Ages are asked for where something waits; elsewhere no message is young, and `aged` is the end.
    """
    wait = stream.batch.max_wait_seconds
    waiting = state.waiting()
    age, skew = dt.timedelta(seconds=max(0.0, wait - next_tick_seconds)), dt.timedelta(seconds=wait)
    aged, skewed = metadata.offsets_for_instants(waiting, now - age, now + skew)
    states = {}
    for tp, marks in state.watermarks.items():
        position = state.position(tp)
        is_skewed = position is not None and 0 <= skewed.get(tp, -1) <= position
        is_all_aged = is_skewed or aged.get(tp, -1) < 0
        states[tp] = PartitionState(
            position=position, low=marks.low, high=marks.high, aged=marks.high if is_all_aged else aged[tp]
        )
    return states


def oldest_waits(state: StreamState, metadata: KafkaMetadata, *, now: dt.datetime) -> dict[TopicPartition, float]:
    """Of each partition where something waits, the age in seconds of the oldest message that does, by the order of messages
    (`RawSlice.orders`); left out where the ledger does not know it. One request, and none where nothing waits."""
    waiting = state.waiting()
    orders = {tp: state.ledger[tp].order if tp in state.ledger else NO_ORDER for tp in waiting}
    ages = {}
    for tp, (offset, stamp) in metadata.first_later(orders).items():
        order = orders[tp]
        if 0 <= offset < waiting[tp] or order > now.timestamp() * 1000:
            continue  # the order is not known, or a producer's clock was ahead
        # No later one: all that wait are at most as new as what has been loaded.
        ages[tp] = max(0.0, now.timestamp() - (order if offset < 0 else stamp) / 1000)
    return ages


def oldest_wait_seconds(state: StreamState, metadata: KafkaMetadata, *, now: dt.datetime) -> float | None:
    """Age of the oldest waiting message of all partitions; None where none is known to wait."""
    return max(oldest_waits(state, metadata, now=now).values(), default=None)


def oldest_window(state: StreamState, stream: Stream, metadata: KafkaMetadata, *, now: dt.datetime) -> str:
    """Key of the window of the oldest waiting message; the present window where nothing waits.

    One request where that is the present window, else a bisection over the windows since the stream's first.
    """
    waiting = state.waiting()
    present = window_of(stream, now, now=now)
    start, end = window_bounds(stream, present)
    if not waiting or not _waits_since(waiting, metadata, start):
        return present
    size = end - start
    first = first_window_start(stream)
    low, high = 0, (start - first) // size  # the window sought is number `low` or later, and before number `high`
    while high - low > 1:
        middle = (low + high) // 2
        if _waits_since(waiting, metadata, first + middle * size):
            high = middle
        else:
            low = middle
    return window_key(stream, first + low * size)


def _waits_since(waiting: Mapping[TopicPartition, int], metadata: KafkaMetadata, instant: dt.datetime) -> bool:
    """Whether a waiting message is older than `instant`."""
    found = metadata.offsets_for_time(waiting, instant)
    return any(offset < 0 or offset > waiting[tp] for tp, offset in found.items())
