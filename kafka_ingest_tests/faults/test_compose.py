"""The deployment of docs/compose: its image is built, its services are started, and a stream outlives what happens to workers.

Situations: celery/celery issue 4795 and cookiecutter-django 3405 (a worker's container that is stopped kills its tasks),
dagster-io/dagster issues 18919 and 22294 (a user who may not write in DAGSTER_HOME), 17493 (a daemon that does not reach the code
server), 32216 (a code server that comes back). For a schedule: `make hosts`.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.ledger.tables import BATCHES, LEASES
from kafka_ingest.local.ports import LOOPBACK, port_is_free
from kafka_ingest.streams.information import STREAM
from kafka_ingest_tests.e2e.celery_deployment import Servers
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.compose_deployment import WEB_PORT, ComposeDeployment
from kafka_ingest_tests.e2e.docker_daemon import docker_daemon, socket_in
from kafka_ingest_tests.e2e.graphql import graphql
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.production import Production

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

(TOPIC,) = STREAM.topic_names
GAP_SECONDS = 70.0
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"


class World:
    """The deployment with its example stream, and what the tables must hold."""

    def __init__(self, found: Servers, deployment: ComposeDeployment) -> None:
        self.servers, self.url, self.deployment = found, found.mysql.url(), deployment
        self.truth = Truth()
        self._seed = 0
        self._engine = sa.create_engine(self.url)

    def production(self) -> Production:
        self._seed += 1
        return Production(self.servers.bootstrap_servers, TOPIC, self.truth, rate=40, seed=self._seed)

    def statuses(self) -> dict[str, str]:
        """Of all runs, as the web UI has them."""
        found = graphql(WEB_PORT, RUNS)["runsOrError"]["results"]
        return {run["runId"]: run["status"] for run in found}

    def loading(self) -> dict[str, str]:
        """Run → its container's id, of those that load."""
        if not ledger_total(self.url):
            return {}
        with self._engine.connect() as connection:
            asked = sa.select(LEASES.c.run_id, LEASES.c.host).where(LEASES.c.revoked_at.is_(None))
            return {row.run_id: row.host for row in connection.execute(asked)}

    def rows_of(self, run: str, *, others: bool = False) -> int:
        """How many slices a run, or any but this one, has loaded."""
        is_wanted = BATCHES.c.run_id != run if others else BATCHES.c.run_id == run
        with self._engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(is_wanted)).scalar_one())

    def finish(self, production: Production) -> None:
        """Every message is there once, and no run is under way."""
        production.stop()
        production.check()
        self.deployment.wait_for(lambda: ledger_total(self.url) >= self.truth.total, 180, "all messages")
        ended = {"SUCCESS", "FAILURE", "CANCELED"}
        self.deployment.wait_for(lambda: set(self.statuses().values()) <= ended, 180, "the runs to end")
        assert_exactly_once(self.url, self.servers.bootstrap_servers, TOPIC, self.truth)


@pytest.fixture(scope="module")
def world(network_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    assert port_is_free(WEB_PORT), f"the deployment's web UI is on port {WEB_PORT}, which something else has"
    admin = AdminClient({"bootstrap.servers": network_servers.kafka.bootstrap_servers})
    admin.create_topics([NewTopic(TOPIC, 4, 1)])[TOPIC].result(30)
    folder = tmp_path_factory.mktemp("compose")
    with (
        docker_daemon(folder) as client,
        ComposeDeployment(folder, client, socket_in(folder), network_servers) as deployment,
    ):
        yield World(network_servers, deployment)


def test_a_stream_loads_and_the_web_ui_shows_it(world: World) -> None:
    counts = {name: len(world.deployment.containers(name)) for name in ("code", "daemon", "web", "worker")}
    assert counts == {"code": 1, "daemon": 1, "web": 1, "worker": 2}
    with world.production() as production:
        world.deployment.wait_for(lambda: ledger_total(world.url) > 200, 120, "rows")
        world.finish(production)
    assert world.deployment.health("code") == {"healthy"}
    with urllib.request.urlopen(f"http://{LOOPBACK}:{WEB_PORT}/", timeout=30) as answer:
        assert b"Dagster" in answer.read()
    assert set(world.statuses().values()) == {"SUCCESS"}, world.deployment.tail()


def test_a_run_ends_well_on_a_worker_that_is_stopped(world: World) -> None:
    with world.production() as production:
        world.deployment.wait_for(world.loading, 120, "a run")
        (run,) = world.loading()
        stop = world.deployment.start("stop", "worker")
        try:
            time.sleep(5)  # by then Celery knows of it
            slices = world.rows_of(run)
            world.deployment.wait_for(lambda: world.rows_of(run) > slices, 60, "rows on a worker that is to stop")
            production.stop()
            said, _ = stop.communicate(timeout=300)
        finally:
            stop.kill()
        assert stop.returncode == 0, said
        assert world.deployment.containers("worker") == []
        assert world.statuses()[run] == "SUCCESS", world.deployment.tail()
        world.deployment.up()
        world.finish(production)


def test_a_worker_that_is_killed_is_succeeded(world: World) -> None:
    with world.production() as production:
        world.deployment.wait_for(world.loading, 120, "a run")
        ((run, host),) = world.loading().items()
        world.deployment.wait_for(lambda: world.rows_of(run) > 0, 60, "its rows")
        (container,) = [each for each in world.deployment.containers("worker") if each.id.startswith(host)]
        others = world.rows_of(run, others=True)
        container.kill()
        took = world.deployment.wait_for(
            lambda: world.rows_of(run, others=True) > others, GAP_SECONDS, "rows by another worker"
        )
        sys.stderr.write(f"worker's container killed: rows again after {took:.1f} s\n")
        world.finish(production)
        world.deployment.up()


def test_a_stream_goes_on_when_its_code_server_is_started_again(world: World) -> None:
    """As for new code: another container, with another address."""
    world.deployment.compose("up", "-d", "--force-recreate", "--no-deps", "code")
    world.deployment.wait_for(lambda: world.deployment.health("code") == {"healthy"}, 180, "a healthy code server")
    before = ledger_total(world.url)
    with world.production() as production:
        world.deployment.wait_for(lambda: ledger_total(world.url) > before, 150, "rows by the new code server's runs")
        world.finish(production)
