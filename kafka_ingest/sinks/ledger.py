"""The ledger: three tables in the target database, written in the same transaction as the rows.

kafka_ingest_offsets        where each Kafka partition stands, and in which log; locked FOR UPDATE by a loader
kafka_ingest_batches        every range ever loaded, append-only
kafka_ingest_dead_letters   messages that could not become rows, with their original bytes

A fourth table, `kafka_ingest_ledger`, says which version of these tables stands here (sinks/ledger_version.py).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.errors import AccountingError, SchemaMismatch
from kafka_ingest.records import NO_ORDER, LeaderEpoch, OffsetRange, RangeCounts, TopicPartition
from kafka_ingest.sinks.ranges import OR_TERMS, any_of, parts
from kafka_ingest.streams.model import MICROSECONDS, TOPIC_TYPE

METADATA = sa.MetaData()
_OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}
_STREAM = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(charset="utf8mb4"), "mysql", "mariadb")
_BYTES = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
# SQLite counts up only a column that is INTEGER PRIMARY KEY to the letter.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

OFFSETS = sa.Table(
    "kafka_ingest_offsets",
    METADATA,
    sa.Column("stream", _STREAM, primary_key=True),
    sa.Column("topic", TOPIC_TYPE, primary_key=True),
    sa.Column("kafka_partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False, comment="first offset not yet loaded"),
    sa.Column("topic_id", sa.String(64), comment="tells a recreated topic from the one that was read"),
    sa.Column(
        "leader_epoch", sa.Integer, comment="of the last message loaded: tells a log that was cut and grew again"
    ),
    sa.Column("leader_epoch_offset", sa.BigInteger, comment="of that message; markers may lie behind it"),
    sa.Column("kafka_order", sa.BigInteger, comment="largest message timestamp below next_offset, ms; -1: none"),
    sa.Column(
        "loaded_to", sa.BigInteger, comment="highest end of a loaded range; a backfill may be ahead of next_offset"
    ),
    sa.Column(
        "revision", sa.BigInteger, nullable=False, server_default="0", comment="loads so far, of any kind, live or not"
    ),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("updated_at", MICROSECONDS, nullable=False, comment="UTC"),
    **_OPTIONS,
)

BATCHES = sa.Table(
    "kafka_ingest_batches",
    METADATA,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("stream", _STREAM, nullable=False),
    sa.Column("topic", TOPIC_TYPE, nullable=False),
    sa.Column("kafka_partition", sa.Integer, nullable=False),
    sa.Column("start_offset", sa.BigInteger, nullable=False),
    sa.Column("end_offset", sa.BigInteger, nullable=False, comment="exclusive"),
    sa.Column("kind", sa.String(16), nullable=False, comment="live, backfill, replay or lost"),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("delete_count", sa.Integer, nullable=False),
    sa.Column("dead_letter_count", sa.Integer, nullable=False),
    sa.Column("ignored_count", sa.Integer, nullable=False),
    sa.Column("absent_count", sa.BigInteger, nullable=False, comment="offsets without a message"),
    sa.Column("min_timestamp", MICROSECONDS, comment="Kafka timestamps of the range, UTC"),
    sa.Column("max_timestamp", MICROSECONDS),
    sa.Column("window_key", sa.String(32), comment="Dagster partition key of the first message"),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("loaded_at", MICROSECONDS, nullable=False, comment="UTC"),
    sa.Column("rows_by_table", _TEXT, comment="JSON: row_count by table; NULL in entries of older versions"),
    sa.Column("order_start", sa.BigInteger, comment="kafka_order below start_offset; NULL: not known"),
    sa.Column("revision", sa.BigInteger, comment="of kafka_ingest_offsets, as this entry was written"),
    sa.Index("kafka_ingest_batches_range", "stream", "topic", "kafka_partition", "start_offset"),
    sa.Index("kafka_ingest_batches_revision", "stream", "topic", "kafka_partition", "revision"),
    sa.Index("kafka_ingest_batches_run", "run_id"),
    **_OPTIONS,
)

DEAD_LETTERS = sa.Table(
    "kafka_ingest_dead_letters",
    METADATA,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("stream", _STREAM, nullable=False),
    sa.Column("topic", TOPIC_TYPE, nullable=False),
    sa.Column("kafka_partition", sa.Integer, nullable=False),
    sa.Column("kafka_offset", sa.BigInteger, nullable=False),
    sa.Column("kafka_timestamp", MICROSECONDS, comment="UTC"),
    sa.Column("kafka_order", sa.BigInteger, comment="the message's order, ms; NULL in entries of older versions"),
    sa.Column("route", sa.String(100)),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("error", _TEXT, nullable=False),
    sa.Column("message_key", _BYTES, comment="original bytes"),
    sa.Column("message_value", _BYTES, comment="original bytes; NULL for a tombstone"),
    sa.Column("message_headers", _TEXT, comment="JSON: [[name, value in base64 or null], …]"),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("created_at", MICROSECONDS, nullable=False, comment="UTC"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="how often it was replayed"),
    sa.Column("replayed_at", MICROSECONDS, comment="last replay, UTC"),
    sa.Column("replay_run_id", sa.String(64)),
    sa.Column("replay_outcome", sa.String(16), comment="row, delete, ignored; dead_letter or NULL: it still waits"),
    sa.Column("published_at", MICROSECONDS, comment="to the dead-letter topic, UTC"),
    sa.Column("publish_error", _TEXT, comment="why the dead-letter topic does not take it"),
    sa.UniqueConstraint(
        "stream", "topic", "kafka_partition", "kafka_offset", name="kafka_ingest_dead_letters_position"
    ),
    sa.Index("kafka_ingest_dead_letters_outcome", "stream", "replay_outcome"),
    sa.Index("kafka_ingest_dead_letters_published", "stream", "published_at"),
    **_OPTIONS,
)

LEDGER = sa.Table(
    "kafka_ingest_ledger",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("since", MICROSECONDS, nullable=False, comment="UTC"),
    **_OPTIONS,
)

# What the first version had. The others are not read where only the position is asked for: a sensor or a `status` may look
# before a run has brought the ledger up to date.
_FIRST_COLUMNS = tuple(OFFSETS.c[n] for n in ("topic", "kafka_partition", "next_offset", "topic_id", "updated_at"))


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """Where one Kafka partition of a stream stands."""

    next_offset: int
    topic_id: str | None
    updated_at: dt.datetime
    leader_epoch: LeaderEpoch | None = None
    """Of the last message loaded; None where the broker says none, or an older version of this package loaded it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence(LedgerPosition):
    """All that a load compares before it writes."""

    order: int
    """Order (`RawSlice.orders`) of the last message below `next_offset`."""
    loaded_to: int
    """Highest end of a range loaded, by a backfill too: at least `next_offset`."""
    revision: int
    """Grows with each transaction that loads from the partition."""


