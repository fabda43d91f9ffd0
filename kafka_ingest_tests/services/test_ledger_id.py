"""A ledger has one id for ever, whoever makes it, upgrades it or looks at it, on every database."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.ledger import version
from kafka_ingest.ledger.version import VERSION, bring_up_to_date, read_ledger_id
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.testing.contract_stream import P0, STREAM, account, event, part
from kafka_ingest.testing.messages import raw_slice
from kafka_ingest.testing.target import NOW, SECONDS, Target
from kafka_ingest_tests.conftest import fresh_database

pytestmark = pytest.mark.services

# Long enough for a statement to end that does not wait for a lock.
A_WHILE_SECONDS = 1.0

SECOND_VERSION = {
    "mysql": "CREATE TABLE kafka_ingest_ledger (version integer NOT NULL, since datetime(6) NOT NULL COMMENT 'UTC', "
    "PRIMARY KEY (version)) ENGINE=InnoDB CHARSET=utf8mb4",
    "postgresql": "CREATE TABLE kafka_ingest_ledger (version integer NOT NULL, since timestamp(6) without time zone NOT NULL, "
    "PRIMARY KEY (version))",
    "sqlite": "CREATE TABLE kafka_ingest_ledger (version INTEGER NOT NULL, since DATETIME NOT NULL, PRIMARY KEY (version))",
}
"""As that version has made the table."""

SINCE_SECOND_VERSION = [
    ("kafka_ingest_offsets", "leader_epoch"),
    ("kafka_ingest_offsets", "leader_epoch_offset"),
    ("kafka_ingest_offsets", "kafka_order"),
    ("kafka_ingest_offsets", "loaded_to"),
    ("kafka_ingest_offsets", "revision"),
    ("kafka_ingest_batches", "order_start"),
    ("kafka_ingest_batches", "revision"),
    ("kafka_ingest_dead_letters", "kafka_order"),
    ("contract_account", "_kafka_order"),
    ("contract_account_tombstones", "_kafka_order"),
]


@pytest.fixture(params=["mysql", "mariadb", "postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """An empty database of each kind in turn."""
    if request.param == "sqlite":
        return sa.make_url(f"sqlite:///{tmp_path}/target.db")
    return sa.make_url(fresh_database(request.getfixturevalue(request.param)))


@pytest.fixture
def sink(url: sa.URL) -> Iterator[Sink]:
    with closing(open_sink(url)) as found:
        yield found


@pytest.fixture
def other(url: sa.URL) -> Iterator[Sink]:
    """The same database, as another process sees it."""
    with closing(open_sink(url)) as found:
        yield found


def make_old(sink: Sink, number: int) -> None:
    """The ledger as an older version of the package has left it."""
    with sink.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE kafka_ingest_ledger")
        if number == 1:
            table = "" if sink.kind in ("sqlite", "postgresql") else " ON kafka_ingest_batches"
            connection.exec_driver_sql(f"DROP INDEX kafka_ingest_batches_revision{table}")
            for name, column in SINCE_SECOND_VERSION:
                connection.exec_driver_sql(f"ALTER TABLE {name} DROP COLUMN {column}")
        else:
            connection.exec_driver_sql(SECOND_VERSION[sink.kind])
            connection.exec_driver_sql("INSERT INTO kafka_ingest_ledger VALUES (2, '2026-11-26 20:59:46.379000')")


def rows(sink: Sink) -> list[tuple[Any, ...]]:
    with sink.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql("SELECT version, ledger_id FROM kafka_ingest_ledger")]


def id_of(sink: Sink) -> str:
    """The ledger's id, which is a random UUID in the only row."""
    ((number, found),) = rows(sink)
    assert number == VERSION
    assert uuid.UUID(found).version == 4
    with sink.engine.connect() as connection:
        assert read_ledger_id(connection) == found
    return str(found)


