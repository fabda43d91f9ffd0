"""How a stream stands: ledger against log, from metadata alone. Used by the sensor, the plan and the CLI."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.engine.readiness import PartitionState
from kafka_ingest.kafka.metadata import KafkaMetadata, TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition, ledger_positions
from kafka_ingest.ledger.tables import OFFSETS
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import LeaderEpoch, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_bounds, window_of


@dataclass(frozen=True, slots=True)
class StreamState:
    """One look at a stream."""

    topics: TopicState
    watermarks: Mapping[TopicPartition, Watermarks]
    ledger: Mapping[TopicPartition, LedgerPosition]
    starts: Mapping[TopicPartition, int | None]
    """Where partitions without a ledger entry begin; None: at the end of the log at the moment the first run pins it."""

    def position(self, tp: TopicPartition) -> int | None:
        """The ledger's next offset, else where the stream starts."""
        known = self.ledger.get(tp)
        return known.next_offset if known else self.starts[tp]

    @property
    def lag(self) -> int:
        """Offsets between position and last stable offset, all partitions."""
        return sum(self.lag_of(tp) for tp in self.watermarks)

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
    positions = read_positions(sink, stream)
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
    waiting = [tp for tp in state.watermarks if state.lag_of(tp)]
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


def oldest_wait_seconds(
    states: Mapping[TopicPartition, PartitionState], metadata: KafkaMetadata, *, now: dt.datetime, limit_seconds: float
) -> float | None:
    """Age of the oldest waiting message, to about a second and at most `limit_seconds`; None where nothing waits."""
    waiting = _waiting_positions(states)
    if not waiting:
        return None
    young, old = 0.0, limit_seconds
    while old - young > 1.0:
        middle = (young + old) / 2
        if _waits_since(waiting, metadata, now - dt.timedelta(seconds=middle)):
            young = middle
        else:
            old = middle
    return young


def oldest_window(
    states: Mapping[TopicPartition, PartitionState], stream: Stream, metadata: KafkaMetadata, *, now: dt.datetime
) -> str:
    """Key of the window of the oldest waiting message; the present window where nothing waits.

    One request where that is the present window, else a bisection over the windows since the stream's first.
    """
    waiting = _waiting_positions(states)
    present = window_of(stream, now, now=now)
    start, end = window_bounds(stream, present)
    if not waiting or not _waits_since(waiting, metadata, start):
        return present
    size = end - start
    first = window_bounds(stream, window_of(stream, stream.window_start, now=now))[0]
    low, high = 0, (start - first) // size  # the window sought is number `low` or later, and before number `high`
    while high - low > 1:
        middle = (low + high) // 2
        if _waits_since(waiting, metadata, first + middle * size):
            high = middle
        else:
            low = middle
    return window_of(stream, first + low * size, now=now)


def _waiting_positions(states: Mapping[TopicPartition, PartitionState]) -> dict[TopicPartition, int]:
    return {
        tp: max(s.position, s.low)
        for tp, s in states.items()
        if s.position is not None and s.high > max(s.position, s.low)
    }


def _waits_since(waiting: Mapping[TopicPartition, int], metadata: KafkaMetadata, instant: dt.datetime) -> bool:
    """Whether a waiting message is older than `instant`."""
    found = metadata.offsets_for_time(waiting, instant)
    return any(offset < 0 or offset > waiting[tp] for tp, offset in found.items())
