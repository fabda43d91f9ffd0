"""A database of the first version of the ledger, with all that its runs have left there: a new run goes on in it exactly."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

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
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.services.first_version import (
    AFTER,
    BEFORE,
    BINARY,
    LONG_AGO,
    TABLES,
    OldAccount,
    OldEvent,
    account,
    fill_as_the_old_version_did,
    send,
    stamp,
)
from kafka_ingest_tests.support.catch_up import catch_up, opened, query

pytestmark = pytest.mark.services


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
