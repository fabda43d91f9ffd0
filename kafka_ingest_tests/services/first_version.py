"""A database as the first version of the ledger left it: its tables, and the rows, dead letters and ledger of what was loaded."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any, ClassVar

import sqlalchemy as sa
from confluent_kafka import Producer
from sqlalchemy.orm import Mapped

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.streams.model import AppendModel, UpsertModel, field

LONG_AGO = 1_700_000_000_000
"""Milliseconds; the messages' timestamps are some seconds later."""


class OldEvent(AppendModel):
    __tablename__ = "old_event"

    name: Mapped[str] = field(sa.String(20))


class OldAccount(UpsertModel):
    __tablename__ = "old_account"

    delete_on_tombstone: ClassVar[bool] = True

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    balance: Mapped[int | None] = field(sa.Integer)


# As the version before the ledger had one has made them (SHOW CREATE TABLE), less what the server adds by itself.
TABLES = """
CREATE TABLE kafka_ingest_offsets (
  stream varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition int NOT NULL,
  next_offset bigint NOT NULL COMMENT 'first offset not yet loaded',
  topic_id varchar(64) DEFAULT NULL COMMENT 'tells a recreated topic from the one that was read',
  run_id varchar(64) NOT NULL,
  updated_at datetime(6) NOT NULL COMMENT 'UTC',
  PRIMARY KEY (stream, topic, kafka_partition)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE kafka_ingest_batches (
  id bigint NOT NULL AUTO_INCREMENT,
  stream varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition int NOT NULL,
  start_offset bigint NOT NULL,
  end_offset bigint NOT NULL COMMENT 'exclusive',
  kind varchar(16) NOT NULL COMMENT 'live, backfill, replay or lost',
  row_count int NOT NULL,
  delete_count int NOT NULL,
  dead_letter_count int NOT NULL,
  ignored_count int NOT NULL,
  absent_count bigint NOT NULL COMMENT 'offsets without a message',
  min_timestamp datetime(6) DEFAULT NULL COMMENT 'Kafka timestamps of the range, UTC',
  max_timestamp datetime(6) DEFAULT NULL,
  window_key varchar(32) DEFAULT NULL COMMENT 'Dagster partition key of the first message',
  run_id varchar(64) NOT NULL,
  loaded_at datetime(6) NOT NULL COMMENT 'UTC',
  rows_by_table mediumtext CHARACTER SET utf8mb4
    COMMENT 'JSON: row_count by table; NULL in entries of older versions',
  PRIMARY KEY (id),
  KEY kafka_ingest_batches_range (stream, topic, kafka_partition, start_offset),
  KEY kafka_ingest_batches_run (run_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE kafka_ingest_dead_letters (
  id bigint NOT NULL AUTO_INCREMENT,
  stream varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  kafka_partition int NOT NULL,
  kafka_offset bigint NOT NULL,
  kafka_timestamp datetime(6) DEFAULT NULL COMMENT 'UTC',
  route varchar(100) DEFAULT NULL,
  stage varchar(16) NOT NULL,
  error mediumtext CHARACTER SET utf8mb4 NOT NULL,
  message_key longblob COMMENT 'original bytes',
  message_value longblob COMMENT 'original bytes; NULL for a tombstone',
  message_headers mediumtext CHARACTER SET utf8mb4 COMMENT 'JSON: [[name, value in base64 or null], …]',
  run_id varchar(64) NOT NULL,
  created_at datetime(6) NOT NULL COMMENT 'UTC',
  attempts int NOT NULL DEFAULT '0' COMMENT 'how often it was replayed',
  replayed_at datetime(6) DEFAULT NULL COMMENT 'last replay, UTC',
  replay_run_id varchar(64) DEFAULT NULL,
  replay_outcome varchar(16) DEFAULT NULL COMMENT 'row, delete, ignored; dead_letter or NULL: it still waits',
  published_at datetime(6) DEFAULT NULL COMMENT 'to the dead-letter topic, UTC',
  publish_error mediumtext CHARACTER SET utf8mb4 COMMENT 'why the dead-letter topic does not take it',
  PRIMARY KEY (id),
  UNIQUE KEY kafka_ingest_dead_letters_position (stream, topic, kafka_partition, kafka_offset),
  KEY kafka_ingest_dead_letters_outcome (stream, replay_outcome),
  KEY kafka_ingest_dead_letters_published (stream, published_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE old_event (
  name varchar(20) NOT NULL,
  _kafka_topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  _kafka_partition int NOT NULL,
  _kafka_offset bigint NOT NULL,
  _kafka_timestamp datetime(6) DEFAULT NULL COMMENT 'Kafka message timestamp, UTC',
  PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE old_account (
  id varchar(8) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
  balance int DEFAULT NULL,
  _kafka_topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  _kafka_partition int NOT NULL,
  _kafka_offset bigint NOT NULL,
  _kafka_timestamp datetime(6) DEFAULT NULL COMMENT 'Kafka message timestamp, UTC',
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE old_account_tombstones (
  id varchar(8) CHARACTER SET utf8mb4 COLLATE {binary} NOT NULL,
  _kafka_topic varchar(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  _kafka_partition int NOT NULL,
  _kafka_offset bigint NOT NULL,
  _kafka_timestamp datetime(6) DEFAULT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""
BINARY = {"mysql": "utf8mb4_0900_bin", "mariadb": "utf8mb4_nopad_bin"}


def event(name: str) -> dict[str, Any]:
    return {"type": "event", "name": name}


def account(key: str, balance: int) -> dict[str, Any]:
    return {"type": "account", "id": key, "balance": balance}


Sent = tuple[int, str, dict[str, Any] | None]
"""Seconds after LONG_AGO, business key, value."""

# By Kafka partition, offsets from 0. What the old version has loaded:
BEFORE: dict[int, list[Sent]] = {
    0: [
        (10, "", event("e0")),
        (20, "a", account("a", 1)),
        (30, "f", account("f", 1)),  # a dead letter of code that had no route for it
        (25, "b", account("b", 1)),
        (40, "c", None),
        (35, "a", account("a", 2)),  # later in the partition, and its timestamp is too
        (50, "g", account("g", 1)),
        (15, "g", account("g", 2)),  # later in the partition, its timestamp is not
    ],
    1: [(50, "d", account("d", 1)), (15, "", event("e1")), (60, "x", account("x", 1))],
}
# And what comes after it:
AFTER: dict[int, list[Sent]] = {
    0: [(45, "a", account("a", 3)), (55, "d", None), (5, "", event("e2"))],
    1: [(30, "c", account("c", 9)), (1, "b", account("b", 5))],
}


def send(kafka: LocalKafka, topic: str, messages: dict[int, list[Sent]]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for partition, each in messages.items():
        for seconds, key, value in each:
            producer.produce(
                topic,
                None if value is None else json.dumps(value).encode(),
                json.dumps(key).encode(),
                partition=partition,
                timestamp=LONG_AGO + seconds * 1000,
            )
            assert producer.flush(30) == 0  # one batch each, so that the time index knows each


def stamp(seconds: int) -> dt.datetime:
    return dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=LONG_AGO + seconds * 1000)


def fill_as_the_old_version_did(connection: sa.Connection, topic: str, topic_id: str) -> None:
    """The rows, dead letters and ledger after BEFORE."""
    now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)

    def insert(table: str, rows: list[dict[str, Any]]) -> None:
        names = list(rows[0])
        values = ", ".join(f":{n}" for n in names)
        connection.execute(sa.text(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"), rows)

    def at(partition: int, offset: int) -> dict[str, Any]:
        seconds = BEFORE[partition][offset][0]
        place = {"_kafka_topic": topic, "_kafka_partition": partition, "_kafka_offset": offset}
        return place | {"_kafka_timestamp": stamp(seconds)}

    insert("old_event", [{"name": "e0", **at(0, 0)}, {"name": "e1", **at(1, 1)}])
    kept = [("a", 2, 0, 5), ("b", 1, 0, 3), ("d", 1, 1, 0), ("g", 2, 0, 7), ("x", 1, 1, 2)]
    insert("old_account", [{"id": key, "balance": n, **at(p, offset)} for key, n, p, offset in kept])
    insert("old_account_tombstones", [{"id": "c", **at(0, 4)}])
    seconds, key, value = BEFORE[0][2]
    own = {"stream": "upgraded", "topic": topic, "run_id": "old"}
    letter = {"kafka_partition": 0, "kafka_offset": 2, "kafka_timestamp": stamp(seconds), "route": "account"}
    letter |= {"stage": "route", "error": "no route for type 'account'", "message_key": json.dumps(key).encode()}
    insert(
        "kafka_ingest_dead_letters",
        [own | letter | {"message_value": json.dumps(value).encode(), "message_headers": "[]", "created_at": now}],
    )
    insert(
        "kafka_ingest_offsets",
        [
            own | {"kafka_partition": p, "next_offset": len(sent), "topic_id": topic_id, "updated_at": now}
            for p, sent in BEFORE.items()
        ],
    )
    batches = [(0, 0, 4, 3, 0, 1), (0, 4, 6, 1, 1, 0), (0, 6, 8, 2, 0, 0), (1, 0, 3, 3, 0, 0)]
    insert(
        "kafka_ingest_batches",
        [
            own
            | {"kafka_partition": p, "start_offset": start, "end_offset": end, "kind": "live", "loaded_at": now}
            | {"row_count": rows, "delete_count": deletes, "dead_letter_count": dead}
            | {"ignored_count": 0, "absent_count": 0, "window_key": "2023-11-14-22:00"}
            | {
                "min_timestamp": stamp(min(s for s, _, _ in BEFORE[p][start:end])),
                "max_timestamp": stamp(max(s for s, _, _ in BEFORE[p][start:end])),
            }
            for p, start, end, rows, deletes, dead in batches
        ],
    )
