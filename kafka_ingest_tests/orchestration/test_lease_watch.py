"""The sensor believes a run's lease, wherever the run is."""

from __future__ import annotations

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.ledger.leases import acquire_lease, read_leases
from kafka_ingest.ledger.tables import LEASES
from kafka_ingest.orchestration import lease_watch
from kafka_ingest.orchestration.lease_watch import CONFIRM_SECONDS, TROUBLE_SECONDS, LeaseWatch, Standing
from kafka_ingest.orchestration.liveness import process_tag, this_process
from kafka_ingest.orchestration.names import PROCESS_TAG
from kafka_ingest.sinks.base import Sink
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.sensing import SensorWorld, a_run

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

STARTED, FAILURE = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.FAILURE


def give_lease(sink: Sink, run_id: str, *, seconds_ago: float = 0.0) -> None:
    """As its run renewed it so long ago."""
    with sink.engine.begin() as connection:
        acquire_lease(connection, "mixed", run_id, "elsewhere")
        then = f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{seconds_ago} seconds') || '000'"
        connection.execute(sa.update(LEASES).where(LEASES.c.run_id == run_id).values(renewed_at=sa.text(then)))


class Watched:
    """A watch whose clock the test moves."""

    def __init__(self) -> None:
        self.target = Target(MIXED)
        self.now = 100.0
        self.watch = LeaseWatch("mixed", clock=lambda: self.now)

    def look(self) -> dict[str, Standing]:
        return self.watch.standings(lambda: self.target.sink, ["r"])

    @property
    def is_revoked(self) -> bool:
        with self.target.sink.engine.connect() as connection:
            return read_leases(connection, "mixed")["r"].is_revoked


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_lease_that_is_renewed_stands(watched: Watched) -> None:
    for _ in range(5):
        give_lease(watched.target.sink, "r", seconds_ago=29)
        assert watched.look() == {"r": Standing()}
        watched.now += CONFIRM_SECONDS
    assert not watched.is_revoked


def test_a_lapsed_lease_is_revoked_when_it_was_seen_twice(watched: Watched) -> None:
    give_lease(watched.target.sink, "r", seconds_ago=31)
    assert watched.look() == {"r": Standing()}
    watched.now += CONFIRM_SECONDS - 1
    assert watched.look() == {"r": Standing()}
    watched.now += 1
    assert watched.look() == {"r": Standing(is_revoked=True)}
    assert watched.is_revoked


def test_a_run_that_renews_late_is_not_given_up(watched: Watched) -> None:
    """As after an outage of the database: everybody comes back to a lease that is old."""
    give_lease(watched.target.sink, "r", seconds_ago=500)
    assert watched.look() == {"r": Standing()}
    watched.now += CONFIRM_SECONDS - 1
    give_lease(watched.target.sink, "r", seconds_ago=1)
    watched.now += CONFIRM_SECONDS
    assert watched.look() == {"r": Standing()}
    assert not watched.is_revoked


def test_a_lease_that_was_revoked_by_another_dagster_is_known_at_once(watched: Watched) -> None:
    give_lease(watched.target.sink, "r")
    with watched.target.sink.engine.begin() as connection:
        connection.execute(sa.update(LEASES).values(revoked_at=LEASES.c.renewed_at))
    assert watched.look() == {"r": Standing(is_revoked=True)}


def test_how_long_a_run_has_no_lease_is_counted_from_when_that_was_seen(watched: Watched) -> None:
    assert watched.look() == {"r": Standing()}
    watched.now += 50
    assert watched.look() == {"r": Standing(absent_seconds=50)}
    give_lease(watched.target.sink, "r")
    watched.now += 1
    assert watched.look() == {"r": Standing()}


def test_while_the_database_does_not_answer_nothing_is_known_and_it_is_left_alone(watched: Watched) -> None:
    asked: list[float] = []

    def away() -> Sink:
        asked.append(watched.now)
        raise DatabaseUnavailable("the database went away")

    for _ in range(3):
        assert watched.watch.standings(away, ["r"]) == {}
        watched.now += TROUBLE_SECONDS / 2
    assert len(asked) == 2
    assert watched.watch.standings(away, []) == {}


# --- the sensor


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SensorWorld:
    found = SensorWorld(monkeypatch)
    found.waiting(50)
    return found


def elsewhere(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run whose process is on another host."""
    run = a_run(instance, STARTED)
    _, rest = process_tag(run.run_id).split("@")
    here, _, others = rest.partition(":")
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}@not-{here}:{others}"})
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_on_another_host_is_waited_for_while_it_has_its_lease(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "START_SECONDS", 0.0)
    run = elsewhere(instance)
    give_lease(world.target.sink, run.run_id)
    for _ in range(2):
        assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


def test_a_run_on_another_host_whose_lease_lapsed_is_given_up(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.orchestration.lease_watch.CONFIRM_SECONDS", 0.0)
    run = elsewhere(instance)
    give_lease(world.target.sink, run.run_id, seconds_ago=31)
    assert str(world.tick(instance)).startswith("backing off")
    assert status(instance, run) == FAILURE


def test_a_run_on_another_host_that_never_took_a_lease_is_given_up(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "START_SECONDS", 0.0)
    run = elsewhere(instance)
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"
    assert str(world.tick(instance)).startswith("backing off")
    assert status(instance, run) == FAILURE


def test_a_process_that_is_there_but_stands_still_is_given_up_by_its_lease(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.orchestration.lease_watch.CONFIRM_SECONDS", 0.0)
    run = a_run(instance, STARTED)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: process_tag(run.run_id)})
    give_lease(world.target.sink, run.run_id, seconds_ago=31)
    assert str(world.tick(instance)).startswith("backing off")
    assert status(instance, run) == FAILURE


def test_a_process_in_another_container_of_the_same_host_name_is_not_looked_for_here(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    run = a_run(instance, STARTED)
    name, namespace, boot, _, _ = this_process().split(":")
    elsewhere = f"{name}:{int(namespace) + 1}:{boot}:4194304:1"  # no such process here
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}@{elsewhere}"})
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"
    assert status(instance, run) == STARTED
