"""Where each Kafka partition of a stream stands: read, locked, and moved on by the load that holds the lock."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from kafka_ingest.errors import AccountingError, SchemaMismatch
from kafka_ingest.ledger.range_sql import KEPT_STATEMENTS, in_terms, partition_parameters, partition_terms
from kafka_ingest.ledger.tables import LEDGER, OFFSETS, aware_utc, naive_utc
from kafka_ingest.slices import NO_ORDER, LeaderEpoch, TopicPartition
from kafka_ingest.type_names import SqlRow, SqlUnion

# What the first version had. The others are not read where only the position is asked for: a sensor or a `status` may look
# before a run has brought the ledger up to date.
_FIRST_COLUMNS = tuple(OFFSETS.c[n] for n in ("topic", "kafka_partition", "next_offset", "topic_id", "updated_at"))
_OF_STREAM = OFFSETS.c.stream == sa.bindparam("of_stream", type_=OFFSETS.c.stream.type)
# The row stays: it has the ledger's id.
_ONCE_MORE = f"UPDATE {LEDGER.name} SET version = 1"


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """Where one Kafka partition of a stream stands."""

    next_offset: int
    topic_id: str | None
    updated_at: dt.datetime
    leader_epoch: LeaderEpoch | None = None
    """Of the last message loaded; None where the broker says none, or an older version of this package loaded it."""
    order: int = NO_ORDER
    """Order (`RawSlice.orders`) of the last message below `next_offset`; NO_ORDER too where an older version loaded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence(LedgerPosition):
    """All that a load compares before it writes."""

    loaded_to: int
    """Highest end of a range loaded, by a backfill too: at least `next_offset`."""
    revision: int
    """Grows with each transaction that loads from the partition."""


def ledger_positions(
    connection: sa.Connection, stream: str, *, is_up_to_date: bool = True
) -> dict[TopicPartition, LedgerPosition]:
    """Where the stream's partitions stand. Nothing is locked. is_up_to_date: whether the ledger has all columns of this version;
    else leader epochs and orders are not known."""
    columns = OFFSETS.columns if is_up_to_date else _FIRST_COLUMNS
    rows = connection.execute(sa.select(*columns).where(OFFSETS.c.stream == stream))
    return {
        TopicPartition(r.topic, r.kafka_partition): LedgerPosition(
            r.next_offset,
            r.topic_id,
            aware_utc(r.updated_at),
            _leader_epoch(r) if is_up_to_date else None,
            NO_ORDER if not is_up_to_date or r.kafka_order is None else r.kafka_order,
        )
        for r in rows
    }


def ledger_fences(
    connection: sa.Connection, stream: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Fence]:
    """The partitions' fences as they stand at this moment: a proposal to compare with what `lock_fences` gives."""
    return _fences(
        row
        for some in in_terms(sorted(partitions))
        for row in connection.execute(_looking(len(some)), partition_parameters(stream, some))
    )


@lru_cache(KEPT_STATEMENTS)
def _looking(count: int) -> sa.Select[Any]:
    return sa.select(OFFSETS).where(_OF_STREAM, sa.or_(*partition_terms(OFFSETS, count)))


def lock_fences(
    connection: sa.Connection, stream: str, partitions: Collection[TopicPartition], *, waits: bool = True
) -> dict[TopicPartition, Fence]:
    """The partitions' fences, their rows locked until the transaction ends. waits: for locks that another transaction holds;
    else they are the driver's error (`Sink.is_locked`).

    Rows are locked in key order, so that two loaders never wait for each other in a circle.
    """
    return _fences(
        row
        for some in in_terms(sorted(partitions))
        for row in connection.execute(_locking(len(some), waits), partition_parameters(stream, some))
    )


def _fences(rows: Iterable[SqlRow]) -> dict[TopicPartition, Fence]:
    found = {}
    for row in rows:
        tp = TopicPartition(row.topic, row.kafka_partition)
        if row.kafka_order is None or row.loaded_to is None or row.loaded_to < row.next_offset:
            raise SchemaMismatch(
                f"the ledger's entry of {tp} in {OFFSETS.name} was written by an older version of kafka_ingest after this one "
                f"had brought the ledger up to date. Stop the older one, then run `{_ONCE_MORE}`: the next run brings it up to "
                "date once more.",
                tables=(OFFSETS.name,),
                statements=(_ONCE_MORE,),
            )
        found[tp] = Fence(
            next_offset=row.next_offset,
            topic_id=row.topic_id,
            updated_at=aware_utc(row.updated_at),
            leader_epoch=_leader_epoch(row),
            order=row.kafka_order,
            loaded_to=row.loaded_to,
            revision=row.revision,
        )
    return found


def _leader_epoch(row: SqlRow) -> LeaderEpoch | None:
    if row.leader_epoch is None or row.leader_epoch_offset is None:
        return None
    return LeaderEpoch(row.leader_epoch, row.leader_epoch_offset)


@lru_cache(KEPT_STATEMENTS)
def _locking(count: int, waits: bool) -> SqlUnion:
    """Locks these rows, in order, and no other: each is looked up by its whole key.

    Given a list of keys MariaDB may scan all partitions of the stream, and then waits for those another loader holds.
    """
    rows = (sa.select(OFFSETS).where(_OF_STREAM, mine) for mine in partition_terms(OFFSETS, count))
    each = (row.with_for_update(nowait=not waits) for row in rows)
    return sa.union_all(*(sa.select(one.subquery()) for one in each))


