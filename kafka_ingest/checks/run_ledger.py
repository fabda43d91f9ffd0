"""Does the ledger add up? Every offset accounted for, live ranges without gap or overlap, as what is stored says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import sqlalchemy as sa

from kafka_ingest.ledger.tables import BATCHES, OFFSETS, of_partition
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.type_names import SqlRow

# Ranges of these kinds follow each other without gap or overlap.
TILING_KINDS = ("live", "lost")
# What is read of an entry: a run of ten minutes has thousands, and the others cost more than the query.
_PLACE = (BATCHES.c.topic, BATCHES.c.kafka_partition, BATCHES.c.start_offset, BATCHES.c.end_offset)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: what was looked at, and what is wrong (nothing where it passed)."""

    checked: int
    faults: tuple[str, ...]
    details: Mapping[str, int | float | str] = field(default_factory=dict)
    """What else a person may want to know, by name."""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def run_to_check(sink: Sink, stream: Stream, run_id: str) -> str:
    """The run itself where the ledger has entries of it, else the live run that loaded last; itself where there is none."""
    entry = sa.select(BATCHES.c.id).where(BATCHES.c.stream == stream.name)
    has_loaded = entry.where(BATCHES.c.run_id == OFFSETS.c.run_id).exists()
    last = sa.select(OFFSETS.c.run_id).where(OFFSETS.c.stream == stream.name, has_loaded)
    with sink.errors("looking for the run to check"), sink.engine.connect() as connection:
        if connection.execute(entry.where(BATCHES.c.run_id == run_id).limit(1)).first() is not None:
            return run_id
        newest = connection.execute(last.order_by(OFFSETS.c.updated_at.desc()).limit(1)).scalar()
        return run_id if newest is None else str(newest)


def check_accounting(sink: Sink, stream: Stream, run_id: str) -> CheckResult:
    """rows + deletes + dead letters + ignored + absent == offsets, for each range this run loaded."""
    with sink.errors("checking the ledger's accounts"), sink.engine.connect() as connection:
        return accounts(connection, sa.and_(BATCHES.c.stream == stream.name, BATCHES.c.run_id == run_id))


def accounts(connection: sa.Connection, which: sa.ColumnElement[bool], *, limit: int | None = None) -> CheckResult:
    """Whether these entries of the ledger add up; at most `limit` faults."""
    c = BATCHES.c
    accounted = c.row_count + c.delete_count + c.dead_letter_count + c.ignored_count + c.absent_count
    wrong = sa.select(*_PLACE, accounted.label("accounted")).where(which, accounted != c.end_offset - c.start_offset)
    total = connection.execute(sa.select(sa.func.count()).select_from(BATCHES).where(which)).scalar_one()
    rows = connection.execute(wrong.order_by(c.id).limit(limit)).all()
    return CheckResult(
        total,
        tuple(f"{place(r)}: {r.accounted} of {r.end_offset - r.start_offset} offsets are accounted for" for r in rows),
    )


def check_tiling(sink: Sink, stream: Stream, run_id: str) -> CheckResult:
    """Live ranges follow each other without gap or overlap, from the one before this run's first to the next offset."""
    with sink.errors("checking the ledger's ranges"), sink.engine.connect() as connection:
        spans = connection.execute(
            sa.select(
                BATCHES.c.topic,
                BATCHES.c.kafka_partition,
                sa.func.min(BATCHES.c.start_offset).label("low"),
            )
            .where(BATCHES.c.stream == stream.name, BATCHES.c.run_id == run_id, BATCHES.c.kind.in_(TILING_KINDS))
            .group_by(BATCHES.c.topic, BATCHES.c.kafka_partition)
        ).all()
        checked, faults = 0, []
        for span in spans:
            ranges = _ranges_around(connection, stream, span)
            checked += len(ranges)
            faults += list(_gaps(ranges))
            faults += list(_wrong_end(connection, stream, span, ranges))
    return CheckResult(checked, tuple(faults))


def _ranges_around(connection: sa.Connection, stream: Stream, span: SqlRow) -> list[SqlRow]:
    """The tiling ranges of a partition from `span.low` on, and the one before."""
    mine = sa.select(*_PLACE).where(
        of_partition(BATCHES, stream.name, TopicPartition(span.topic, span.kafka_partition)),
        BATCHES.c.kind.in_(TILING_KINDS),
    )
    start = BATCHES.c.start_offset
    before = connection.execute(mine.where(start < span.low).order_by(start.desc()).limit(1)).all()
    return [*before, *connection.execute(mine.where(start >= span.low).order_by(start)).all()]


def _gaps(ranges: Sequence[SqlRow]) -> Iterable[str]:
    for one, other in pairwise(ranges):
        if one.end_offset != other.start_offset:
            what = "gap" if one.end_offset < other.start_offset else "overlap"
            yield f"{place(one)} and {place(other)}: {what} of {abs(other.start_offset - one.end_offset)} offsets"


def _wrong_end(connection: sa.Connection, stream: Stream, span: SqlRow, ranges: Sequence[SqlRow]) -> Iterable[str]:
    next_offset = connection.execute(
        sa.select(OFFSETS.c.next_offset).where(
            of_partition(OFFSETS, stream.name, TopicPartition(span.topic, span.kafka_partition))
        )
    ).scalar()
    # A run that loads at this moment may have advanced both since the ranges were read; never backwards.
    if next_offset is None or next_offset < ranges[-1].end_offset:
        yield f"{place(ranges[-1])}: the ledger's next offset is {next_offset}"


def place(row: SqlRow) -> str:
    """`topic[partition]@[start,end)` of a ledger row."""
    return f"{row.topic}[{row.kafka_partition}]@[{row.start_offset},{row.end_offset})"
