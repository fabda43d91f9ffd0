"""A topic with hours of news, all loaded, and a Dagster to load them again: what the tests of backfills look at."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from kafka_ingest.cli.dagster_api import DagsterApi, RunLook
from kafka_ingest_tests.e2e import child
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')"]
A_WINDOW = 1_500
HOURS = 5
TABLES = ("information", "announcement", "kafka_ingest_dead_letters")
_SENSORS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { id name } } } } }"
_STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }"
_START = """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
    __typename ... on PythonError { message } } }"""


@dataclass
class World:
    """Six windows of news, the last one the present, all loaded; a Dagster with the sensor off."""

    environ: dict[str, str]
    url: str
    topic: str
    servers: str
    dagster: DagsterDev
    start: dt.datetime
    """Start of the first window."""
    truth: Truth
    api: DagsterApi = field(init=False)

    def __post_init__(self) -> None:
        self.api = DagsterApi(f"http://127.0.0.1:{self.dagster.port}")

    def window(self, number: int) -> str:
        return (self.start + dt.timedelta(hours=number)).strftime("%Y-%m-%d-%H:%M")

    def clock(self, number: int, minute: int = 0) -> str:
        return (self.start + dt.timedelta(hours=number, minutes=minute)).strftime("%Y-%m-%d %H:%M")

    def present(self) -> str:
        now = dt.datetime.now(dt.timezone.utc)
        if now.minute == 59 and now.second > 30:  # it has to be the present one still when the run starts
            time.sleep(60 - now.second)
        return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d-%H:00")

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*PROGRAM, "backfill", "information", "--yes", *arguments]
        if "--dry-run" not in arguments:
            command += ["--url", f"http://127.0.0.1:{self.dagster.port}"]
        return subprocess.run(
            command, env=self.environ, cwd=child.REPOSITORY, capture_output=True, text=True, timeout=120, check=False
        )

    def done(self, *arguments: str) -> dict[str, Any]:
        """A command that must succeed, and its JSON."""
        answer = self.cli("--json", *arguments)
        assert answer.returncode == 0, answer.stderr + self.dagster.tail()
        found: dict[str, Any] = json.loads(answer.stdout)
        return found

    def run(self, config: dict[str, Any], **tags: str) -> RunLook:
        """A run from the launchpad, to its end."""
        plan = {"ops": {"information": {"ops": {"plan": {"config": config}}}}} if config else {}
        run_id = self.api.launch("ingest_information", plan, tags)
        look = self.api.follow(run_id, lambda _look: None)
        if look.status != "SUCCESS":
            raise AssertionError(self.api.failure(run_id))
        self.last_run = run_id
        return look

    def sensors(self, *, on: bool) -> None:
        nodes = self.dagster.graphql(_SENSORS)["repositoriesOrError"]["nodes"]
        for sensor in (s for node in nodes for s in node["sensors"]):
            if on:
                selector = {
                    "sensorName": sensor["name"],
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "kafka_ingest.definitions",
                }
                self.dagster.graphql(_START, selector=selector)
            else:
                self.dagster.graphql(_STOP, id=sensor["id"])

    def sql(self, *statements: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            for statement in statements:
                assert connection.execute(sa.text(statement)).rowcount > 0, statement
        engine.dispose()

    def rows(self) -> dict[str, dict[Any, Any]]:
        """All rows of the tables by key, without ids and times of writing."""
        engine = sa.create_engine(self.url)
        found = {}
        with engine.connect() as connection:
            for table in TABLES:
                rows = [dict(r) for r in connection.execute(sa.text(f"SELECT * FROM {table}")).mappings()]
                found[table] = {_key(table, r): r for r in rows}
        engine.dispose()
        return found

    def assert_true(self) -> None:
        assert_exactly_once(self.url, self.servers, self.topic, self.truth)


def _key(table: str, row: dict[str, Any]) -> Any:
    if table == "kafka_ingest_dead_letters":
        for name in ("id", "run_id", "created_at"):
            del row[name]
        return row["topic"], row["kafka_partition"], row["kafka_offset"]
    return row["id"] if table == "announcement" else (row["_kafka_partition"], row["_kafka_offset"])


def load_all(environ: dict[str, str]) -> None:
    """A live run in a process of its own, until nothing waits."""
    with child.start(environ) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def subprocess_environ() -> dict[str, str]:
    import os

    return {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")}


def fill(servers: str, topic: str, start: dt.datetime, truth: Truth) -> None:
    """The windows' messages, evenly spread over all but the present hour, and a few now."""
    first = int(start.timestamp() * 1000)
    step = 3_600_000 // A_WINDOW
    produce(servers, topic, news(7, HOURS * A_WINDOW), truth, timestamp_ms=lambda n: first + n * step)
    produce(servers, topic, news(8, 200), truth)


def damage(world: World, first: int, last: int) -> None:
    """Rows of these windows changed, gone and invented by hand, among them some that are dead letters."""
    inside = f"_kafka_timestamp >= '{world.clock(first)}' AND _kafka_timestamp < '{world.clock(last + 1)}'"
    world.sql(
        f"UPDATE information SET title = 'changed by hand' WHERE {inside} AND _kafka_offset % 3 = 0",
        f"UPDATE information SET tags = '[\"x\"]', publish_time = '1999-01-01' WHERE {inside} AND _kafka_offset % 7 = 0",
        f"DELETE FROM information WHERE {inside} AND _kafka_offset % 5 = 0",
        f"UPDATE announcement SET body = NULL WHERE {inside}",
        f"DELETE FROM announcement WHERE {inside} AND _kafka_offset % 2 = 0",
        f"DELETE FROM kafka_ingest_dead_letters WHERE {inside.replace('_kafka', 'kafka')}",
    )
    partition, offset = next(
        p for p, m in sorted(world.truth.dead_letters.items()) if p[1] >= first * A_WINDOW // 4 + 100 and m
    )
    world.sql(
        "INSERT INTO information (id, title, publish_time, _kafka_topic, _kafka_partition, _kafka_offset) "
        f"VALUES ('invented', 'was a dead letter', '2024-01-01', '{world.topic}', {partition}, {offset})"
    )
