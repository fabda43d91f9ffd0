"""Do the append tables hold the rows the ledger says? Compared range by range, also after backfills and replays.

A table keyed by a business key cannot be compared so: messages for one key share a row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.checks.run_ledger import CheckResult
from kafka_ingest.ledger.tables import BATCHES, of_partition
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlRow, SqlSelect

# With every run at most about this many rows are counted: 0.1 s on MySQL. The daily audit counts them all.
COUNTED_ROWS = 100_000
# The audit counts this many offsets at a time, and reads this many ledger entries at a time.
_CHUNK_OFFSETS = 500_000
_PAGE_ENTRIES = 20_000


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry of one Kafka partition."""

    id: int
    start: int
    end: int
    replays: bool
    """Adds the rows of messages replayed to what stands in the range; other entries replace what stands in it."""
    rows: Mapping[str, int] | None
    """Rows by table; None in entries of versions that did not record them."""
    run_id: str


@dataclass(frozen=True, slots=True)
class Expected:
    """Rows a table should hold in offsets `[start, end)`: exactly `low`, or, where a later load covers a part of an
    earlier one, whose share of the rows nothing tells, something from `low` to `high`."""

    start: int
    end: int
    low: int
    high: int


def components(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries (in order of start) in groups that do not overlap each other."""
    group: list[Entry] = []
    end = 0
    for each in entries:
        if group and each.start >= end:
            yield group
            group = []
        end = max(end, each.end) if group else each.end
        group.append(each)
    if group:
        yield group


def expected_rows(group: Sequence[Entry], *names: str, is_exploded: bool = False) -> Expected | None:
    """What a table should hold in the range of overlapping entries: the last load of each offset counts, and the replays
    after it. None where an entry does not say its rows.

    names: what entries call the table. is_exploded: whether a message may be several rows.
    """
    low = high = 0
    covered: list[tuple[int, int]] = []
    for each in sorted(group, key=lambda e: e.id, reverse=True):
        size = each.end - each.start
        hidden = _overlap(covered, each.start, each.end)
        if hidden < size:
            if each.rows is None:
                return None
            rows = sum(each.rows.get(name, 0) for name in names)
            # Of messages that may be many rows, any share may be those of the part that is loaded anew.
            low += rows if not hidden else 0 if is_exploded else max(0, rows - hidden)
            high += rows if is_exploded else min(rows, size - hidden)
        if not each.replays:
            covered = _with(covered, each.start, each.end)
    return Expected(min(e.start for e in group), max(e.end for e in group), low, high)


def _overlap(covered: Sequence[tuple[int, int]], start: int, end: int) -> int:
    return sum(max(0, min(end, b) - max(start, a)) for a, b in covered)


def _with(covered: Sequence[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """The disjoint intervals with one more."""
    apart = [(a, b) for a, b in covered if b < start or end < a]
    joined = [(a, b) for a, b in covered if not (b < start or end < a)]
    return [*apart, (min([start, *(a for a, _ in joined)]), max([end, *(b for _, b in joined)]))]


def append_tables(stream: Stream) -> list[TargetTable]:
    """The tables that can be compared."""
    return [target for target in stream.targets if not target.is_upsert]


def check_run_rows(sink: Sink, stream: Stream, run_id: str, target: TargetTable) -> CheckResult:
    """The rows in the ranges this run loaded last, the newest ranges first, about `COUNTED_ROWS` of them.

    Ranges that another run has loaded since are left to that run's check.
    """
    c = BATCHES.c
    doing = f"counting the rows of table {target.label}"
    with sink.errors(doing), sink.snapshot() as connection:
        mine = connection.execute(
            sa.select(c.id, c.topic, c.kafka_partition, c.start_offset, c.end_offset, c.row_count, c.rows_by_table)
            .where(c.stream == stream.name, c.run_id == run_id, c.kind.in_(("live", "backfill")))
            .order_by(c.id.desc())
        ).all()
        budget = COUNTED_ROWS
        counted: list[SqlRow] = []
        for row in mine:
            rows_there = row.row_count if target.explode is None else _rows_of(row, target)
            if counted and rows_there > budget:
                break
            counted.append(row)
            budget -= rows_there
        spans: dict[TopicPartition, list[SqlRow]] = {}
        for row in counted:
            spans.setdefault(TopicPartition(row.topic, row.kafka_partition), []).append(row)
        checked, elsewhere, faults = 0, 0, []
        for tp, rows in sorted(spans.items()):
            entries = _entries_since(connection, stream, tp, rows)
            own = []
            for group in components(entries):
                if all(e.replays or e.run_id == run_id for e in group):
                    own.append(group)
                else:
                    elsewhere += len(group)
            checked += sum(len(g) for g in own)
            faults += list(_compare(connection, stream, target, tp, own))
    details = {"ranges_left_to_the_audit": len(mine) - len(counted), "ranges_loaded_again_since": elsewhere}
    return CheckResult(checked, tuple(faults), {k: v for k, v in details.items() if v})


def _rows_of(row: SqlRow, target: TargetTable) -> int:
    """An entry's rows of the table, which may be more than its messages."""
    return int(json.loads(row.rows_by_table or "{}").get(target.label, 0))


def _entries_since(
    connection: sa.Connection, stream: Stream, tp: TopicPartition, mine: Sequence[SqlRow]
) -> list[Entry]:
    """This run's counted entries, and what overlaps them and was written after the first of them."""
    c = BATCHES.c
    low, high = min(r.start_offset for r in mine), max(r.end_offset for r in mine)
    found = connection.execute(
        _entry_columns(stream, tp).where(
            c.id >= min(r.id for r in mine), c.start_offset < high, c.end_offset > low, c.kind != "lost"
        )
    ).all()
    ours = {r.id for r in mine}
    entries = sorted(map(_entry, found), key=lambda e: (e.start, e.id))
    return [e for e in entries if e.id in ours or _written_over(e, mine)]


def _written_over(entry: Entry, rows: Sequence[SqlRow]) -> bool:
    return any(r.id < entry.id and r.start_offset < entry.end and entry.start < r.end_offset for r in rows)


def audit_rows(
    sink: Sink, stream: Stream, target: TargetTable, *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> CheckResult:
    """The whole table against the whole ledger, Kafka partition by Kafka partition, for at most about `seconds`.

    Rows below a table's first offset of a partition are taken to have been deleted there on purpose.
    """
    c = BATCHES.c
    doing = f"counting the rows of table {target.label}"
    deadline = clock() + seconds
    checked, below, left, faults = 0, 0, 0, []
    with sink.errors(doing):
        with sink.engine.connect() as connection:
            partitions = connection.execute(
                sa.select(c.topic, c.kafka_partition).where(c.stream == stream.name).distinct()
            ).all()
        for number, (topic, partition) in enumerate(sorted((r.topic, r.kafka_partition) for r in partitions)):
            if clock() > deadline:
                left = len(partitions) - number
                break
            tp = TopicPartition(topic, partition)
            with sink.snapshot() as connection:  # one for each partition: none is held open for long
                first = _first_offset(connection, target.table, tp)
                groups = []
                for index, group in enumerate(components(_all_entries(connection, stream, tp))):
                    if _is_deleted_head(group, index, first):
                        below += len(group)
                    else:
                        groups.append(group)
                        checked += len(group)
                    if len(groups) >= _PAGE_ENTRIES:
                        faults += list(_compare(connection, stream, target, tp, groups))
                        groups = []
                faults += list(_compare(connection, stream, target, tp, groups))
    details = {"ranges_below_the_table's_first_row": below, "partitions_not_reached_in_time": left}
    return CheckResult(checked, tuple(faults), {k: v for k, v in details.items() if v})


def _is_deleted_head(group: Sequence[Entry], index: int, first: int | None) -> bool:
    """Whether a group lies below a table's first row, or around it with others below: its rows may be gone on purpose."""
    if first is None or group[0].start >= first:
        return False
    return index > 0 or max(e.end for e in group) <= first


def _all_entries(connection: sa.Connection, stream: Stream, tp: TopicPartition) -> Iterator[Entry]:
    """All entries of a partition in order of start, page by page."""
    c = BATCHES.c
    query = _entry_columns(stream, tp).where(c.kind != "lost").order_by(c.start_offset, c.id)
    page = connection.execute(query.limit(_PAGE_ENTRIES)).all()
    while page:
        yield from map(_entry, page)
        start, last = page[-1].start_offset, page[-1].id
        same = connection.execute(query.where(c.start_offset == start, c.id > last)).all()
        yield from map(_entry, same)
        page = connection.execute(query.where(c.start_offset > start).limit(_PAGE_ENTRIES)).all()


def _entry_columns(stream: Stream, tp: TopicPartition) -> SqlSelect:
    c = BATCHES.c
    return sa.select(c.id, c.start_offset, c.end_offset, c.kind, c.rows_by_table, c.run_id).where(
        of_partition(BATCHES, stream.name, tp)
    )


def _entry(row: SqlRow) -> Entry:
    rows = None if row.rows_by_table is None else json.loads(row.rows_by_table)
    return Entry(row.id, row.start_offset, row.end_offset, row.kind == "replay", rows, row.run_id)


def _names_in_ledger(stream: Stream, target: TargetTable) -> tuple[str, ...]:
    """What entries call a table: its label, and those of older versions its name without the schema."""
    is_only_one = [each.name for each in stream.targets].count(target.name) == 1
    return (target.label, target.name) if is_only_one and target.schema is not None else (target.label,)


def _compare(
    connection: sa.Connection,
    stream: Stream,
    target: TargetTable,
    tp: TopicPartition,
    groups: Iterable[Sequence[Entry]],
) -> Iterator[str]:
    """Counts adjoining ranges together, and one by one only where the sum is wrong."""
    names, is_exploded = _names_in_ledger(stream, target), target.explode is not None
    expected = (expected_rows(group, *names, is_exploded=is_exploded) for group in groups)
    for chunk in _chunks(each for each in expected if each is not None):
        low, high = sum(e.low for e in chunk), sum(e.high for e in chunk)
        if low <= _count(connection, target.table, tp, chunk[0].start, chunk[-1].end) <= high:
            continue
        for each in chunk:
            rows = _count(connection, target.table, tp, each.start, each.end)
            if not each.low <= rows <= each.high:
                said = f"{each.low}" if each.low == each.high else f"{each.low} to {each.high}"
                yield f"{tp}@[{each.start},{each.end}): table {target.label} has {rows} rows, the ledger says {said}"


def _chunks(found: Iterable[Expected]) -> Iterator[list[Expected]]:
    """Ranges that touch and whose rows are known exactly, together; every other range by itself."""
    chunk: list[Expected] = []
    for each in found:
        touches = bool(chunk) and chunk[-1].end == each.start and each.end - chunk[0].start <= _CHUNK_OFFSETS
        if chunk and not (touches and each.low == each.high and chunk[-1].low == chunk[-1].high):
            yield chunk
            chunk = []
        chunk.append(each)
    if chunk:
        yield chunk


def _count(connection: sa.Connection, table: sa.Table, tp: TopicPartition, start: int, end: int) -> int:
    position = table.c["_kafka_offset"]
    query = sa.select(sa.func.count()).select_from(table).where(*_of(table, tp), position >= start, position < end)
    return int(connection.execute(query).scalar_one())


def _first_offset(connection: sa.Connection, table: sa.Table, tp: TopicPartition) -> int | None:
    return connection.execute(sa.select(sa.func.min(table.c["_kafka_offset"])).where(*_of(table, tp))).scalar()


def _of(table: sa.Table, tp: TopicPartition) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return table.c["_kafka_topic"] == tp.topic, table.c["_kafka_partition"] == tp.partition
