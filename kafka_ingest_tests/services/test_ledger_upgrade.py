"""A database of the first version of the ledger, with all that its runs have left there: a new run goes on in it exactly."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from sqlalchemy.orm import Mapped

from kafka_ingest.backfill.dry_run import dry_run
from kafka_ingest.checks.trace import trace
from kafka_ingest.cli.doctor.database import check_database
from kafka_ingest.cli.status_state import gather
from kafka_ingest.engine.compaction import compact_ledger
from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.ledger.version import VERSION
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.support.catch_up import catch_up, opened, query

pytestmark = pytest.mark.services

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


class World:
    """A topic that an old version has read, and its database."""

    def __init__(self, kafka: LocalKafka, database: LocalDatabase) -> None:
        self.kafka = kafka
        self.topic = make_topic(kafka, partitions=2)
        self.settings = self._settings(fresh_database(database))
        self.stream = Stream(
            name="upgraded",
            topics=self.topic,
            routes={"event": OldEvent, "account": OldAccount},
            route_by=RouteByField("type"),
            group_id=f"group-{self.topic}",
        )
        self.sink = open_sink(self.settings.database_url)
        self.metadata = KafkaMetadata(self.settings)
        send(kafka, self.topic, BEFORE)
        topic_id = self.metadata.topics(self.stream).topic_ids[self.topic]
        with self.sink.engine.begin() as connection:
            binary = BINARY["mariadb" if getattr(connection.dialect, "is_mariadb", False) else "mysql"]
            for statement in TABLES.format(binary=binary).split(";\n"):
                connection.exec_driver_sql(statement)
            fill_as_the_old_version_did(connection, self.topic, topic_id)
        self.fresh = self._settings(fresh_database(database))
        """Of a database that only the new version has seen."""

    def _settings(self, url: str) -> Settings:
        return Settings.from_environment(
            {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": url}
        )

    def query(self, sql: str) -> list[Any]:
        return query(self.settings, sql)

    def rows(self, settings: Settings | None = None) -> dict[str, list[Any]]:
        """All that the tables hold, but for the order."""
        place = "_kafka_topic, _kafka_partition, _kafka_offset, _kafka_timestamp"
        wanted = {"old_event": "name", "old_account": "id, balance", "old_account_tombstones": "id"}
        return {
            table: query(settings or self.settings, f"SELECT {names}, {place} FROM {table} ORDER BY {names}, {place}")
            for table, names in wanted.items()
        }

    def balances(self) -> dict[str, int]:
        return dict(self.query("SELECT id, balance FROM old_account"))

    def backfill(self, partition: int, start: int, end: int) -> None:
        with opened(self.stream, self.settings) as ingestion:
            batch = ingestion.plan([OffsetRange(self.topic, partition, start, end)], "backfill")
            ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "backfill")

    def close(self) -> None:
        self.sink.close()


@pytest.fixture
def world(kafka: LocalKafka, database: LocalDatabase) -> Iterator[World]:
    found = World(kafka, database)
    yield found
    found.close()


def test_a_run_goes_on_in_a_database_of_the_first_version_as_if_it_had_been_there_from_the_beginning(
    world: World,
) -> None:
    catch_up(world.stream, world.fresh)
    send(world.kafka, world.topic, AFTER)
    catch_up(world.stream, world.fresh)
    catch_up(world.stream, world.settings)
    expected = world.rows(world.fresh)
    # The dead letter's row is the one thing that the fresh database has and this one does not, yet.
    letter = [row for row in expected["old_account"] if row[0] == "f"]
    assert len(letter) == 1
    assert world.rows() == expected | {"old_account": [row for row in expected["old_account"] if row[0] != "f"]}
    fences = (
        "SELECT kafka_partition, next_offset, loaded_to, kafka_order, topic_id FROM kafka_ingest_offsets ORDER BY 1"
    )
    assert world.query(fences) == query(world.fresh, fences)
    assert [row[:4] for row in world.query(fences)] == [(0, 11, 11, LONG_AGO + 55_000), (1, 5, 5, LONG_AGO + 60_000)]
    entries = (
        "SELECT kafka_partition, start_offset, end_offset, row_count, delete_count, dead_letter_count, order_start"
    )
    assert world.query(f"{entries} FROM kafka_ingest_batches ORDER BY id") == [
        (0, 0, 4, 3, 0, 1, None),
        (0, 4, 6, 1, 1, 0, None),
        (0, 6, 8, 2, 0, 0, None),
        (1, 0, 3, 3, 0, 0, None),
        (0, 8, 11, 2, 1, 0, LONG_AGO + 50_000),
        (1, 3, 5, 2, 0, 0, LONG_AGO + 60_000),
    ]
    orders = dict(world.query("SELECT id, _kafka_order FROM old_account"))
    assert orders == {
        "a": LONG_AGO + 50_000,
        "b": LONG_AGO + 60_000,
        "c": LONG_AGO + 60_000,
        "g": None,
        "x": None,
    }
    assert world.query("SELECT version FROM kafka_ingest_ledger") == [(VERSION,)]
    catch_up(world.stream, world.settings)
    assert world.query("SELECT COUNT(*) FROM kafka_ingest_batches") == [(6,)]


def test_a_dead_letter_of_the_first_version_is_replayed_once_and_leaves_newer_rows_alone(world: World) -> None:
    (before,) = world.query("SELECT COUNT(*) FROM old_account")
    plan = plan_replay(world.sink, world.stream, DeadLetterFilter(), run_id="again")
    (result,) = replay(world.sink, plan, run_id="again")
    assert [letter.outcome for letter in result.letters] == ["row"]
    assert world.query("SELECT balance, _kafka_offset, _kafka_order FROM old_account WHERE id = 'f'") == [
        (1, 2, LONG_AGO + 30_000)
    ]
    assert world.query("SELECT COUNT(*) FROM old_account") == [(before[0] + 1,)]
    assert plan_replay(world.sink, world.stream, DeadLetterFilter(), run_id="third").letters == 0
    # Of one that an older message made, whose key has a newer row since.
    with world.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE kafka_ingest_dead_letters SET replay_outcome = NULL, kafka_offset = 1, kafka_timestamp = "
            f"'{stamp(20)}', message_key = '\"a\"', message_value = '{json.dumps(account('a', 1))}'"
        )
    plan = plan_replay(world.sink, world.stream, DeadLetterFilter(), run_id="fourth")
    assert [letter.outcome for each in replay(world.sink, plan, run_id="fourth") for letter in each.letters] == ["row"]
    assert world.balances()["a"] == 2


def test_older_messages_loaded_again_after_the_upgrade_replace_no_row_of_the_first_version(world: World) -> None:
    before = world.rows()
    for start in range(5):
        world.backfill(0, start, start + 1)
    world.backfill(0, 6, 7)  # of the key g: its row is of the next offset, with an earlier timestamp
    after = world.rows()
    assert [row for row in after["old_account"] if row[0] != "f"] == before["old_account"]
    assert after == before | {"old_account": after["old_account"]}


def test_a_backfill_of_all_gives_what_a_fresh_database_has(world: World) -> None:
    catch_up(world.stream, world.fresh)
    send(world.kafka, world.topic, AFTER)
    catch_up(world.stream, world.fresh)
    world.backfill(0, 0, 8)
    world.backfill(1, 0, 3)
    catch_up(world.stream, world.settings)
    assert world.rows() == world.rows(world.fresh)
    orders = "SELECT id, _kafka_order FROM {} ORDER BY id"
    for table in ("old_account", "old_account_tombstones"):
        assert world.query(orders.format(table)) == query(world.fresh, orders.format(table))
    assert world.query("SELECT COUNT(*) FROM kafka_ingest_dead_letters") == [(0,)]


def test_an_upgrade_that_is_interrupted_anywhere_is_done_again(world: World) -> None:
    """Each statement of data definition commits by itself: the next run finds any part of the way."""

    class Crash(BaseException):
        """The process dies here."""

    sink = open_sink(world.settings.database_url)
    left, stopped_at = 0, ""
    stops: list[str] = []

    def stop(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        nonlocal left, stopped_at
        assert len(stops) < 200
        if statement.split(None, 1)[0] in ("ALTER", "CREATE", "UPDATE", "INSERT", "DELETE"):
            if not left:
                stopped_at = statement
                raise Crash
            left -= 1

    sa.event.listen(sink.engine, "before_cursor_execute", stop)
    allowed = 0
    while True:
        left = allowed
        try:
            prepare_tables(sink, world.stream)
        except Crash:
            # What is one transaction begins again: it has to get further than the last time.
            allowed = allowed + 1 if stopped_at in stops else 1
            stops.append(stopped_at)
        else:
            break
    sink.close()
    assert len(set(stops)) > 12
    assert world.query("SELECT kafka_partition, loaded_to, kafka_order FROM kafka_ingest_offsets ORDER BY 1") == [
        (0, 8, LONG_AGO + 50_000),
        (1, 3, LONG_AGO + 60_000),
    ]
    before_backfill = world.rows()
    for start in (0, 1, 3, 4, 5, 6):
        world.backfill(0, start, start + 1)
    assert world.rows() == before_backfill


def test_what_only_looks_reads_a_database_of_the_first_version_and_changes_nothing(world: World) -> None:
    def whole() -> list[Any]:
        return [world.query(f"SHOW CREATE TABLE {name}") for (name,) in world.query("SHOW TABLES")]

    before = whole()
    now = dt.datetime.now(dt.timezone.utc)
    status = gather(world.stream, world.metadata, world.sink, world.settings, now=now)
    assert [(p.next_offset, p.lag) for p in status.partitions] == [(8, 0), (3, 0)]
    assert (status.dead_letters, status.loaded["live"].rows, status.last_run_id) == (1, 9, "old")
    assert [(t.table, t.rows) for t in status.tables] == [("old_event", 2), ("old_account", 5)]
    findings = {f.check: f for f in check_database(world.settings, [world.stream])}
    assert {check: f.detail for check, f in findings.items() if check.startswith(("ledger", "table"))} == {
        "ledger": "of an older version: the next run brings it up to date",
        "table old_event": "its 5 columns hold what the model declares",
        "table old_account": "the next run adds columns",
        "table old_account_tombstones": "the next run adds columns",
    }
    with world.sink.engine.connect() as connection:
        assert [letter.kafka_offset for letter in dead_letters.newest(connection, sa.true(), 10)] == [2]
    (found,) = trace(world.sink, world.stream, world.stream.targets[1], "a")
    assert (found.position.offset, [load.run_id for load in found.loads]) == (5, ["old"])
    assert not compact_ledger(world.sink, world.stream, before=now, seconds=10).entries_removed
    plan = plan_replay(world.sink, world.stream, DeadLetterFilter(), run_id="look")
    assert plan.letters == 1
    with pytest.raises(
        SchemaMismatch, match="of an older version: the next run of a stream, or a replay, brings it up"
    ):
        list(replay(world.sink, plan, run_id="look", dry_run=True))
    ranges = [OffsetRange(world.topic, 0, 0, 8), OffsetRange(world.topic, 1, 0, 3)]
    forecast = dry_run(world.stream, ranges, metadata=world.metadata, sink=world.sink, settings=world.settings)
    assert (forecast.failure, forecast.dead_letters_now) == (None, 1)
    assert {name: (t.added, t.removed) for name, t in forecast.tables.items()} == {
        "old_event": (0, 0),
        "old_account": (1, 0),
    }
    assert whole() == before
