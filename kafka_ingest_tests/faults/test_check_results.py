"""What Dagster shows of a stream's checks while a run drains, after kill -9 of it, and after a run that failed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.check_rounds import ROUND_SECONDS
from kafka_ingest.orchestration.names import PROCESS_TAG
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.meanwhile import meanwhile

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

CHECKS = """{ assetNodeOrError(assetKey: {path: ["information", "ledger"]}) { ... on AssetNode { assetChecksOrError {
    ... on AssetChecks { checks { name executionForLatestMaterialization { status runId evaluation { timestamp } } } } } } } }"""
OF_RUNS = {"run_accounting", "run_tiling", "run_rows_information", "consumer_group", "dead_letter_ratio"}


class Seen:
    """The results of the runs' checks as Dagster shows them."""

    def __init__(self, dagster: DagsterDev) -> None:
        self._dagster = dagster
        self.statuses: set[str] = set()
        self.rounds: dict[str, set[float]] = {}
        """By run the times of its results."""

    def look(self) -> dict[str, str]:
        """By check the run of its last result. Remembers what is shown."""
        node = self._dagster.graphql(CHECKS)["assetNodeOrError"]
        shown = {
            c["name"]: c["executionForLatestMaterialization"]
            for c in node["assetChecksOrError"]["checks"]
            if c["name"] in OF_RUNS and c["executionForLatestMaterialization"]
        }
        for each in shown.values():
            self.statuses.add(each["status"])
            if each["evaluation"]:
                self.rounds.setdefault(each["runId"], set()).add(round(each["evaluation"]["timestamp"]))
        return {name: each["runId"] for name, each in shown.items()}

    def watch(self, seconds: float) -> dict[str, str]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.look()
            time.sleep(0.5)
        return found


@contextmanager
def produced(servers: str, topic: str) -> Iterator[None]:
    """A message every tenth of a second meanwhile."""
    producer, numbers = Producer({"bootstrap.servers": servers}), count()

    def one() -> None:
        item = {"type": "information", "id": f"n{next(numbers)}", "title": "t", "publishTime": "2026-01-01"}
        producer.produce(topic, json.dumps(item | {"source": {"name": "s"}}).encode())

    with meanwhile(one, every_seconds=0.1):
        yield
    producer.flush(10)


def test_a_check_shows_its_last_result_all_the_while(
    kafka: LocalKafka, mariadb_url: str, topic: str, tmp_path: Path
) -> None:
    servers = kafka.bootstrap_servers
    with DagsterDev(tmp_path / "dagster", environment(servers, mariadb_url, topic)) as dagster:
        seen = Seen(dagster)

        def started() -> list[dict[str, Any]]:
            return [r for r in dagster.runs() if r["status"] == "STARTED" and PROCESS_TAG in r["tags"]]

        with produced(servers, topic):
            dagster.wait_for(lambda: set(seen.look()) == OF_RUNS, 90, "the first results")
            (run,) = started()
            seen.watch(ROUND_SECONDS + 15)
            assert run["runId"] in [r["runId"] for r in started()]  # one run all the while
            assert max(seen.rounds[run["runId"]]) - min(seen.rounds[run["runId"]]) >= ROUND_SECONDS - 5

            os.kill(int(run["tags"][PROCESS_TAG].rsplit(":", 2)[1]), signal.SIGKILL)
            dagster.wait_for(lambda: seen.look() and not started(), 30, "the run to be found dead")
            assert set(seen.look().values()) == {run["runId"]}
            dagster.wait_for(lambda: set(seen.look().values()) == {r["runId"] for r in started()}, 90, "the next run's")
        dagster.wait_for(lambda: not started(), 60, "the run to end")
        before = seen.look()

        producer = Producer({"bootstrap.servers": servers})
        for _ in range(300):
            producer.produce(topic, b"bad")
        producer.flush(10)
        dagster.wait_for(lambda: [r["status"] for r in dagster.runs()[:1]] == ["FAILURE"], 90, "a run to fail")
        assert seen.watch(3) == before
        assert set(before) == OF_RUNS
        assert seen.statuses == {"SUCCEEDED"}
