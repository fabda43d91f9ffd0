"""Runs in containers, by Dagster's Docker launcher: a container that is killed, and one that stands still, are succeeded.

The situation of dagster-io/dagster issue 8312 (a container that is gone, its run not). Run monitoring asks Docker, so a paused
container's run is given up before its lease lapses; when it comes back the two load side by side, which the ledger keeps apart.
For a schedule: `make hosts`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml

from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.child import REPOSITORY
from kafka_ingest_tests.e2e.dagster_services import DagsterServices
from kafka_ingest_tests.e2e.docker_daemon import IMAGE, container_options, docker_daemon, socket_in
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.production import Production
from kafka_ingest_tests.e2e.streams import environment

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

GAP_SECONDS = 70.0


@pytest.fixture(scope="module")
def containers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("docker")
    with docker_daemon(folder) as client, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", socket_in(folder))
        yield client


def settings(storage_url: str, environ: dict[str, str]) -> str:
    """For dagster.yaml: storage in PostgreSQL, a container for each run."""
    url = sa.make_url(storage_url)
    storage = {"scheme": "postgresql+psycopg2", "hostname": url.host, "port": url.port, "db_name": url.database}
    storage |= {"username": url.username, "password": url.password}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = environ | {"PYTHONPATH": str(REPOSITORY), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    launcher = {
        "image": IMAGE,
        "env_vars": [f"{name}={value}" for name, value in variables.items()],
        "container_kwargs": container_options(),
    }
    found = {
        "storage": {"postgres": {"postgres_db": storage}},
        "run_launcher": {"module": "dagster_docker", "class": "DockerRunLauncher", "config": launcher},
    }
    return str(yaml.safe_dump(found))


def kill(container: Any) -> Callable[[], None]:
    container.kill()
    return lambda: None


def pause(container: Any) -> Callable[[], None]:
    container.pause()
    return lambda: _continue(container)


def _continue(container: Any) -> None:
    container.unpause()
    deadline = time.monotonic() + 150
    while container.status != "exited":
        assert time.monotonic() < deadline, "the container that came back does not end"
        time.sleep(1)
        container.reload()


@pytest.mark.parametrize("fault", [kill, pause])
def test_a_container_that_is_killed_or_stands_still_is_succeeded(
    kafka: LocalKafka,
    mysql_url: str,
    postgresql: LocalDatabaseServer,
    topic: str,
    containers: Any,
    tmp_path: Path,
    fault: Callable[[Any], Callable[[], None]],
) -> None:
    truth, servers = Truth(), kafka.bootstrap_servers
    environ = environment(servers, mysql_url, topic)
    dagster = DagsterServices(tmp_path / "dagster", environ, settings=settings(fresh_database(postgresql), environ))
    with dagster, Production(servers, topic, truth, rate=40, seed=1) as production:
        dagster.wait_for(lambda: ledger_total(mysql_url) > 200, 120, "rows")
        run = next(run for run in dagster.runs() if run.status is dg.DagsterRunStatus.STARTED)
        container = containers.containers.get(run.tags["docker/container_id"])
        back = fault(container)
        begun = time.monotonic()
        dagster.wait_for(lambda: rows_by_others(mysql_url, run.run_id) > 0, GAP_SECONDS, "rows by another container")
        sys.stderr.write(f"container, {fault.__name__}: rows again after {time.monotonic() - begun:.1f} s\n")
        production.stop()
        production.check()
        back()
        dagster.wait_for(lambda: ledger_total(mysql_url) >= truth.total, 120, "all messages")
        dagster.wait_for(lambda: not dagster.is_busy(), 120, "the runs to end")
    assert_exactly_once(mysql_url, servers, topic, truth)


def rows_by_others(url: str, run_id: str) -> int:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        asked = sa.select(sa.func.count()).where(BATCHES.c.run_id != run_id)
        found = int(connection.execute(asked).scalar_one())
    engine.dispose()
    return found
