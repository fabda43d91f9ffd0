"""The ledger: three tables in the target database, written in the same transaction as the rows.

kafka_ingest_offsets        where each Kafka partition stands; locked FOR UPDATE by a loader
kafka_ingest_batches        every range ever loaded, append-only
kafka_ingest_dead_letters   messages that could not become rows, with their original bytes
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.records import BatchKind, LeaderEpoch, OffsetRange, RangeCounts, TopicPartition
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
    sa.Index("kafka_ingest_batches_range", "stream", "topic", "kafka_partition", "start_offset"),
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


@dataclass(frozen=True, slots=True)
class LedgerPosition:
    """Where one Kafka partition of a stream stands."""

    next_offset: int
    topic_id: str | None
    updated_at: dt.datetime
    leader_epoch: LeaderEpoch | None = None
    """Of the last message loaded; None where the broker says none, or an older version of this package loaded it."""


def create_ledger(connection: sa.Connection) -> None:
    """Make the three tables where they are missing."""
    METADATA.create_all(connection, checkfirst=True)


def positions(
    connection: sa.Connection,
    stream: str,
    *,
    lock: Collection[TopicPartition] | None = None,
    waits: bool = True,
) -> dict[TopicPartition, LedgerPosition]:
    """The stream's positions. With `lock`: only those partitions, their rows locked until the transaction ends. waits: for
    locks that another transaction holds; else they are the driver's error (`Sink.is_locked`).

    Rows are locked in key order, so that two loaders never wait for each other in a circle.
    """
    if lock is None:
        found = connection.execute(sa.select(OFFSETS).where(OFFSETS.c.stream == stream)).all()
    else:
        found = [
            row for some in parts(sorted(lock), OR_TERMS) for row in connection.execute(_locking(stream, some, waits))
        ]
    return {
        TopicPartition(row.topic, row.kafka_partition): LedgerPosition(
            row.next_offset, row.topic_id, aware_utc(row.updated_at), _leader_epoch(row)
        )
        for row in found
    }


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
) -> None:
    """Write the start of partitions the ledger does not know. A partition it knows keeps its position."""
    known = positions(connection, stream)
    rows = [
        {
            "stream": stream,
            "topic": tp.topic,
            "kafka_partition": tp.partition,
            "next_offset": start,
            "topic_id": topic_ids.get(tp.topic),
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
) -> None:
    """One row per range. Empty ranges leave no trace."""
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
        }
        for c in counts
        if c.range.size
    ]
    if rows:
        connection.execute(sa.insert(BATCHES), rows)


def of_partition(table: sa.Table, stream: str, tp: TopicPartition) -> sa.ColumnElement[bool]:
    """Rows of one of the ledger's tables that concern a Kafka partition of a stream."""
    return sa.and_(table.c.stream == stream, table.c.topic == tp.topic, table.c.kafka_partition == tp.partition)


def has_backfill(connection: sa.Connection, stream: str, ranges: Iterable[OffsetRange]) -> bool:
    """Whether a backfill ahead of the next offset has loaded from these ranges, or what follows them, already."""
    c = BATCHES.c
    ahead = [
        sa.and_(of_partition(BATCHES, stream, each.topic_partition), c.start_offset >= each.start, c.kind == "backfill")
        for each in ranges
    ]
    return any(connection.execute(sa.select(c.id).where(where).limit(1)).first() for where in any_of(ahead))


def advance(
    connection: sa.Connection,
    stream: str,
    next_offsets: Mapping[TopicPartition, int],
    *,
    run_id: str,
    now: dt.datetime,
    topic_ids: Mapping[str, str] | None = None,
    leader_epochs: Mapping[TopicPartition, LeaderEpoch] | None = None,
) -> None:
    """Move positions. The caller holds the rows' locks. `topic_ids` also records recreated topics' new ids.

    leader_epochs: of the last message loaded, where one was; a partition left out keeps the one it has.
    """
    for some in parts(sorted(next_offsets.items()), OR_TERMS):
        mine = {tp: of_partition(OFFSETS, stream, tp) for tp, _ in some}
        values: dict[str, Any] = {
            "next_offset": sa.case(*((mine[tp], next_offset) for tp, next_offset in some)),
            "run_id": run_id,
            "updated_at": naive_utc(now),
        }
        if topic_ids is not None:
            values["topic_id"] = sa.case(*((mine[tp], sa.literal(topic_ids.get(tp.topic), sa.String)) for tp in mine))
        epochs = [(mine[tp], epoch) for tp, epoch in (leader_epochs or {}).items() if tp in mine]
        if epochs:
            c = OFFSETS.c
            values["leader_epoch"] = sa.case(*((where, e.epoch) for where, e in epochs), else_=c.leader_epoch)
            values["leader_epoch_offset"] = sa.case(
                *((where, e.offset) for where, e in epochs), else_=c.leader_epoch_offset
            )
        connection.execute(sa.update(OFFSETS).where(sa.or_(*mine.values())).values(**values))


def naive_utc(instant: dt.datetime) -> dt.datetime:
    """An aware instant as the naive UTC value our DATETIME columns hold."""
    return instant.astimezone(dt.timezone.utc).replace(tzinfo=None)


def aware_utc(stored: dt.datetime) -> dt.datetime:
    """The instant a DATETIME column of ours holds."""
    return stored.replace(tzinfo=dt.timezone.utc)


def _timestamp(milliseconds: int | None) -> dt.datetime | None:
    return None if milliseconds is None else dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=milliseconds)  # noqa: DTZ001


def lost_counts(lost: Iterable[Any]) -> list[RangeCounts]:
    """Ledger entries for ranges Kafka deleted before they were loaded: every offset is absent."""
    kind: BatchKind = "lost"
    return [RangeCounts(r, kind, 0, 0, 0, 0, r.size, None, None) for r in lost]
