"""Which ranges a run ingests first."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace

from kafka_ingest.engine.loss import handle_loss
from kafka_ingest.engine.readiness import PartitionState, share_rows
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.engine.stream_state import StreamState, observe
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.positions import pin_positions
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.admission import offset_gap
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import Batch, BatchKind, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream


def plan(
    stream: Stream,
    requested: Sequence[OffsetRange],
    kind: BatchKind,
    *,
    metadata: KafkaMetadata,
    sink: Sink,
    settings: Settings,
    run_id: str,
    now: dt.datetime,
    shard: Shard = WHOLE,
) -> Batch:
    """The batch to load now; shard: whose partitions are looked at where nothing was requested.

    1. make the ledger and the tables fit
    2. look at the log and the ledger; find lost offsets
    3. pin the start of new partitions in the ledger
    4. a live batch: what was requested and is not loaded yet, or everything waiting where nothing was requested, up to one
       slice (so too after a loss that was skipped); a backfill: exactly what was requested

    Raises ConfigError where a topic is missing or a backfill asks for offsets the log does not hold, OffsetGap where a live
    request starts above the ledger, DataLoss, SchemaMismatch.
    """
    prepare_tables(sink, stream)
    state = observe(stream, metadata, sink, settings)
    moved = handle_loss(stream, state, metadata, sink, run_id=run_id, now=now)
    starts = {tp: state.watermarks[tp].high if s is None else s for tp, s in state.starts.items()}
    new = {tp: start for tp, start in starts.items() if tp not in state.ledger and tp not in moved}
    orders = metadata.largest_timestamps_below({tp: s for tp, s in new.items() if s > state.watermarks[tp].low})
    with sink.errors(f"pinning the start of stream {stream.name}"), sink.engine.begin() as connection:
        topic_ids = state.topics.topic_ids
        pin_positions(connection, stream.name, starts, topic_ids, run_id=run_id, now=now, orders=orders)
    positions = starts | {tp: p.next_offset for tp, p in state.ledger.items()} | moved
    _check_exist(stream, requested, state)
    if kind != "live":
        _check_held(stream, requested, state)
        return Batch(stream.name, kind, tuple(requested))
    if requested and not moved:  # after a loss, what was requested lies where the log no longer is
        return Batch(stream.name, kind, tuple(_not_loaded(stream, requested, positions)))
    waiting = {
        tp: PartitionState(positions[tp], marks.low, marks.high, marks.high)
        for tp, marks in state.watermarks.items()
        if shard.has(tp)
    }
    return Batch(stream.name, kind, share_rows(waiting, stream.batch.max_rows))


def check_requested(stream: Stream, requested: Sequence[OffsetRange], state: StreamState) -> None:
    """Raises ConfigError where a topic is missing or the log does not hold what a backfill asks for."""
    _check_exist(stream, requested, state)
    _check_held(stream, requested, state)


def _check_exist(stream: Stream, requested: Sequence[OffsetRange], state: StreamState) -> None:
    if not state.topics.partitions:
        raise ConfigError(
            f"stream {stream.name}: no topic matches {stream.topic_text!r} yet; create it, or correct the stream's topics",
            stream=stream.name,
            setting="topics",
        )
    unknown = [str(r) for r in requested if r.topic_partition not in state.watermarks]
    if unknown:
        raise ConfigError(f"stream {stream.name} has no partition for {', '.join(unknown)}", stream=stream.name)


def _check_held(stream: Stream, requested: Sequence[OffsetRange], state: StreamState) -> None:
    for each in requested:
        marks = state.watermarks[each.topic_partition]
        if each.size and not (marks.low <= each.start and each.end <= marks.high):
            why = (
                "Kafka's retention has deleted what lies before"
                if each.start < marks.low
                else "nothing lies beyond yet"
            )
            raise ConfigError(
                f"stream {stream.name}: {each} cannot be loaded: the log holds "
                f"{each.topic}[{each.partition}]@[{marks.low},{marks.high}); {why}",
                stream=stream.name,
            )


def _not_loaded(
    stream: Stream, requested: Sequence[OffsetRange], positions: dict[TopicPartition, int]
) -> list[OffsetRange]:
    ranges = []
    for each in requested:
        position = positions[each.topic_partition]
        if position < each.start:
            raise offset_gap(stream, each, position)
        if position < each.end:
            ranges.append(replace(each, start=position))
    return ranges
