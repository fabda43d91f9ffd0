"""Offsets that are gone before they were loaded: found, named, and skipped only where the stream says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import replace

import sqlalchemy as sa

from kafka_ingest.engine.observe import StreamState
from kafka_ingest.errors import DataLoss
from kafka_ingest.records import OffsetRange, TopicPartition, ranges_text
from kafka_ingest.sinks import ledger
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.ledger import Advance
from kafka_ingest.streams.stream import Stream


def handle_loss(
    stream: Stream, state: StreamState, sink: Sink, *, run_id: str, now: dt.datetime
) -> dict[TopicPartition, int]:
    """New positions of partitions that lost offsets; empty where none did.

    With `on_data_loss="skip"` a lost range becomes a `lost` entry of the ledger and the position moves past it. A
    recreated topic starts anew; what came from the old one is kept under the name `topic@old-id`, as its offsets mean
    nothing in the new one.

    Raises DataLoss, with the number of offsets, where the stream does not skip.
    """
    recreated = {
        topic: str(old)
        for topic, new in state.topics.topic_ids.items()
        for tp, position in state.ledger.items()
        if tp.topic == topic and (old := position.topic_id) and old != new
    }
    lost = [
        OffsetRange(*tp, position.next_offset, state.watermarks[tp].low)
        for tp, position in sorted(state.ledger.items())
        if tp.topic not in recreated and position.next_offset < state.watermarks[tp].low
    ]
    cut = {
        tp: position.next_offset
        for tp, position in state.ledger.items()
        if tp.topic not in recreated and position.next_offset > state.watermarks[tp].high
    }
    if not (recreated or lost or cut):
        return {}
    if stream.on_data_loss == "fail" or cut:
        raise DataLoss(_explain(stream, state, recreated, lost, cut))
    moved = {r.topic_partition: r.end for r in lost}
    with sink.errors(f"recording lost offsets of stream {stream.name}"), sink.engine.begin() as connection:
        locked = ledger.lock(connection, stream.name, [*moved, *(tp for tp in state.ledger if tp.topic in recreated)])
        moves = {
            tp: replace(Advance.nowhere(locked[tp]), next_offset=offset, loaded_to=max(locked[tp].loaded_to, offset))
            for tp, offset in moved.items()
        }
        ledger.append_batches(
            connection,
            stream.name,
            ledger.lost_counts(lost),
            window_key=None,
            run_id=run_id,
            now=now,
            revisions={tp: move.fence.revision + 1 for tp, move in moves.items()},
        )
        ledger.advance(connection, stream.name, moves, run_id=run_id, now=now)
        for topic, old_id in recreated.items():
            _set_aside(connection, stream, topic, f"{topic}@{old_id}")
        fresh = {tp: marks.low for tp, marks in state.watermarks.items() if tp.topic in recreated}
        ledger.pin_positions(connection, stream.name, fresh, state.topics.topic_ids, run_id=run_id, now=now)
    return moved | fresh


def _set_aside(connection: sa.Connection, stream: Stream, topic: str, label: str) -> None:
    """Rows, ledger and dead letters of a topic's former life under another topic name (no topic has an @)."""
    for table in (ledger.OFFSETS, ledger.BATCHES, ledger.DEAD_LETTERS):
        connection.execute(
            sa.update(table).where(table.c.stream == stream.name, table.c.topic == topic).values(topic=label)
        )
    # The tombstones too: by the old offsets they would bury the new topic's rows.
    for table in (table for target in stream.targets for table in target.tables):
        connection.execute(
            sa.update(table).where(table.c["_kafka_topic"] == topic).values({table.c["_kafka_topic"]: label})
        )


def _explain(
    stream: Stream,
    state: StreamState,
    recreated: Mapping[str, str],
    lost: list[OffsetRange],
    cut: Mapping[TopicPartition, int],
) -> str:
    parts = []
    if lost:
        count = sum(r.size for r in lost)
        parts.append(f"{count} offsets are gone: Kafka's retention deleted {ranges_text(lost)} before they were loaded")
    parts += [
        f"topic {topic} was deleted and created again (its id was {old}, is {state.topics.topic_ids[topic]}); what the old "
        "one held beyond the ledger's position is gone"
        for topic, old in recreated.items()
    ]
    parts += [
        f"{tp} ends at {state.watermarks[tp].high}, below the ledger's next offset {offset}: "
        f"{offset - state.watermarks[tp].high} offsets are gone from the log (an unclean leader election, or another cluster)"
        for tp, offset in cut.items()
    ]
    advice = (
        "Check KAFKA_BOOTSTRAP_SERVERS, or set the position in kafka_ingest_offsets by hand."
        if cut
        else "Declare the stream with on_data_loss='skip' to record the loss in the ledger and go on."
    )
    return f"stream {stream.name}: {'; '.join(parts)}. {advice}"