def positions(
    connection: sa.Connection, stream: str, *, is_up_to_date: bool = True
) -> dict[TopicPartition, LedgerPosition]:
    """Where the stream's partitions stand. Nothing is locked. is_up_to_date: whether the ledger has all columns of this version;
    else the leader epochs are not known."""
    columns = OFFSETS.columns if is_up_to_date else _FIRST_COLUMNS
    rows = connection.execute(sa.select(*columns).where(OFFSETS.c.stream == stream))
    return {
        TopicPartition(r.topic, r.kafka_partition): LedgerPosition(
            r.next_offset, r.topic_id, aware_utc(r.updated_at), _leader_epoch(r) if is_up_to_date else None
        )
        for r in rows
    }


def fences(
    connection: sa.Connection, stream: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Fence]:
    """The partitions' fences as they stand at this moment: a proposal to compare with what `lock` gives."""
    mine = any_of([of_partition(OFFSETS, stream, tp) for tp in sorted(partitions)])
    return _fences(row for some in mine for row in connection.execute(sa.select(OFFSETS).where(some)))


def lock(
    connection: sa.Connection, stream: str, partitions: Collection[TopicPartition], *, waits: bool = True
) -> dict[TopicPartition, Fence]:
    """The partitions' fences, their rows locked until the transaction ends. waits: for locks that another transaction holds;
    else they are the driver's error (`Sink.is_locked`).

    Rows are locked in key order, so that two loaders never wait for each other in a circle.
    """
    return _fences(
        row for some in parts(sorted(partitions), OR_TERMS) for row in connection.execute(_locking(stream, some, waits))
    )


