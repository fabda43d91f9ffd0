"""What retention has deleted of a span of time: found by the ledger, which knows the times of what was loaded."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.ledger.tables import BATCHES, naive_utc, of_partition
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True, slots=True)
class Span:
    """Kafka timestamps `[start, end)`; None is without bound. `text` names it to a person."""

    start: dt.datetime | None
    end: dt.datetime | None
    text: str


def first_offsets(metadata: KafkaMetadata, marks: Mapping[TopicPartition, Watermarks]) -> dict[TopicPartition, int]:
    """Per partition the offset of the first message the log still holds; -1 where it holds none."""
    return metadata.offsets_for_time(marks, EPOCH)


def check_not_deleted(
    stream: Stream,
    span: Span,
    marks: Mapping[TopicPartition, Watermarks],
    metadata: KafkaMetadata,
    sink: Sink,
) -> bool:
    """Whether it is known of every partition that nothing of the span is gone; False where nobody can say.

    Offsets below the log's start are gone. Those that were loaded stand in the ledger with their times; of those that
    never were, nothing is known, and a backfill can take nothing from the tables that came from them.

    Raises ConfigError where the ledger has loaded messages of the span from offsets the log no longer holds.
    """
    deleted = {tp: m for tp, m in marks.items() if m.low > 0}
    if not deleted:
        return True
    first = first_offsets(metadata, deleted)
    found = first if span.start is None else metadata.offsets_for_time(deleted, span.start)
    # A span that begins after a message the log still holds begins above the log's start.
    open_at_start = {tp: m for tp, m in deleted.items() if first[tp] < 0 or 0 <= found[tp] <= first[tp]}
    gone, unknown = _ask_ledger(stream, span, open_at_start, sink)
    if gone:
        low = ", ".join(f"{tp} up to offset {marks[tp].low}" for tp in gone)
        raise ConfigError(
            f"stream {stream.name}: Kafka's retention has deleted messages of {span.text}, so it cannot be loaded again: "
            f"{low}. The rows in the tables are left as they are. Choose later windows or times, or load what is left by "
            "offsets.",
            stream=stream.name,
        )
    return not unknown


def _ask_ledger(
    stream: Stream, span: Span, partitions: Mapping[TopicPartition, Watermarks], sink: Sink
) -> tuple[Sequence[TopicPartition], Sequence[TopicPartition]]:
    """Partitions of which loaded messages of the span are gone; partitions the ledger cannot speak for."""
    c = BATCHES.c
    gone, unknown = [], []
    with sink.errors(f"reading the ledger of stream {stream.name}"), sink.engine.connect() as connection:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return [], list(partitions)
        for tp, marks in sorted(partitions.items()):
            below = sa.and_(
                of_partition(BATCHES, stream.name, tp),
                c.start_offset < marks.low,
                c.max_timestamp.is_not(None),
            )
            inside = [] if span.start is None else [c.max_timestamp >= naive_utc(span.start)]
            inside += [] if span.end is None else [c.min_timestamp < naive_utc(span.end)]
            if connection.execute(sa.select(c.id).where(below, *inside).limit(1)).first() is not None:
                gone.append(tp)
            elif span.start is None or (
                connection.execute(
                    sa.select(c.id).where(below, c.max_timestamp < naive_utc(span.start)).limit(1)
                ).first()
                is None
            ):
                unknown.append(tp)  # nothing older was loaded either: the ledger begins later than the span
    return gone, unknown
