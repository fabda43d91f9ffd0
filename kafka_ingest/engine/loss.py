"""Offsets that are gone before they were loaded: found, named, and skipped only where the stream says so."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.errors import DataLoss, KafkaUnavailable, LogCut
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.ledger.entries import append_entries
from kafka_ingest.ledger.positions import Advance, LedgerPosition, advance_positions, lock_fences, pin_positions
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, OFFSETS
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, RangeCounts, RawSlice, TopicPartition, ranges_text
from kafka_ingest.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class Losses:
    """What the ledger expects of the logs and they do not hold."""

    recreated: Mapping[str, tuple[str, str]]
    """Topic → its id in the ledger, and the one it has."""
    lost: tuple[OffsetRange, ...]
    """Deleted by retention before they were loaded."""
    cut: tuple[OffsetRange, ...]
    """From the end of the log to the ledger's next offset."""

    def __bool__(self) -> bool:
        return bool(self.recreated or self.lost or self.cut)


def find_losses(
    positions: Mapping[TopicPartition, LedgerPosition],
    topic_ids: Mapping[str, str],
    watermarks: Mapping[TopicPartition, Watermarks],
) -> Losses:
    """Compare the ledger with the logs, where both know a partition."""
    recreated: dict[str, tuple[str, str]] = {}
    lost, cut = [], []
    for tp, position in sorted(positions.items()):
        old, new, marks = position.topic_id, topic_ids.get(tp.topic), watermarks.get(tp)
        if old and new and old != new:
            recreated[tp.topic] = (old, new)
        elif marks is not None and position.next_offset < marks.low:
            lost.append(OffsetRange(*tp, position.next_offset, marks.low))
        elif marks is not None and position.next_offset > marks.high:
            cut.append(OffsetRange(*tp, marks.high, position.next_offset))
    return Losses(recreated, tuple(lost), tuple(cut))


def handle_loss(
    stream: Stream, state: StreamState, metadata: KafkaMetadata, sink: Sink, *, run_id: str, now: dt.datetime
) -> dict[TopicPartition, int]:
    """Positions of partitions that lost offsets, as they are after it; empty where none did.

    With `on_data_loss="skip"` a lost range becomes a `lost` entry of the ledger and the position moves past it. A
    recreated topic starts anew; what came from the old one is kept under the name `topic@old-id`, as its offsets mean
    nothing in the new one.

    1. compare what `state` saw; where nothing is lost, nothing is locked
    2. lock the ledger's rows of the partitions concerned
    3. ask Kafka again and compare again: another run may have seen the same loss and recorded it, or the topic may have
       been recreated once more
    4. record what is found now

    Raises DataLoss, with the number of offsets, where the stream does not skip.
    """
    seen = find_losses(state.ledger, state.topics.topic_ids, state.watermarks)
    if not seen:
        return {}
    _refuse(stream, seen)
    concerned = sorted(
        {r.topic_partition for r in seen.lost} | {tp for tp in state.ledger if tp.topic in seen.recreated}
    )
    with sink.errors(f"recording lost offsets of stream {stream.name}"), sink.engine.begin() as connection:
        locked = lock_fences(connection, stream.name, concerned)
        topics = metadata.topics(stream)
        watermarks = metadata.watermarks(topics.partitions)
        losses = find_losses(locked, topics.topic_ids, watermarks)
        _refuse(stream, losses)
        moved = {r.topic_partition: r.end for r in losses.lost}
        moves = {
            tp: replace(Advance.nowhere(locked[tp]), next_offset=offset, loaded_to=max(locked[tp].loaded_to, offset))
            for tp, offset in moved.items()
        }
        append_entries(
            connection,
            stream.name,
            _lost_counts(losses.lost),
            window_key=None,
            run_id=run_id,
            now=now,
            revisions={tp: move.fence.revision + 1 for tp, move in moves.items()},
        )
        advance_positions(connection, stream.name, moves, run_id=run_id, now=now)
        for topic, (old_id, _) in losses.recreated.items():
            _set_aside(connection, stream, topic, f"{topic}@{old_id}")
        fresh = {tp: marks.low for tp, marks in watermarks.items() if tp.topic in losses.recreated}
        pin_positions(connection, stream.name, fresh, topics.topic_ids, run_id=run_id, now=now)
    return {tp: p.next_offset for tp, p in locked.items() if tp in watermarks} | moved | fresh


def _lost_counts(lost: Iterable[OffsetRange]) -> list[RangeCounts]:
    """Ledger entries for ranges Kafka deleted before they were loaded: every offset is absent."""
    return [RangeCounts(r, "lost", 0, 0, 0, 0, r.size, None, None) for r in lost]


