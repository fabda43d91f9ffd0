"""A run whose process reaches another database or another cluster than its sensor changes nothing anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.local.broker import LocalBroker
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.embedded import EmbeddedKafka
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.e2e import child, elsewhere
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.services.test_reexecution import reexecution, stop_sensors

pytestmark = pytest.mark.services

PARTITIONS = 4
_FAILURES = """query ($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
    ... on ExecutionStepFailureEvent { stepKey failureMetadata { description } error { message } } } } } }"""
"""What the UI shows of the steps that failed."""


@pytest.fixture(scope="module")
def other_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    broker = EmbeddedKafka.start(tmp_path_factory.mktemp("other"))
    yield broker
    broker.stop()


@dataclass
class World:
    """Two clusters, each with the topic, and two databases."""

    kafka: LocalKafka
    other_kafka: EmbeddedKafka
    url: str
    other_url: str
    topic: str

    @property
    def group(self) -> str:
        return f"group-of-{self.topic}"

    def environment(self, **of_runs: str) -> dict[str, str]:
        return environment(self.kafka.bootstrap_servers, self.url, self.topic) | {
            "KAFKA_GROUP_ID": self.group,
            "KAFKA_INGEST_STREAMS": elsewhere.__name__,
            elsewhere.SETTINGS_VARIABLE: json.dumps(of_runs),
        }

    def tables(self) -> dict[str, dict[str, int]]:
        """By database, rows of each table."""
        return {url: rows_of(url) for url in (self.url, self.other_url)}

    def offsets(self) -> dict[str, list[int]]:
        """By cluster, what the consumer group has committed."""
        return {broker.title: committed(broker, self.group, self.topic) for broker in (self.kafka, self.other_kafka)}


@pytest.fixture
def world(kafka: LocalKafka, other_kafka: EmbeddedKafka, mysql: LocalDatabase, topic: str) -> World:
    admin = AdminClient({"bootstrap.servers": other_kafka.bootstrap_servers})
    admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(30)
    return World(kafka, other_kafka, fresh_database(mysql), fresh_database(mysql), topic)


def rows_of(url: str) -> dict[str, int]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        found = {n: int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {n}").scalar_one()) for n in names}
    engine.dispose()
    return found


def committed(broker: LocalBroker, group: str, topic: str) -> list[int]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": group})
    found = consumer.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], timeout=30)
    consumer.close()
    return [each.offset for each in found]


def load_all(world: World, **settings: str) -> None:
    """What waits, by a run that no sensor has launched."""
    process = child.start(world.environment() | settings)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def failures(dagster: DagsterDev, run_id: str) -> dict[str, str]:
    """By step that failed, what it says."""
    events = dagster.graphql(_FAILURES, run=run_id)["logsForRun"]["events"]
    return {e["stepKey"]: str(e["failureMetadata"] or e["error"]) for e in events if e}


def failed_run(dagster: DagsterDev) -> dict[str, Any]:
    dagster.wait_for(lambda: any(r["status"] == "FAILURE" for r in dagster.runs()), 90, "a run to fail")
    return next(r for r in dagster.runs() if r["status"] == "FAILURE")


@pytest.mark.parametrize(
    ("differs", "has_ledger"), [("database", False), ("cluster", True)], ids=["database, first run", "cluster"]
)
def test_a_run_with_other_settings_than_its_sensor_writes_nothing_and_commits_nothing(
    world: World, tmp_path: Path, differs: str, has_ledger: bool
) -> None:
    truth = Truth()
    if has_ledger:
        produce(world.kafka.bootstrap_servers, world.topic, news(seed=1, count=100), truth)
        load_all(world)
    produce(world.kafka.bootstrap_servers, world.topic, news(seed=2, count=300), truth)
    produce(world.other_kafka.bootstrap_servers, world.topic, news(seed=3, count=300), Truth())
    before = world.tables(), world.offsets()
    of_runs = (
        {"KAFKA_INGEST_DATABASE_URL": world.other_url}
        if differs == "database"
        else {"KAFKA_BOOTSTRAP_SERVERS": world.other_kafka.bootstrap_servers}
    )
    with DagsterDev(tmp_path / "dagster", world.environment(**of_runs)) as dagster:
        run = failed_run(dagster)
        assert (world.tables(), world.offsets()) == before
        assert run["tags"]["kafka_ingest/database"].startswith("ledger:" if has_ledger else "server:")
        ((step, said),) = failures(dagster, run["runId"]).items()
        assert step == "information.plan"
        for each in ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_INGEST_DATABASE_URL", run["tags"]["kafka_ingest/cluster"]):
            assert each in said
        assert said.count(run["tags"]["kafka_ingest/database"]) == (1 if differs == "database" else 2)
    # With the settings mended everything goes on, and the runs' tags do not say otherwise.
    with DagsterDev(tmp_path / "dagster", world.environment()) as dagster:
        dagster.wait_for(lambda: ledger_total(world.url) >= truth.total, 120, "all messages")
        dagster.wait_for(
            lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in dagster.runs()), 60, "the runs' end"
        )
    assert_exactly_once(world.url, world.kafka.bootstrap_servers, world.topic, truth, group=world.group)
    assert rows_of(world.other_url) == {}


def test_a_run_that_is_re_executed_elsewhere_from_where_it_failed_is_refused_there_too(
    world: World, tmp_path: Path
) -> None:
    """It has no plan op any more, and its next step would have committed the other ledger's offsets to the group."""
    truth = Truth()
    produce(world.kafka.bootstrap_servers, world.topic, news(seed=5, count=300), truth)
    # A live member of the group makes Kafka refuse the commit, after the database has the rows.
    member = Consumer(
        {
            "bootstrap.servers": world.kafka.bootstrap_servers,
            "group.id": world.group,
            "auto.offset.reset": "latest",
            "enable.auto.commit": False,
        }
    )
    member.subscribe([world.topic])
    while not member.assignment():
        member.poll(0.2)
    with DagsterDev(tmp_path / "dagster", world.environment()) as dagster:

        def failed() -> list[dict[str, Any]]:
            member.poll(0)  # stays a member
            return [run for run in dagster.runs() if run["status"] == "FAILURE"]

        dagster.wait_for(failed, 90, "the run to fail")
        stop_sensors(dagster)
        run_id = failed()[-1]["runId"]
    member.close()
    load_all(world, KAFKA_INGEST_DATABASE_URL=world.other_url, KAFKA_GROUP_ID="another")
    before = world.tables(), world.offsets()
    with DagsterDev(tmp_path / "dagster", world.environment(KAFKA_INGEST_DATABASE_URL=world.other_url)) as dagster:
        run = reexecution(dagster, run_id, "FROM_FAILURE")
        assert run["status"] == "FAILURE"
        (step,) = failures(dagster, run["runId"])
        assert step == "information.commit_offsets"
        assert (world.tables(), world.offsets()) == before
    with DagsterDev(tmp_path / "dagster", world.environment()) as dagster:
        assert reexecution(dagster, run_id, "FROM_FAILURE")["status"] == "SUCCESS"
    assert_exactly_once(world.url, world.kafka.bootstrap_servers, world.topic, truth, group=world.group)
