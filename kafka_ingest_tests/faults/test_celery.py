"""Dagster on Celery: ops as tasks on workers that share no disk, tasks that are delivered twice, results that nobody keeps.

The situations of dagster-io/dagster issues 2436, 2823 and 9045 (a hand-over on a disk that the next worker does not have), of
celery/celery issue 5935 and dagster issue 7641 (a run that is started again while it runs), and of the launcher's default
backend, which tells the daemon nothing. Whole runs on workers that vanish (dagster issues 2336, 3705, 17403): `test_hosts.py`.
For a schedule: `make hosts`.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.celery_deployment import CELERY, EXECUTOR_VARIABLE, CeleryDeployment, Servers
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_services import WEBSERVER
from kafka_ingest_tests.e2e.graphql import BACKFILL, graphql
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.production import Production
from kafka_ingest_tests.e2e.streams import environment

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

STEPS = "kafka_ingest_tests.e2e.celery_steps"  # not imported here: it makes definitions
TABLES = ("information", "announcement", "dead_letters")
MESSAGES = 3_000


class World:
    """Messages of this hour and of the one before, and what the tables must hold."""

    def __init__(self, found: Servers) -> None:
        self.servers = found.bootstrap_servers
        self.url = found.fresh_database()
        self.topic = make_topic(found.kafka, partitions=4)
        self.truth = Truth()
        self.environ = environment(self.servers, self.url, self.topic)

    def produce(self, seed: int) -> None:
        now = time.time()
        stamps = [int((now - age) * 1_000) for age in (0, 3_600)]
        produce(
            self.servers, self.topic, news(seed, MESSAGES), self.truth, timestamp_ms=lambda number: stamps[number % 2]
        )

    def is_loaded(self) -> bool:
        return ledger_total(self.url) >= self.truth.total

    def check(self) -> None:
        assert_exactly_once(self.url, self.servers, self.topic, self.truth)


def with_steps(
    found: Servers, world: World, folder: Path, *, launcher: str = "default", **more: str
) -> CeleryDeployment:
    """Whose ops of backfills are tasks of their own."""
    executor = {"broker": found.broker(), "backend": found.broker(), "config_source": CELERY}
    environ = world.environ | {EXECUTOR_VARIABLE: json.dumps(executor)} | more
    return CeleryDeployment(folder, found, environ, module=STEPS, settings=found.dagster_settings(launcher=launcher))


def backfill(dagster: CeleryDeployment) -> dg.DagsterRun:
    """The run of a backfill of both hours, launched as the UI does it."""
    known = {run.run_id for run in backfills(dagster)}
    now = dt.datetime.now(dt.timezone.utc)
    keys = sorted((now - dt.timedelta(hours=hours)).strftime("%Y-%m-%d-%H:00") for hours in (0, 1))
    assets = [{"path": ["information", name]} for name in TABLES]
    answer = graphql(dagster.web_port, BACKFILL, keys=keys, assets=assets)["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    dagster.wait_for(lambda: len(backfills(dagster)) > len(known), 60, "the backfill's run")
    return next(run for run in backfills(dagster) if run.run_id not in known)


def backfills(dagster: CeleryDeployment) -> list[dg.DagsterRun]:
    return [run for run in dagster.runs() if "dagster/backfill" in run.tags]


def status(dagster: CeleryDeployment, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    return next(each.status for each in dagster.runs() if each.run_id == run.run_id)


def events(dagster: CeleryDeployment, run: dg.DagsterRun) -> str:
    """All that the run has said."""
    with dg.DagsterInstance.from_config(str(dagster.home)) as instance:
        return "\n".join(
            f"{entry.step_key} {entry.message} {entry.dagster_event.event_specific_data if entry.dagster_event else ''}"
            for entry in instance.all_logs(run.run_id)
        )


def test_ops_of_a_backfill_on_workers_that_share_a_folder(network_servers: Servers, tmp_path: Path) -> None:
    world, shared = World(network_servers), tmp_path / "shared"
    shared.mkdir()
    with with_steps(network_servers, world, tmp_path, KAFKA_INGEST_HANDOVER=str(shared)) as dagster:
        dagster.start(WEBSERVER)
        world.produce(1)
        dagster.wait_for(world.is_loaded, 120, "all messages")
        run = backfill(dagster)
        dagster.wait_for(lambda: status(dagster, run).value in ("SUCCESS", "FAILURE"), 240, "the backfill")
        said = events(dagster, run)
        assert status(dagster, run) is dg.DagsterRunStatus.SUCCESS, said
        workers = {name for name in ("worker-0", "worker-1") if f"{name}@{name}" in said}
        assert workers, said
        assert list(shared.rglob("*.pickle")) == []
        dagster.wait_for(lambda: not dagster.is_busy(), 120, "the runs to end")
    world.check()


@pytest.mark.parametrize(
    ("launcher", "handover", "reason"),
    [
        ("default", "", "set KAFKA_INGEST_HANDOVER for all of them"),
        ("celery", "/nowhere", "Never call result.get() within a task!"),
    ],
)
def test_ops_on_workers_are_refused_where_they_cannot_work_before_anything_is_read(
    network_servers: Servers, tmp_path: Path, launcher: str, handover: str, reason: str
) -> None:
    """Without a place to hand over; as tasks of a run that is a task itself. The stream's own job, in one process, works."""
    world = World(network_servers)
    with with_steps(network_servers, world, tmp_path, launcher=launcher, KAFKA_INGEST_HANDOVER=handover) as dagster:
        dagster.start(WEBSERVER)
        world.produce(1)
        dagster.wait_for(world.is_loaded, 120, "all messages")
        run = backfill(dagster)
        dagster.wait_for(lambda: status(dagster, run).value in ("SUCCESS", "FAILURE"), 120, "the refusal")
        said = events(dagster, run)
        assert status(dagster, run) is dg.DagsterRunStatus.FAILURE
        assert reason in said
        assert "Nothing was loaded" in said
        assert 'Started execution of step "information.read"' not in said
        dagster.wait_for(lambda: not dagster.is_busy(), 120, "the runs to end")
    world.check()


