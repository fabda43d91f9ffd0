"""The database's server goes away, comes back as another one, or has no room left: exactly once afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import DatabaseUnavailable, RetryableError
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import run_once, settings_of, stream_on
from kafka_ingest_tests.e2e.scale import DATABASES

pytestmark = pytest.mark.faults

# Small enough to be full soon; what a server of ours needs at least is 12 MB (its default).
SPACE = {"innodb_data_file_path": "ibdata1:12M:autoextend:max:26M", "innodb_file_per_table": "OFF"}


@pytest.fixture(params=DATABASES)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalDatabase]:
    """A server of the test's own, to be killed."""
    server = LocalDatabase.start(request.param, tmp_path / "one", options={"innodb_buffer_pool_size": "64M"})
    yield server
    server.stop()


def at(wanted: str, act: Callable[[], object]) -> Callable[[str], None]:
    done: list[str] = []

    def at_step(step: str) -> None:
        if step == wanted and not done:
            done.append(step)
            act()

    return at_step


def test_a_server_killed_in_a_transaction_and_started_again_has_all_or_nothing(
    kafka: LocalKafka, own: LocalDatabase
) -> None:
    topic = make_topic(kafka, partitions=4)
    truth, stream, settings = Truth(), stream_on(topic), settings_of(kafka.bootstrap_servers, own.url())
    for number, step in enumerate((LoadStep.ADMIT, LoadStep.DEAD_LETTERS, LoadStep.COMMIT)):
        produce(kafka.bootstrap_servers, topic, news(seed=number, count=200, bad_ratio=0.1), truth)
        with pytest.raises(RetryableError):
            run_once(stream, settings, at_step=at(step, own.kill))
        with pytest.raises(DatabaseUnavailable):
            run_once(stream, settings)
        own.restart()
        run_once(stream, settings)
    assert_exactly_once(own.url(), kafka.bootstrap_servers, topic, truth)


def test_a_failover_to_another_server_with_the_same_data_goes_on_there(
    kafka: LocalKafka, own: LocalDatabase, tmp_path: Path
) -> None:
    """The standby has what was committed; a transaction under way is gone with its server."""
    topic = make_topic(kafka, partitions=4)
    truth, stream, settings = Truth(), stream_on(topic), settings_of(kafka.bootstrap_servers, own.url())
    produce(kafka.bootstrap_servers, topic, news(seed=1, count=400), truth)
    run_once(stream, settings)
    produce(kafka.bootstrap_servers, topic, news(seed=2, count=400), truth)
    with pytest.raises(RetryableError):
        run_once(stream, settings, at_step=at(LoadStep.RECORD, own.kill))
    shutil.copytree(own.data_dir, tmp_path / "two", ignore=shutil.ignore_patterns("server.json", "*.pid", "*.sock*"))
    (tmp_path / "two" / "data" / "auto.cnf").unlink(missing_ok=True)  # MySQL's server_uuid: a new one is made
    standby = LocalDatabase.start(
        own.kind, tmp_path / "two", port=own.port, options={"innodb_buffer_pool_size": "64M", "server_id": "2"}
    )
    try:
        run_once(stream, settings)
        assert_exactly_once(own.url(), kafka.bootstrap_servers, topic, truth)
    finally:
        standby.stop()


@pytest.mark.scheduled  # fills a server
def test_a_server_without_room_left_is_retryable_and_goes_on_when_there_is_room(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    """InnoDB's one file may not grow: error 1114, which is also what a full disk gives for a table."""
    full = LocalDatabase.start("mysql", tmp_path / "full", options=SPACE)
    topic = make_topic(kafka, partitions=4)
    truth, stream = Truth(), stream_on(topic, max_rows=2_000)
    settings = settings_of(kafka.bootstrap_servers, full.url())
    try:
        for seed in range(30):
            produce(kafka.bootstrap_servers, topic, news(seed=seed, count=2_000), truth)
            try:
                run_once(stream, settings)
            except DatabaseUnavailable:
                break
        before = _rows(full.url())
        with pytest.raises(DatabaseUnavailable, match=r"error 1114\b"):
            run_once(stream, settings)
        assert _rows(full.url()) == before  # nothing of the slice stays
        full.stop()
        roomy = {**SPACE, "innodb_data_file_path": "ibdata1:12M:autoextend"}
        full = LocalDatabase.start("mysql", tmp_path / "full", port=full.port, options=roomy)
        run_once(stream, settings)
        assert_exactly_once(full.url(), kafka.bootstrap_servers, topic, truth)
    finally:
        full.stop()


def _rows(url: str) -> int:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = int(connection.exec_driver_sql("SELECT COUNT(*) FROM information").scalar_one())
    engine.dispose()
    return count
