"""Backup and restore: tables and ledger together, only one of them, and what is said of it."""

from __future__ import annotations

from contextlib import closing
from itertools import count

import pytest
import sqlalchemy as sa

from kafka_ingest.checks.table_rows import append_tables, audit_rows
from kafka_ingest.engine.stream_state import read_next_offsets
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.e2e.backup import Backup, is_ledger
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import opened, run_once, settings_of, stream_on

pytestmark = pytest.mark.services

MESSAGES = 800
SLICE_OF_BACKUP = 2


class World:
    """A stream that was backed up in the middle of a transaction, has loaded on, and was backed up again."""

    def __init__(self, kafka: LocalKafka, mysql: LocalDatabase) -> None:
        self.kafka, self.topic = kafka, make_topic(kafka, partitions=4)
        self.stream = stream_on(self.topic)
        self.truth = Truth()
        produce(kafka.bootstrap_servers, self.topic, news(1, MESSAGES), self.truth)
        url = fresh_database(mysql)
        taken: list[Backup] = []
        commits = count(1)  # several loaders come here at once; next() is atomic

        def at_step(step: str) -> None:
            if step == LoadStep.COMMIT and next(commits) == SLICE_OF_BACKUP:
                taken.append(Backup.of(url))

        run_once(self.stream, settings_of(kafka.bootstrap_servers, url), at_step=at_step)
        (self.then,) = taken
        self.now = Backup.of(url)

    def load(self, url: str) -> None:
        run_once(self.stream, settings_of(self.kafka.bootstrap_servers, url))

    def load_again(self, url: str) -> None:
        """A backfill of all that the ledger has."""
        with opened(self.stream, settings_of(self.kafka.bootstrap_servers, url)) as ingestion:
            ends = read_next_offsets(ingestion.sink, self.stream)
            batch = ingestion.plan([OffsetRange(*tp, 0, end) for tp, end in sorted(ends.items())], "backfill")
            ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "backfill")
            assert list(ingestion.drain(batch))

    def check(self, url: str) -> None:
        assert_exactly_once(url, self.kafka.bootstrap_servers, self.topic, self.truth)

    def faults(self, url: str) -> list[str]:
        """What the daily audit finds in the append tables."""
        with closing(open_sink(sa.make_url(url))) as sink:
            found = [audit_rows(sink, self.stream, target, seconds=60) for target in append_tables(self.stream)]
        return [fault for each in found for fault in each.faults]


@pytest.fixture(scope="module")
def world(kafka: LocalKafka, mysql: LocalDatabase) -> World:
    return World(kafka, mysql)


@pytest.fixture
def url(mysql: LocalDatabase) -> str:
    """An empty database to restore into."""
    return fresh_database(mysql)


def test_a_restored_database_goes_on_from_its_own_ledger(world: World, url: str) -> None:
    """The group's offsets are ahead of it; the ledger counts."""
    world.then.restore(url)
    assert 0 < ledger_total(url) < world.truth.total
    world.load(url)
    world.check(url)


def test_tables_with_an_older_ledger_are_loaded_again_from_there(world: World, url: str) -> None:
    """Rows that are there already are replaced by themselves."""
    world.now.restore(url, only=lambda name: not is_ledger(name))
    world.then.restore(url, only=is_ledger)
    world.load(url)
    world.check(url)


def test_tables_without_a_ledger_are_loaded_again_from_the_beginning_of_the_log(world: World, url: str) -> None:
    world.now.restore(url, only=lambda name: not is_ledger(name))
    world.load(url)
    world.check(url)


def test_tables_older_than_their_ledger_are_found_by_the_audit_and_filled_by_a_backfill(world: World, url: str) -> None:
    """The one restore that no run can mend by itself: the ledger says that the missing rows are loaded."""
    world.then.restore(url, only=lambda name: not is_ledger(name))
    world.now.restore(url, only=is_ledger)
    world.load(url)
    assert any("information" in fault for fault in world.faults(url))
    world.load_again(url)
    assert world.faults(url) == []
    world.check(url)
