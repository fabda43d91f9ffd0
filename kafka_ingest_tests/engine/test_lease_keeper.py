"""A run keeps its lease while its process lives, and loads nothing without it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.engine import lease_keeper
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import DatabaseUnavailable, LeaseLost
from kafka_ingest.ledger.leases import Lease, read_leases, renew_lease, revoke_lease
from kafka_ingest.ledger.tables import LEASES
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest_tests.support.world import World, first_five


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.02)
    return World(tmp_path, monkeypatch)


def lease(world: World) -> Lease | None:
    with world.target.sink.engine.connect() as connection:
        return read_leases(connection, "mixed").get("run")


def revoke(world: World) -> None:
    found = None
    while found is None or not _is_revoked(world, found):
        found = lease(world)
        assert found is not None


def _is_revoked(world: World, found: Lease) -> bool:
    with world.target.sink.engine.begin() as connection:
        return revoke_lease(connection, found)


def until(condition: object) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def leased(run: Ingestion) -> Ingestion:
    run.plan((), "live")
    run.keep_lease()
    return run


def test_a_lease_is_renewed_while_the_run_lives_and_given_up_at_its_end(world: World) -> None:
    run = leased(world.run())
    run.keep_lease()
    first = lease(world)
    assert first is not None
    until(lambda: (found := lease(world)) is not None and found.renewed_at > first.renewed_at)
    list(run.drain(first_five(run)))
    run.release_lease()
    assert lease(world) is None
    run.release_lease()
    run.close()
    assert world.names() == world.all_names()


def test_the_lease_stays_between_two_processes_of_a_run(world: World) -> None:
    leased(world.run()).close()
    assert lease(world) is not None
    run = world.run()
    run.keep_lease()
    list(run.drain(first_five(run)))
    run.close()
    assert world.names() == world.all_names()


def test_a_drain_that_is_tried_again_takes_its_lease_again(world: World) -> None:
    run = leased(world.run())
    run.release_lease()
    run.keep_lease()
    assert lease(world) is not None
    list(run.drain(first_five(run)))
    run.close()


def test_a_run_whose_lease_was_revoked_loads_nothing(world: World) -> None:
    run = leased(world.run())
    revoke(world)
    with pytest.raises(LeaseLost):
        first_five(run)
    with pytest.raises(LeaseLost):
        list(run.drain(run.plan((), "live")))
    run.close()
    assert world.names() == []
    assert world.target.batches() == []
    with pytest.raises(LeaseLost):
        world.run().keep_lease()


def test_a_load_whose_lease_is_revoked_under_way_is_rolled_back(world: World) -> None:
    def at_step(step: str) -> None:
        if step == LoadStep.BEGIN:  # SQLite has one writer, so not later
            revoke(world)

    run = leased(world.run(at_step))
    with pytest.raises(LeaseLost):
        first_five(run)
    run.close()
    assert world.names() == []


def test_a_run_that_waits_for_messages_ends_as_its_lease_is_revoked(world: World) -> None:
    run = leased(world.run())
    batch = first_five(run)
    drained = run.drain(batch)
    next(drained)
    revoke(world)
    with pytest.raises(LeaseLost):
        list(drained)
    run.close()


def test_trouble_with_the_database_does_not_end_the_keeping(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = leased(world.run())
    broken: list[str] = []

    def fails_twice(connection: sa.Connection, stream: str, run_id: str) -> bool:
        if len(broken) < 2:
            broken.append(run_id)
            raise DatabaseUnavailable("the database went away")
        return renew_lease(connection, stream, run_id)

    monkeypatch.setattr(lease_keeper, "renew_lease", fails_twice)
    until(lambda: len(broken) == 2)
    before = lease(world)
    assert before is not None
    until(lambda: (found := lease(world)) is not None and found.renewed_at > before.renewed_at)
    run.close()


def test_a_run_of_the_command_line_needs_no_lease(world: World) -> None:
    run = world.run()
    list(run.drain(first_five(run)))
    run.close()
    with world.target.sink.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(LEASES)).scalar() == 0
    assert world.names() == world.all_names()