def test_a_task_that_is_delivered_again_while_its_run_loads_changes_nothing(
    network_servers: Servers, tmp_path: Path
) -> None:
    """As with late acknowledgement and a visibility timeout that is shorter than a run, or a pod that Kubernetes starts again."""
    world = World(network_servers)
    with (
        CeleryDeployment(tmp_path, network_servers, world.environ) as dagster,
        Production(world.servers, world.topic, world.truth, rate=40, seed=1) as production,
    ):
        dagster.wait_for(lambda: ledger_total(world.url) > 0, 120, "the first rows")
        run = next(run for run in dagster.runs() if run.status is dg.DagsterRunStatus.STARTED)
        deliver_again(dagster, run)
        dagster.wait_for(lambda: "duplicate run" in events(dagster, run), 60, "the second delivery")
        time.sleep(10)
        production.stop()
        production.check()
        dagster.wait_for(world.is_loaded, 120, "all messages")
        dagster.wait_for(lambda: not dagster.is_busy(), 120, "the runs to end")
        assert {each.status for each in dagster.runs()} == {dg.DagsterRunStatus.SUCCESS}, dagster.tail()
    world.check()


def deliver_again(dagster: CeleryDeployment, run: dg.DagsterRun) -> None:
    """The launcher's task once more, as the broker would."""
    from dagster._core.launcher import LaunchRunContext

    with dg.DagsterInstance.from_config(str(dagster.home)) as instance:
        again = instance.get_run_by_id(run.run_id)
        assert again is not None
        instance.run_launcher.launch_run(LaunchRunContext(again, workspace=None))


def test_a_result_backend_that_tells_the_daemon_nothing_fails_runs_that_are_well_and_loads_exactly_once(
    network_servers: Servers, tmp_path: Path
) -> None:
    """`rpc://`, dagster-celery's default: run monitoring asks it for a run's task, and takes the answer for a worker that is
    gone."""
    world = World(network_servers)
    settings = network_servers.dagster_settings(result_backend="rpc://")
    with (
        CeleryDeployment(tmp_path, network_servers, world.environ, settings=settings) as dagster,
        Production(world.servers, world.topic, world.truth, rate=40, seed=1) as production,
    ):
        dagster.wait_for(lambda: failed(dagster) != [], 120, "a run that is failed though it is well")
        time.sleep(60)
        production.stop()
        production.check()
        dagster.wait_for(world.is_loaded, 240, "all messages")
        dagster.wait_for(lambda: not dagster.is_busy(), 240, "the runs to end")
        time.sleep(30)  # those that it has failed live on until they have nothing more to wait for
    world.check()


def failed(dagster: CeleryDeployment) -> list[dg.DagsterRun]:
    return [run for run in dagster.runs() if run.status is dg.DagsterRunStatus.FAILURE]