def check_same_topics(stream: Stream, known: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises DataLoss where a topic has another id than the ledger's."""
    recreated = {topic: (old, found[topic]) for topic, old in known.items() if topic in found and found[topic] != old}
    if recreated:
        raise DataLoss(_text(stream, Losses(recreated, (), ())), stream=stream.name, topics=tuple(sorted(recreated)))


def explain_cut(stream: Stream, cut: LogCut) -> LogCut:
    """The reader's error with what was lost and what a person can do. It comes again with every run until they do."""
    partition = f"{cut.topic}[{cut.partition}]"
    statement = (  # for a person to read; names of streams and topics have no quotes
        "UPDATE kafka_ingest_offsets SET leader_epoch = NULL, leader_epoch_offset = NULL WHERE "  # noqa: S608
        f"stream = '{stream.name}' AND topic = '{cut.topic}' AND kafka_partition = {cut.partition}"
    )
    if cut.end is None:
        gone = f"{partition} was cut somewhere below the ledger's next offset {cut.position}"
        again = ""
    else:
        gone = (
            f"{partition} was cut at offset {cut.end} (an unclean leader election, or a power cut): the messages "
            f"[{cut.end},{cut.position}) that were loaded are gone from the log, and what stands there now is other messages "
            "or none"
        )
        again = (
            f" To put what stands at [{cut.end},{cut.position}) now into the tables in place of what was loaded, load these "
            "offsets again after it, as a backfill."
        )
    return LogCut(
        f"stream {stream.name}: {gone}. Nothing more is loaded from it until a person decides. To go on at the ledger's next "
        f"offset: {statement};{again}",
        topic=cut.topic,
        partition=cut.partition,
        position=cut.position,
        end=cut.end,
        stream=stream.name,
    )


def _refuse(stream: Stream, losses: Losses) -> None:
    if losses.cut or (losses and stream.on_data_loss == "fail"):
        raise DataLoss(
            _text(stream, losses),
            stream=stream.name,
            ranges=(*losses.lost, *losses.cut),
            topics=tuple(losses.recreated),
        )


def _set_aside(connection: sa.Connection, stream: Stream, topic: str, label: str) -> None:
    """Rows, ledger and dead letters of the log that a recreated topic had before, under another name (no topic has an @)."""
    for table in (OFFSETS, BATCHES, DEAD_LETTERS):
        connection.execute(
            sa.update(table).where(table.c.stream == stream.name, table.c.topic == topic).values(topic=label)
        )
    # The tombstones too: by the old offsets they would delete the new topic's rows.
    for table in (table for target in stream.targets for table in target.tables):
        connection.execute(
            sa.update(table).where(table.c["_kafka_topic"] == topic).values({table.c["_kafka_topic"]: label})
        )


def _text(stream: Stream, losses: Losses) -> str:
    parts = []
    if losses.lost:
        count = sum(r.size for r in losses.lost)
        parts.append(
            f"{count} offsets are gone: Kafka's retention deleted {ranges_text(losses.lost)} before they were loaded"
        )
    parts += [
        f"topic {topic} was deleted and created again (its id was {old}, is {new}); what the old one held beyond the "
        "ledger's position is gone"
        for topic, (old, new) in losses.recreated.items()
    ]
    parts += [
        f"{r.topic_partition} ends at {r.start}, below the ledger's next offset {r.end}: {r.size} offsets are gone from the "
        "log (an unclean leader election, or another cluster)"
        for r in losses.cut
    ]
    advice = (
        "Check KAFKA_BOOTSTRAP_SERVERS, or set the position in kafka_ingest_offsets by hand (next_offset to the end of the "
        "log, leader_epoch and leader_epoch_offset to NULL)."
        if losses.cut
        else "Declare the stream with on_data_loss='skip' to record the loss in the ledger and go on."
    )
    return f"stream {stream.name}: {'; '.join(parts)}. {advice}"


def with_topic_ids(stream: Stream, raw: RawSlice, known: Mapping[str, str], metadata: KafkaMetadata) -> RawSlice:
    """The slice with the ids of its topics, asked for after its messages were read. known: those that the ledger had before.

    An id is given to one topic only and does not come back, so where the id after reading is the ledger's, the topic of that name
    was the same all the while, and every message of the slice is of the log that the ledger's offsets mean. The load compares the
    two once more, under the ledger's lock.

    Raises DataLoss where the ids differ, KafkaUnavailable where a topic has no id any more: the next try goes on without it.
    """
    topics = {r.topic for r in raw.ranges}
    ids = metadata.topic_ids(sorted(topics))
    if gone := sorted(topics - ids.keys()):
        raise KafkaUnavailable(
            f"stream {stream.name}: topic {', '.join(gone)} was deleted while it was read; what was read of it is not loaded. It "
            "is gone on with without it.",
            stream=stream.name,
        )
    check_same_topics(stream, known, ids)
    return replace(
        raw, logs=tuple(replace(log, topic_id=ids[r.topic]) for r, log in zip(raw.ranges, raw.logs, strict=True))
    )
