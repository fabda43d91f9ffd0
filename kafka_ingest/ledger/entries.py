"""The loaded ranges of the ledger: one entry per range, appended by the transaction that loads it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import KEPT_STATEMENTS, in_terms, partition_terms, range_parameters
from kafka_ingest.ledger.tables import BATCHES, OFFSETS, aware_utc, naive_utc
from kafka_ingest.slices import OffsetRange, RangeCounts, TopicPartition

T = TypeVar("T")


def append_entries(
    connection: sa.Connection,
    stream: str,
    counts: Iterable[RangeCounts],
    *,
    window_key: str | None,
    run_id: str,
    now: dt.datetime,
    revisions: Mapping[TopicPartition, int],
) -> None:
    """One entry per range. Empty ranges leave no trace. revisions: those that `advance_positions` writes in this transaction."""
    rows = [
        {
            "stream": stream,
            "topic": c.range.topic,
            "kafka_partition": c.range.partition,
            "start_offset": c.range.start,
            "end_offset": c.range.end,
            "kind": c.kind,
            "row_count": c.rows,
            "delete_count": c.deletes,
            "dead_letter_count": c.dead_letters,
            "ignored_count": c.ignored,
            "absent_count": c.absent,
            "min_timestamp": _timestamp(c.min_timestamp_ms),
            "max_timestamp": _timestamp(c.max_timestamp_ms),
            "window_key": window_key,
            "run_id": run_id,
            "loaded_at": naive_utc(now),
            "rows_by_table": json.dumps(dict(c.rows_by_table), sort_keys=True),
            "order_start": c.order_start,
            "revision": revisions[c.range.topic_partition],
        }
        for c in counts
        if c.range.size
    ]
    if rows:
        connection.execute(sa.insert(BATCHES), rows)


def loaded_since(
    connection: sa.Connection, stream: str, ranges: Iterable[OffsetRange], revisions: Mapping[TopicPartition, int]
) -> bool:
    """Whether anybody has loaded from these ranges since their partitions stood at these revisions."""
    return any(
        connection.execute(
            _loaded_since(len(some)),
            {
                "of_stream": stream,
                **range_parameters(some),
                **{f"revision_{n}": revisions[each.topic_partition] for n, each in enumerate(some)},
            },
        ).first()
        for some in in_terms(list(ranges))
    )


@lru_cache(KEPT_STATEMENTS)
def _loaded_since(count: int) -> sa.Select[tuple[int]]:
    c = BATCHES.c
    newer = (
        sa.and_(
            mine,
            c.revision > sa.bindparam(f"revision_{number}", type_=c.revision.type),
            c.start_offset < sa.bindparam(f"end_{number}", type_=c.start_offset.type),
            c.end_offset > sa.bindparam(f"start_{number}", type_=c.end_offset.type),
        )
        for number, mine in enumerate(partition_terms(BATCHES, count))
    )
    return sa.select(c.id).where(c.stream == sa.bindparam("of_stream", type_=c.stream.type), sa.or_(*newer)).limit(1)


def is_loaded_by(connection: sa.Connection, stream: str, run_id: str, ranges: Iterable[OffsetRange]) -> bool:
    """Whether the run has entries for every offset of these ranges, of whatever kind. One query."""
    c = BATCHES.c
    mine = sa.select(c.topic, c.kafka_partition, c.start_offset, c.end_offset).where(
        c.run_id == run_id, c.stream == stream
    )
    reached = {r.topic_partition: r.start for r in ranges}
    for topic, partition, start, end in connection.execute(mine.order_by(c.start_offset)):
        tp = TopicPartition(topic, partition)
        if tp in reached and start <= reached[tp]:
            reached[tp] = max(reached[tp], end)
    return all(reached[r.topic_partition] >= r.end for r in ranges)


def first_loaded(connection: sa.Connection, streams: Collection[str], *, since: dt.datetime) -> dict[str, dt.datetime]:
    """Per stream the earliest Kafka timestamp, not before `since`, of its partitions' first entries; streams that have loaded
    nothing are left out. One entry of each partition is looked up by its index."""
    o = OFFSETS.c
    earliest = _of_first_entry(BATCHES.c.min_timestamp, BATCHES.c.min_timestamp >= naive_utc(since))
    found: dict[str, dt.datetime] = {}
    for stream, stamp in connection.execute(sa.select(o.stream, earliest).where(o.stream.in_(streams))):
        if stamp is not None:
            found[stream] = min(aware_utc(stamp), found.get(stream, aware_utc(stamp)))
    return found


def live_from(connection: sa.Connection, stream: str) -> dict[TopicPartition, int]:
    """Per Kafka partition the offset from which live loads have taken everything, up to its position; partitions without one are
    left out. One entry of each partition is looked up by its index."""
    o = OFFSETS.c
    first = _of_first_entry(BATCHES.c.start_offset, BATCHES.c.kind.in_(("live", "lost")))
    rows = connection.execute(sa.select(o.topic, o.kafka_partition, first).where(o.stream == stream))
    return {TopicPartition(topic, partition): start for topic, partition, start in rows if start is not None}


def _of_first_entry(column: sa.ColumnElement[T], where: sa.ColumnElement[bool]) -> sa.ScalarSelect[T]:
    """The column of the first entry by offset of an OFFSETS row's partition that is as `where` says."""
    b, o = BATCHES.c, OFFSETS.c
    same = sa.and_(b.stream == o.stream, b.topic == o.topic, b.kafka_partition == o.kafka_partition)
    # All columns of the index: MySQL takes another one else, and sorts all entries of the partition.
    in_order = (b.stream, b.topic, b.kafka_partition, b.start_offset)
    return sa.select(column).where(same, where).order_by(*in_order).limit(1).correlate(OFFSETS).scalar_subquery()


def _timestamp(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)  # noqa: DTZ001
