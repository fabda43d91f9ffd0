"""A stream outlives its machine: hosts that vanish or stand still, of which nobody can see a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.ledger.tables import BATCHES, LEASES
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_services import CODE_SERVER, DagsterServices
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.production import Production
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.e2e.streams import environment

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore")]

# From the moment a host stands still or is gone to rows by another one: 42 to 60 s, more on a busy machine.
GAP_SECONDS = 150.0
TRIALS = 10 if IS_FULL else 1


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def runs_with_lease(url: str) -> set[str]:
    with connected(url) as connection:
        return set(connection.execute(sa.select(LEASES.c.run_id).where(LEASES.c.revoked_at.is_(None))).scalars())


def last_entry(url: str, run_id: str) -> int:
    """Of the ledger, by this run."""
    with connected(url) as connection:
        asked = sa.select(sa.func.max(BATCHES.c.id)).where(BATCHES.c.run_id == run_id)
        return int(connection.execute(asked).scalar() or 0)


def entries_by_others(url: str, run_id: str) -> int:
    with connected(url) as connection:
        asked = sa.select(sa.func.count()).where(BATCHES.c.run_id != run_id)
        return int(connection.execute(asked).scalar_one())


def loading_run(services: DagsterServices, url: str) -> str:
    """A run that has its lease and has loaded."""
    services.wait_for(lambda: any(last_entry(url, each) for each in _leased(url)), 90, "a run that loads")
    return next(each for each in _leased(url) if last_entry(url, each))


def _leased(url: str) -> set[str]:
    return runs_with_lease(url) if ledger_total(url) else set()


def test_a_stream_goes_on_after_its_host_has_vanished(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path
) -> None:
    """The next host knows nothing of the run but what stands in Dagster's storage and in the ledger."""
    truth, servers = Truth(), kafka.bootstrap_servers
    with (
        DagsterServices(tmp_path / "dagster", environment(servers, mysql_url, topic), host="host-0") as services,
        Production(servers, topic, truth, rate=20, seed=1) as production,
    ):
        for trial in range(TRIALS):
            lost = loading_run(services, mysql_url)
            services.kill(CODE_SERVER)
            begun, before = time.monotonic(), entries_by_others(mysql_url, lost)
            services.start(CODE_SERVER, host=f"host-{trial + 1}")
            services.wait_for(
                lambda b=before, r=lost: entries_by_others(mysql_url, r) > b, GAP_SECONDS, "rows by another run"
            )
            took = time.monotonic() - begun
            sys.stderr.write(f"a host vanished: rows again after {took:.1f} s\n")
            assert _status(services, lost) is dg.DagsterRunStatus.FAILURE
        production.stop()
        production.check()
        services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        services.wait_for(lambda: not services.is_busy(), 120, "the runs to end")
    assert_exactly_once(mysql_url, servers, topic, truth)


def test_a_run_that_stood_still_is_succeeded_and_loads_nothing_when_it_comes_back(
    kafka: LocalKafka, mysql_url: str, topic: str, tmp_path: Path
) -> None:
    truth, servers = Truth(), kafka.bootstrap_servers
    with (
        DagsterServices(tmp_path / "dagster", environment(servers, mysql_url, topic)) as services,
        Production(servers, topic, truth, rate=20, seed=1) as production,
    ):
        for _ in range(TRIALS):
            paused = loading_run(services, mysql_url)
            pid = _pid(services, paused)
            services.pause(pid)
            begun, before = time.monotonic(), entries_by_others(mysql_url, paused)
            services.wait_for(lambda b=before, r=paused: entries_by_others(mysql_url, r) > b, 150, "another run's rows")
            took = time.monotonic() - begun
            sys.stderr.write(f"a run stood still: rows again after {took:.1f} s\n")
            last = last_entry(mysql_url, paused)
            os.kill(pid, signal.SIGCONT)
            services.wait_for(lambda p=pid: not _is_there(p), 60, "the run that came back to end")
            assert last_entry(mysql_url, paused) == last
            assert _status(services, paused) is dg.DagsterRunStatus.FAILURE
        production.stop()
        production.check()
        services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        services.wait_for(lambda: not services.is_busy(), 120, "the runs to end")
    assert_exactly_once(mysql_url, servers, topic, truth)


@pytest.mark.parametrize(
    "end",
    [
        dg.DagsterInstance.report_run_canceled,  # as Force termination in the UI
        pytest.param(dg.DagsterInstance.report_run_failed, marks=pytest.mark.scheduled),  # as run monitoring
        pytest.param(lambda instance, run: instance.delete_run(run.run_id), marks=pytest.mark.scheduled),
    ],
)
def test_a_run_that_dagster_has_ended_is_succeeded_and_loads_nothing_when_it_comes_back(
    kafka: LocalKafka,
    mysql_url: str,
    topic: str,
    tmp_path: Path,
    end: Callable[[dg.DagsterInstance, dg.DagsterRun], None],
) -> None:
    """Its lease has not lapsed: nobody has to wait for that."""
    truth, servers = Truth(), kafka.bootstrap_servers
    with (
        DagsterServices(tmp_path / "dagster", environment(servers, mysql_url, topic)) as services,
        Production(servers, topic, truth, rate=20, seed=1) as production,
    ):
        paused = loading_run(services, mysql_url)
        pid = _pid(services, paused)
        services.pause(pid)
        begun, before = time.monotonic(), entries_by_others(mysql_url, paused)
        with dg.DagsterInstance.from_config(str(services.home)) as instance:
            end(instance, next(run for run in services.runs() if run.run_id == paused))
        services.wait_for(lambda: entries_by_others(mysql_url, paused) > before, GAP_SECONDS, "another run's rows")
        sys.stderr.write(f"a run was ended while it stood still: rows again after {time.monotonic() - begun:.1f} s\n")
        assert paused not in runs_with_lease(mysql_url)
        last = last_entry(mysql_url, paused)
        os.kill(pid, signal.SIGCONT)
        services.wait_for(lambda: not _is_there(pid), 60, "the run that came back to end")
        assert last_entry(mysql_url, paused) == last
        production.stop()
        production.check()
        services.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        services.wait_for(lambda: not services.is_busy(), 120, "the runs to end")
    assert_exactly_once(mysql_url, servers, topic, truth)


def _status(services: DagsterServices, run_id: str) -> dg.DagsterRunStatus:
    return next(run.status for run in services.runs() if run.run_id == run_id)


def _pid(services: DagsterServices, run_id: str) -> int:
    tag = next(run.tags["kafka_ingest/process"] for run in services.runs() if run.run_id == run_id)
    return int(tag.rsplit(":", 2)[1])


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
