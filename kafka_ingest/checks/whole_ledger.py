"""The whole ledger, looked through in the database: what the checks of every run prove piece by piece."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from kafka_ingest.checks.run_ledger import TILING_KINDS, CheckResult, accounts, place
from kafka_ingest.ledger.tables import BATCHES, OFFSETS
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream
from kafka_ingest.type_names import SqlRow

# A broken ledger may be broken everywhere; nobody reads more than this.
SHOWN_FAULTS = 100


def audit_accounting(sink: Sink, stream: Stream) -> CheckResult:
    """rows + deletes + dead letters + ignored + absent == offsets, for every range ever loaded."""
    with sink.errors("auditing the ledger's accounts"), sink.engine.connect() as connection:
        return accounts(connection, BATCHES.c.stream == stream.name, limit=SHOWN_FAULTS)


def audit_tiling(sink: Sink, stream: Stream) -> CheckResult:
    """Live ranges of every Kafka partition follow each other without gap or overlap, and end at the next offset."""
    c = BATCHES.c
    tiling = sa.and_(c.stream == stream.name, c.kind.in_(TILING_KINDS))
    before = sa.func.lag(c.end_offset).over(partition_by=(c.topic, c.kafka_partition), order_by=c.start_offset)
    ranges = (
        sa.select(c.topic, c.kafka_partition, c.start_offset, c.end_offset, before.label("before"))
        .where(tiling)
        .subquery()
    )
    ends = (
        sa.select(c.topic, c.kafka_partition, sa.func.max(c.end_offset).label("end_offset"), sa.func.count().label("n"))
        .where(tiling)
        .group_by(c.topic, c.kafka_partition)
        .subquery()
    )
    with sink.errors("auditing the ledger's ranges"), sink.snapshot() as connection:
        uneven = connection.execute(
            sa.select(ranges).where(ranges.c.before != ranges.c.start_offset).limit(SHOWN_FAULTS)
        ).all()
        partitions = connection.execute(
            sa.select(ends, OFFSETS.c.next_offset).outerjoin_from(
                ends,
                OFFSETS,
                sa.and_(
                    OFFSETS.c.stream == stream.name,
                    OFFSETS.c.topic == ends.c.topic,
                    OFFSETS.c.kafka_partition == ends.c.kafka_partition,
                ),
            )
        ).all()
    return CheckResult(sum(p.n for p in partitions), (*_uneven(uneven), *_ends(partitions)))


def _uneven(rows: Iterable[SqlRow]) -> Iterable[str]:
    for r in rows:
        what = "gap" if r.before < r.start_offset else "overlap"
        yield f"{place(r)}: {what} of {abs(r.start_offset - r.before)} offsets to the range before it, which ends at {r.before}"


def _ends(partitions: Iterable[SqlRow]) -> Iterable[str]:
    for p in partitions:
        if p.next_offset != p.end_offset:
            yield (
                f"{p.topic}[{p.kafka_partition}]: the last range ends at {p.end_offset}, "
                f"but the ledger's next offset is {p.next_offset}"
            )