def test_two_ledgers_have_different_ids_and_each_keeps_its_own(sink: Sink, tmp_path: Path) -> None:
    prepare_tables(sink, STREAM)
    made = id_of(sink)
    prepare_tables(sink, STREAM)
    assert id_of(sink) == made
    with closing(open_sink(sa.make_url(f"sqlite:///{tmp_path}/another.db"))) as another:
        prepare_tables(another, STREAM)
        assert id_of(another) != made


@pytest.mark.parametrize("number", [1, 2])
def test_an_older_ledger_gets_an_id_once_and_goes_on_where_it_stood(sink: Sink, number: int) -> None:
    target = Target(STREAM, sink)
    target.pin({P0: 0})
    target.load(raw_slice(part(0, event("a"), account("k", 1), event("b"))))
    target.load(raw_slice(part(0, event("x"), start=7)), "backfill")
    before = target.state(), target.batches()
    make_old(sink, number)
    with sink.engine.connect() as connection:
        assert read_ledger_id(connection) is None
    prepare_tables(sink, STREAM)
    made = id_of(sink)
    columns = "next_offset, loaded_to" if number == 1 else "next_offset, loaded_to, revision"
    assert target.all(f"SELECT {columns} FROM kafka_ingest_offsets WHERE kafka_partition = 0") == [
        (3, 8, 2)[: 1 + number]
    ]
    prepare_tables(sink, STREAM)
    assert id_of(sink) == made
    if number == 2:
        assert (target.state(), target.batches()) == before
    target.load(raw_slice(part(0, event("c"), start=3)))
    assert target.offsets()["contract[0]"] == 4


def test_the_id_outlives_later_upgrades(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_tables(sink, STREAM)
    made = id_of(sink)
    monkeypatch.setattr(version, "VERSION", VERSION + 1)
    prepare_tables(sink, STREAM)
    assert rows(sink) == [(VERSION + 1, made)]


@pytest.mark.parametrize("is_upgrade", [False, True], ids=["make", "upgrade"])
@pytest.mark.parametrize("first_commits", [True, False], ids=["commits", "rolls back"])
def test_the_second_of_two_makers_waits_for_the_first_and_takes_its_id(
    sink: Sink, other: Sink, is_upgrade: bool, first_commits: bool
) -> None:
    """Without the lock on data definition, which need not hold where a cluster of servers has several to write to."""
    only_the_version_is_left_to_write(sink, is_upgrade)

    def second() -> str | None:
        with other.engine.begin() as connection:
            bring_up_to_date(connection, now=NOW + dt.timedelta(seconds=1))
            return read_ledger_id(connection)

    with ThreadPoolExecutor(1) as pool, sink.engine.connect() as connection:
        bring_up_to_date(connection, now=NOW)
        first = read_ledger_id(connection)
        waiting = pool.submit(second)
        assert wait([waiting], A_WHILE_SECONDS).not_done
        if first_commits:
            connection.commit()
        else:
            connection.rollback()
        found = waiting.result(SECONDS)
    assert id_of(sink) == found
    assert (found == first) == first_commits


@pytest.mark.parametrize("is_upgrade", [False, True], ids=["make", "upgrade"])
def test_a_maker_who_looked_before_the_other_had_written_takes_the_others_id(
    sink: Sink, other: Sink, is_upgrade: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_the_version_is_left_to_write(sink, is_upgrade)
    with sink.engine.begin() as connection:
        bring_up_to_date(connection, now=NOW)
    made = rows(sink)
    monkeypatch.setattr(version, "check_version", lambda _connection: 2 if is_upgrade else 0)
    with other.engine.begin() as connection:
        bring_up_to_date(connection, now=NOW + dt.timedelta(seconds=1))
    monkeypatch.undo()
    assert rows(sink) == made
    assert id_of(sink)


def only_the_version_is_left_to_write(sink: Sink, is_upgrade: bool) -> None:
    prepare_tables(sink, STREAM)
    with sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE kafka_ingest_ledger SET version = 2, ledger_id = NULL"
            if is_upgrade
            else "DELETE FROM kafka_ingest_ledger"
        )
