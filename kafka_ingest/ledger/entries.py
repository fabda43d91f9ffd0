"""The loaded ranges of the ledger: one entry per range, appended by the transaction that loads it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import any_of
from kafka_ingest.ledger.tables import BATCHES, naive_utc, of_partition
from kafka_ingest.slices import OffsetRange, RangeCounts, TopicPartition


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
    c = BATCHES.c
    newer = [
        sa.and_(
            of_partition(BATCHES, stream, each.topic_partition),
            c.revision > revisions[each.topic_partition],
            c.start_offset < each.end,
            c.end_offset > each.start,
        )
        for each in ranges
    ]
    return any(connection.execute(sa.select(c.id).where(where).limit(1)).first() for where in any_of(newer))


def _timestamp(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)  # noqa: DTZ001