def _fences(rows: Iterable[Any]) -> dict[TopicPartition, Fence]:
    found = {}
    for row in rows:
        tp = TopicPartition(row.topic, row.kafka_partition)
        if row.kafka_order is None or row.loaded_to is None or row.loaded_to < row.next_offset:
            raise SchemaMismatch(
                f"the ledger's entry of {tp} in {OFFSETS.name} was written by an older version of kafka_ingest after this one "
                f"had brought the ledger up to date. Stop the older one, then run `DELETE FROM {LEDGER.name}`: the next run "
                "brings it up to date once more."
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


def _leader_epoch(row: Any) -> LeaderEpoch | None:
    if row.leader_epoch is None or row.leader_epoch_offset is None:
        return None
    return LeaderEpoch(row.leader_epoch, row.leader_epoch_offset)


def _locking(stream: str, partitions: Iterable[TopicPartition], waits: bool) -> sa.CompoundSelect[Any]:
    """Locks these rows, in order, and no other: each is looked up by its whole key.

    Given a list of keys MariaDB may scan all partitions of the stream, and then waits for those another loader holds.
    """
    rows = (sa.select(OFFSETS).where(of_partition(OFFSETS, stream, tp)) for tp in partitions)
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
    known = positions(connection, stream)
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
        connection.execute(_insert_ignore(connection, OFFSETS), rows)


def _insert_ignore(connection: sa.Connection, table: sa.Table) -> sa.Insert:
    """INSERT that leaves an existing row alone: another run may pin the same partition at the same moment."""
    prefix = "OR IGNORE" if connection.dialect.name == "sqlite" else "IGNORE"
    return sa.insert(table).prefix_with(prefix)


def append_batches(
    connection: sa.Connection,
    stream: str,
    counts: Iterable[RangeCounts],
    *,
    window_key: str | None,
    run_id: str,
    now: dt.datetime,
    revisions: Mapping[TopicPartition, int],
) -> None:
    """One row per range. Empty ranges leave no trace. revisions: those that `advance` writes in the same transaction."""
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


def of_partition(table: sa.Table, stream: str, tp: TopicPartition) -> sa.ColumnElement[bool]:
    """Rows of one of the ledger's tables that concern a Kafka partition of a stream."""
    return sa.and_(table.c.stream == stream, table.c.topic == tp.topic, table.c.kafka_partition == tp.partition)


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


def advance(
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
                "committed. This is a bug in kafka_ingest; please report it."
            )
    for some in parts(sorted(moves.items()), OR_TERMS):
        mine = {tp: of_partition(OFFSETS, stream, tp) for tp, _ in some}
        held = [sa.and_(mine[tp], OFFSETS.c.next_offset == move.fence.next_offset) for tp, move in some]
        moved = [mine[tp] for tp, move in some if move.next_offset > move.fence.next_offset]

        def each(value: Callable[[Advance], int | None], some: Any = some, mine: Any = mine) -> sa.Case[Any]:
            return sa.case(*((mine[tp], sa.literal(value(move), sa.BigInteger)) for tp, move in some))

        values: dict[str, Any] = {
            "next_offset": each(lambda move: move.next_offset),
            "loaded_to": each(lambda move: move.loaded_to),
            "kafka_order": each(lambda move: move.order),
            "leader_epoch": each(lambda move: None if move.leader_epoch is None else move.leader_epoch.epoch),
            "leader_epoch_offset": each(lambda move: None if move.leader_epoch is None else move.leader_epoch.offset),
            "revision": OFFSETS.c.revision + 1,
        }
        if moved:
            for column, value in ((OFFSETS.c.run_id, run_id), (OFFSETS.c.updated_at, naive_utc(now))):
                values[column.name] = sa.case((sa.or_(*moved), sa.literal(value, column.type)), else_=column)
        changed = connection.execute(sa.update(OFFSETS).where(sa.or_(*held)).values(**values)).rowcount
        if changed != len(some):
            raise AccountingError(
                f"stream {stream}: {len(some) - changed} of {len(some)} positions are not where they were locked; nothing was "
                "committed. This is a bug in kafka_ingest; please report it."
            )


def naive_utc(instant: dt.datetime) -> dt.datetime:
    """An aware instant as the naive UTC value our DATETIME columns hold."""
    return instant.astimezone(dt.timezone.utc).replace(tzinfo=None)


def aware_utc(stored: dt.datetime) -> dt.datetime:
    """The instant a DATETIME column of ours holds."""
    return stored.replace(tzinfo=dt.timezone.utc)


def _timestamp(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)  # noqa: DTZ001
