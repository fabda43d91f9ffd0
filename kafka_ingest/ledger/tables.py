"""The ledger: three tables in the target database, written in the same transaction as the rows.

kafka_ingest_offsets        where each Kafka partition stands, and in which log; locked FOR UPDATE by a loader
kafka_ingest_batches        every range ever loaded, append-only
kafka_ingest_dead_letters   messages that could not become rows, with their original bytes

`kafka_ingest_ledger` says in one row which version of these tables stands here, and which ledger it is (ledger/version.py).
`kafka_ingest_leases` says which runs are there (ledger/leases.py).
"""

from __future__ import annotations

import datetime as dt
from typing import TypedDict

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import MICROSECONDS, TOPIC_TYPE

METADATA = sa.MetaData()


class _Options(TypedDict):
    mysql_engine: str
    mysql_charset: str
    mariadb_engine: str


_OPTIONS: _Options = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mariadb_engine": "InnoDB"}
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
    sa.Column("rows_by_table", _TEXT, comment="JSON: rows by table; NULL in entries of older versions"),
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
    sa.Column("ledger_id", sa.String(36), comment="random, made once: tells this ledger from every other"),
    **_OPTIONS,
)

LEASES = sa.Table(
    "kafka_ingest_leases",
    METADATA,
    sa.Column("stream", _STREAM, primary_key=True),
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column(
        "shard", sa.String(16), nullable=False, server_default="0/1", comment="number/count; 0/1: the whole stream"
    ),
    sa.Column("host", sa.String(255), nullable=False, comment="where the run is"),
    sa.Column("acquired_at", MICROSECONDS, nullable=False, comment="UTC, by the database's clock, as are the others"),
    sa.Column("renewed_at", MICROSECONDS, nullable=False),
    sa.Column("revoked_at", MICROSECONDS, comment="from then on the run loads nothing more"),
    sa.Column("dagster", sa.String(64), comment="id of the Dagster storage that has the run's record"),
    **_OPTIONS,
)


def of_partition(table: sa.Table, stream: str, tp: TopicPartition) -> sa.ColumnElement[bool]:
    """Rows of one of the ledger's tables that concern a Kafka partition of a stream."""
    return sa.and_(table.c.stream == stream, table.c.topic == tp.topic, table.c.kafka_partition == tp.partition)


def naive_utc(instant: dt.datetime) -> dt.datetime:
    """An aware instant as the naive UTC value our DATETIME columns hold."""
    return instant.astimezone(dt.timezone.utc).replace(tzinfo=None)


def aware_utc(stored: dt.datetime) -> dt.datetime:
    """The instant a DATETIME column of ours holds."""
    return stored.replace(tzinfo=dt.timezone.utc)
