"""Two Dagsters on one stream by mistake (two daemons, two code locations, two machines): exactly once all the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.names import Names
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest_tests.e2e import child
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.scale import DATABASES, IS_FULL
from kafka_ingest_tests.e2e.streams import STREAM, environment

pytestmark = pytest.mark.faults

ROUNDS = 20 if IS_FULL else 3


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> LocalDatabase:
    server: LocalDatabase = request.getfixturevalue(request.param)
    return server


def test_two_processes_that_load_at_the_same_time_load_everything_once(
    kafka: LocalKafka, database_url: str, topic: str, tmp_path: Path
) -> None:
    """They meet at another step of the load each round; messages come all the while."""
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, database_url, topic)
    produce(kafka.bootstrap_servers, topic, news(seed=99, count=500), truth)
    loaded = 0
    for number in range(ROUNDS):
        produce(kafka.bootstrap_servers, topic, news(seed=number, count=1_500), truth)
        folder = tmp_path / f"meet{number}"
        folder.mkdir()
        # Before LOCK, as from there on the ledger's row lock lets only one in.
        step = (LoadStep.STAGE, LoadStep.BEGIN)[number % 2]
        both = [child.start(environ, "--meet", str(folder), "--at", step) for _ in range(2)]
        producer = threading.Thread(
            target=produce, args=(kafka.bootstrap_servers, topic, news(seed=1_000 + number, count=1_500), truth)
        )
        producer.start()
        for process in both:
            out, err = process.communicate(timeout=180)
            assert process.returncode == 0, err
            loaded += json.loads(out)["messages"]
        producer.join()
    process = child.start(environ)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    loaded += json.loads(out)["messages"]
    assert loaded == truth.total
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


@pytest.mark.scheduled  # minutes
def test_two_dagsters_with_homes_of_their_own_on_one_stream_load_everything_once(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    with DagsterDev(tmp_path / "one", environ) as one, DagsterDev(tmp_path / "two", environ) as two:
        for seed in range(40 * (ROUNDS // 3)):
            produce(kafka.bootstrap_servers, topic, news(seed=seed, count=300), truth)
            time.sleep(0.5)
        one.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 180, "all messages")
        for dagster in (one, two):
            dagster.wait_for(
                lambda d=dagster: all(r["status"] in ("SUCCESS", "FAILURE") for r in d.runs()), 120, "the runs to end"
            )
            assert dagster.runs(), "this one never had a run"
            # Whoever comes second finds the ledger further on: that is no failure.
            assert {r["status"] for r in dagster.runs()} == {"SUCCESS"}, dagster.tail()
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)


@pytest.mark.parametrize("twice", ["code locations", "daemons"] if IS_FULL else ["code locations"])
def test_two_code_locations_or_two_daemons_of_one_dagster_load_everything_once(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path, twice: str
) -> None:
    """The same stream is declared in two locations, or a second daemon was started for the same DAGSTER_HOME."""
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    modules = ("kafka_ingest.definitions", "kafka_ingest_tests.e2e.twin") if twice == "code locations" else ()
    with DagsterDev(tmp_path / "dagster", environ, *modules) as dagster, ExitStack() as stack:
        if twice == "daemons":
            daemon = stack.enter_context(_second_daemon(dagster, environ))
        for seed in range(40 if IS_FULL else 15):
            produce(kafka.bootstrap_servers, topic, news(seed=seed, count=200), truth)
            time.sleep(0.7)
        dagster.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        dagster.wait_for(
            lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in dagster.runs()), 60, "the runs to end"
        )
        if twice == "daemons":
            assert daemon.poll() is None, "the second daemon ended"
            assert "SensorDaemon" in (dagster.home / "second.log").read_text()
        else:
            assert {name for name, ticks in _ticks(dagster) if ticks} == set(modules), "both locations' sensors tick"
        assert {r["status"] for r in dagster.runs()} == {"SUCCESS"}, dagster.tail()
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)


def _ticks(dagster: DagsterDev) -> list[tuple[str, list[Any]]]:
    """Each code location and the last ticks of its stream's sensor."""
    query = """{ repositoriesOrError { ... on RepositoryConnection { nodes { location { name } sensors { name
        sensorState { ticks(limit: 3) { status } } } } } } }"""
    nodes = dagster.graphql(query)["repositoriesOrError"]["nodes"]
    name = Names().sensor(STREAM)
    return [
        (n["location"]["name"], s["sensorState"]["ticks"]) for n in nodes for s in n["sensors"] if s["name"] == name
    ]


@contextmanager
def _second_daemon(dagster: DagsterDev, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", "kafka_ingest.definitions"]
    more = {"PYTHONPATH": str(child.REPOSITORY), "DAGSTER_HOME": str(dagster.home)}
    with (dagster.home / "second.log").open("ab") as log:
        daemon = subprocess.Popen(
            command,
            env={**os.environ, **environ, **more},
            cwd=dagster.home,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield daemon
    finally:
        daemon.send_signal(signal.SIGINT)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(10)


def test_a_run_that_was_given_up_and_goes_on_after_all_changes_nothing(
    kafka: LocalKafka, mysql_url: str, topic: str
) -> None:
    """A machine that was asleep: its run stands still before its transaction while another one loads, and then wakes up."""
    truth = Truth()
    environ = environment(kafka.bootstrap_servers, mysql_url, topic)
    produce(kafka.bootstrap_servers, topic, news(seed=1, count=1_000), truth)
    sleeper = child.start(environ, "--stop-at", LoadStep.BEGIN)
    deadline = time.monotonic() + 60
    while _state(sleeper.pid) != "T":
        assert time.monotonic() < deadline, "it never stopped"
        assert sleeper.poll() is None
        time.sleep(0.05)
    for seed in (2, 3):
        produce(kafka.bootstrap_servers, topic, news(seed=seed, count=500), truth)
        other = child.start(environ)
        _, err = other.communicate(timeout=120)
        assert other.returncode == 0, err
    os.kill(sleeper.pid, signal.SIGCONT)
    _, err = sleeper.communicate(timeout=120)
    assert sleeper.returncode == 0, err
    assert_exactly_once(mysql_url, kafka.bootstrap_servers, topic, truth)


def _state(pid: int) -> str:
    """The process's state as the kernel names it: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