def pin_positions(
    connection: sa.Connection,
    stream: str,
    starts: Mapping[TopicPartition, int],
    topic_ids: Mapping[str, str],
    *,
    run_id: str,
    now: dt.datetime,
    orders: Mapping[TopicPartition, int] | None = None,
) -> None:
    """Write the start of partitions the ledger does not know. A partition it knows keeps its position.

    orders: of the last message below the start (`RawSlice.orders`); NO_ORDER where left out, as where the log begins.
    """
    known = ledger_positions(connection, stream)
    rows = [
        {
            "stream": stream,
            "topic": tp.topic,
            "kafka_partition": tp.partition,
            "next_offset": start,
            "topic_id": topic_ids.get(tp.topic),
            "kafka_order": (orders or {}).get(tp, NO_ORDER),
            "loaded_to": start,
            "run_id": run_id,
            "updated_at": naive_utc(now),
        }
        for tp, start in sorted(starts.items())
        if tp not in known
    ]
    if rows:
        _insert_missing(connection, rows)


def _insert_missing(connection: sa.Connection, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert the rows whose partition is not there: another run may pin the same one at the same moment, and its row stays."""
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(OFFSETS), rows)
    except sa.exc.IntegrityError:
        if len(rows) == 1:
            return
        for row in rows:
            _insert_missing(connection, [row])


@dataclass(frozen=True, slots=True)
class Advance:
    """What a transaction changes of one partition's position. `next_offset` stays where it is in a backfill below it."""

    fence: Fence
    """As it was locked."""
    next_offset: int
    loaded_to: int
    order: int
    leader_epoch: LeaderEpoch | None

    @classmethod
    def nowhere(cls, fence: Fence) -> Advance:
        """Only the revision is a new one."""
        return cls(fence, fence.next_offset, fence.loaded_to, fence.order, fence.leader_epoch)


def advance_positions(
    connection: sa.Connection, stream: str, moves: Mapping[TopicPartition, Advance], *, run_id: str, now: dt.datetime
) -> None:
    """Move positions, and count the revision up. The caller holds the rows' locks. Run and time are those of the last move: the
    sensor asks for it, to which a backfill or a replay is no progress of live runs.

    Raises AccountingError for a move that would go back, or of a row that is not as it was locked: both are bugs here.
    """
    for tp, move in moves.items():
        if move.next_offset < move.fence.next_offset:
            raise AccountingError(
                f"stream {stream}: {tp} would go back from {move.fence.next_offset} to {move.next_offset}; nothing was "
                "committed. This is a bug in kafka_ingest; please report it.",
                stream=stream,
            )
    for is_moved in (True, False):
        chosen = [(tp, m) for tp, m in sorted(moves.items()) if (m.next_offset > m.fence.next_offset) is is_moved]
        for some in in_terms(chosen):
            parameters = partition_parameters(stream, (tp for tp, _ in some))
            for number, (_, move) in enumerate(some):
                parameters |= {f"{name}_{number}": value for name, value in _values(move).items()}
            run = {"of_run_id": run_id, "of_updated_at": naive_utc(now)} if is_moved else {}
            changed = connection.execute(_advancing(len(some), is_moved), parameters | run).rowcount
            wanted = len({tp for tp, _ in some})
            if changed != wanted:
                raise AccountingError(
                    f"stream {stream}: {wanted - changed} of {wanted} positions are not where they were locked; nothing was "
                    "committed. This is a bug in kafka_ingest; please report it.",
                    stream=stream,
                )


def _values(move: Advance) -> dict[str, int | None]:
    """What `_advancing` writes of one partition, and where it finds its row."""
    return {
        "held_at": move.fence.next_offset,
        "next_offset": move.next_offset,
        "loaded_to": move.loaded_to,
        "kafka_order": move.order,
        "leader_epoch": None if move.leader_epoch is None else move.leader_epoch.epoch,
        "leader_epoch_offset": None if move.leader_epoch is None else move.leader_epoch.offset,
    }


@lru_cache(KEPT_STATEMENTS)
def _advancing(count: int, is_moved: bool) -> sa.Update:
    mine = partition_terms(OFFSETS, count)

    def parameter(name: str, number: int) -> sa.BindParameter[int]:
        return sa.bindparam(f"{name}_{number}", type_=sa.BigInteger())

    held = (sa.and_(each, OFFSETS.c.next_offset == parameter("held_at", number)) for number, each in enumerate(mine))
    values: dict[str, object] = {
        name: sa.case(*((each, parameter(name, number)) for number, each in enumerate(mine)))
        for name in ("next_offset", "loaded_to", "kafka_order", "leader_epoch", "leader_epoch_offset")
    }
    values["revision"] = OFFSETS.c.revision + 1
    if is_moved:
        values |= {n: sa.bindparam(f"of_{n}", type_=OFFSETS.c[n].type) for n in ("run_id", "updated_at")}
    return sa.update(OFFSETS).where(_OF_STREAM, sa.or_(*held)).values(**values)
