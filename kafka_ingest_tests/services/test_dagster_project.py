"""A user's own Dagster project: two Kafka clusters, MySQL and PostgreSQL, one table name in both, beside a job of the user's."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment, run
from kafka_ingest_tests.e2e.graphql import BACKFILL
from kafka_ingest_tests.e2e.news import Truth, as_stored, news, produce

pytestmark = pytest.mark.services

DEFINITIONS = '''
"""Two sets of one stream, and what the project has besides."""

import dataclasses
import os

import dagster as dg

from kafka_ingest import DatabaseResource, KafkaResource, build_definitions
from kafka_ingest.streams.information import STREAM as NEWS


def loading(name: str) -> dg.Definitions:
    batch = dataclasses.replace(NEWS.batch, max_wait_seconds=5, linger_seconds=3)
    stream = dataclasses.replace(NEWS, topics=os.environ[f"{name}_TOPIC"], batch=batch)
    return build_definitions(
        [stream],
        kafka=KafkaResource(bootstrap_servers=os.environ[f"{name}_KAFKA"], group_id=f"project-{name}"),
        database=DatabaseResource(url=dg.EnvVar(f"{name}_DATABASE")),
        key_prefix=name.lower(),
        owners=["team:data"],
    )


@dg.op
def first() -> int:
    return os.getpid()


@dg.op
def second(pid: int) -> None:
    assert pid != os.getpid(), "the project's executor gives each op a process"


@dg.job
def own_job() -> None:
    second(first())


@dg.definitions
def defs() -> dg.Definitions:
    own = dg.Definitions(jobs=[own_job], executor=dg.multiprocess_executor)
    return dg.Definitions.merge(loading("EU"), loading("US"), own)
'''


@dataclass
class Side:
    """A cluster, a topic, a database, and what its tables must hold."""

    name: str
    servers: str
    topic: str
    url: str
    truth: Truth

    def produce(self, seed: int, count: int) -> None:
        """Half of them an hour old: a backfill of the present hour alone loads what waits, and is none."""
        ages = (0, 3_600)
        messages = as_stored(news(seed=seed, count=count), self.url)
        now = time.time()
        produce(
            self.servers,
            self.topic,
            messages,
            self.truth,
            timestamp_ms=lambda number: int((now - ages[number % 2]) * 1_000),
        )

    @property
    def is_loaded(self) -> bool:
        return ledger_total(self.url) >= self.truth.total

    def check(self) -> None:
        assert_exactly_once(self.url, self.servers, self.topic, self.truth, group=f"project-{self.name}")


@dataclass
class Project:
    folder: Path
    environment: FreshEnvironment
    environ: dict[str, str]
    sides: list[Side]

    def dg(self, *arguments: str) -> str:
        return run([self.environment.command("dg"), *arguments], cwd=self.folder, environ=self.environ)


@pytest.fixture(scope="module")
def second_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    broker = LocalKafka.start(tmp_path_factory.mktemp("second_kafka"))
    yield broker
    broker.stop()


@pytest.fixture(scope="module")
def project(
    kafka: LocalKafka,
    second_kafka: LocalKafka,
    mysql: LocalDatabase,
    postgresql: LocalDatabaseServer,
    fresh_environment: FreshEnvironment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Project:
    folder = tmp_path_factory.mktemp("project")
    run([fresh_environment.command("create-dagster"), "project", "shop", "--no-uv-sync"], cwd=folder)
    run([fresh_environment.python, "-m", "pip", "install", "-q", "-e", "shop"], cwd=folder)
    (folder / "shop" / "src" / "shop" / "defs" / "loading.py").write_text(DEFINITIONS)
    sides = [
        Side("EU", kafka.bootstrap_servers, make_topic(kafka, partitions=4), fresh_database(mysql), Truth()),
        Side(
            "US",
            second_kafka.bootstrap_servers,
            make_topic(second_kafka, partitions=4),
            fresh_database(postgresql),
            Truth(),
        ),
    ]
    environ = {"DAGSTER_HOME": str(folder / "home"), "NO_COLOR": "1", "COLUMNS": "200"}
    for side in sides:
        environ |= {
            f"{side.name}_KAFKA": side.servers,
            f"{side.name}_TOPIC": side.topic,
            f"{side.name}_DATABASE": side.url,
        }
    (folder / "home").mkdir()
    return Project(folder / "shop", fresh_environment, environ, sides)


def test_dg_checks_the_project_and_lists_both_sets(project: Project) -> None:
    project.dg("check", "defs")
    listed = project.dg("list", "defs")
    for name in ("eu_ingest_information", "us_ingest_information", "own_job", "eu_information_sensor"):
        assert name in listed
    assert not [side.url for side in project.sides if side.url in listed]


def test_the_projects_own_job_keeps_its_executor(project: Project) -> None:
    said = project.dg("launch", "--job", "own_job")
    assert "multiprocess executor" in said
    assert "RUN_SUCCESS" in said


def test_a_run_launched_by_dg_loads_what_waits(project: Project) -> None:
    for seed, side in enumerate(project.sides):
        side.produce(seed, 400)
    for side in project.sides:
        present = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d-%H:00")
        job = f"{side.name.lower()}_ingest_information"
        assert "RUN_SUCCESS" in project.dg("launch", "--job", job, "--partition", present)
        side.check()


def test_both_sets_load_under_dagster_dev_and_a_backfill_converges_under_the_projects_executor(
    project: Project,
) -> None:
    environ = project.environ | {"PYTHONPATH": ""}
    home = Path(project.environ["DAGSTER_HOME"])
    with DagsterDev(home, environ, "shop.definitions", python=project.environment.python) as dagster:
        for seed, side in enumerate(project.sides):
            side.produce(seed + 10, 3_000)
        dagster.wait_for(lambda: all(side.is_loaded for side in project.sides), 120, "both sets to load")
        for side in project.sides:
            side.check()
        produced_in = {dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=hours) for hours in (0, 1)}
        keys = sorted(instant.strftime("%Y-%m-%d-%H:00") for instant in produced_in)
        tables = [[side.name.lower(), "information", name] for side in project.sides for name in TABLES]
        answer = dagster.graphql(BACKFILL, keys=keys, assets=[{"path": path} for path in tables])
        assert answer["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer
        dagster.wait_for(lambda: bool(backfill_runs(dagster)), 420, "the backfill to end")
        # One run of Dagster's implicit job for both: the windows are the same ones.
        assert [r["jobName"] for r in backfill_runs(dagster)] == ["__ASSET_JOB"]
        for side in project.sides:
            side.check()


TABLES = ("information", "announcement", "dead_letters")


def backfill_runs(dagster: DagsterDev) -> list[dict[str, object]]:
    found = [r for r in dagster.runs() if r["tags"].get("kafka_ingest/kind") == "backfill"]
    assert not [r for r in found if r["status"] == "FAILURE"], dagster.tail()
    return [r for r in found if r["status"] == "SUCCESS"]
