"""kill -9 of Dagster's code server, of its daemon, of both, and of everything at once: rows flow again without a person."""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_services import CODE_SERVER, DAEMON, DagsterServices
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.soak.breakages import reset_machine
from kafka_ingest_tests.soak.world import TOPIC, world

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

TRIALS = 20 if IS_FULL else 1
# A run that lost a server tries for half a minute; the sensor then waits up to 5 minutes in the end.
RECOVERY_SECONDS = 150.0
RESETS = 5 if IS_FULL else 1


@pytest.mark.parametrize("killed", [(CODE_SERVER,), (DAEMON,), (CODE_SERVER, DAEMON)], ids=" and ".join)
def test_a_service_of_dagster_killed_while_a_run_loads_and_started_again_goes_on_by_itself(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path, killed: tuple[str, ...]
) -> None:
    truth, servers = Truth(), kafka.bootstrap_servers
    with DagsterServices(tmp_path / "dagster", environment(servers, mysql_url, topic)) as services:
        for trial in range(TRIALS):
            produce(servers, topic, news(seed=3 * trial, count=3_000), truth)
            services.wait_for(lambda: _is_loading(services), 60, "a run")
            for each in killed:
                services.kill(each)
            produce(servers, topic, news(seed=3 * trial + 1, count=1_000), truth)
            time.sleep(2)
            begun = time.monotonic()
            for each in killed:
                services.start(each)
            services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, RECOVERY_SECONDS, "all messages")
            took = time.monotonic() - begun
            services.wait_for(lambda: not services.is_busy(), RECOVERY_SECONDS, "the runs to end")
            known = len(services.runs())
            # The run of before may have lived on: only a new one shows that the service works.
            produce(servers, topic, news(seed=3 * trial + 2, count=50), truth)
            new = services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 60, "a new run's messages")
            services.wait_for(lambda: not services.is_busy(), 60, "the new run to end")
            assert len(services.runs()) > known
            said = f"all messages {took:.1f} s after the start, those of a new run after {new:.1f} s"
            sys.stderr.write(f"{' and '.join(killed)} killed: {said}\n")
    assert_exactly_once(mysql_url, servers, topic, truth)


def _is_loading(services: DagsterServices) -> bool:
    return any(run.status is dg.DagsterRunStatus.STARTED for run in services.runs())


def test_kafka_mysql_and_dagster_killed_at_once_under_load_go_on_by_themselves(tmp_path: Path) -> None:
    """A machine's reset. The messages that Kafka had taken are there once; the time until rows flow again is said."""
    with world(tmp_path) as found:
        with found.production(rate=100, seed=1) as production:
            found.dagster.wait_for(lambda: found.loaded > 0, 90, "the first rows")
            for _ in range(RESETS):
                reset_machine(found, random.Random(1))
                production.check()
                before, begun = found.loaded, time.monotonic()
                found.dagster.wait_for(lambda than=before: found.loaded > than, RECOVERY_SECONDS, "rows again")
                sys.stderr.write(f"everything killed: rows again after {time.monotonic() - begun:.1f} s\n")
            production.stop()
            production.check()
        found.dagster.wait_for(lambda: found.loaded >= found.truth.total, RECOVERY_SECONDS, "all messages")
        found.dagster.wait_for(
            lambda: all(r["status"] in ("SUCCESS", "FAILURE") for r in found.dagster.runs()), 60, "the runs to end"
        )
        assert_exactly_once(found.url, found.kafka.broker.bootstrap_servers, TOPIC, found.truth)
