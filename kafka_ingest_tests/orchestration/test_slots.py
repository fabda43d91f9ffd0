"""Which run gives its slot to one that waits in the queue."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from kafka_ingest.orchestration import slots
from kafka_ingest.orchestration.slots import RunSlots
from kafka_ingest_tests.support.sensing import a_run

pytestmark = pytest.mark.slow

STARTED, QUEUED = dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.QUEUED


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """One with three slots."""
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 3_600)
    with dg.instance_for_test(overrides={"concurrency": {"runs": {"max_concurrent_runs": 3}}}) as found:
        yield found


def launched(instance: dg.DagsterInstance, count: int) -> list[str]:
    """Runs that sensors launched, the oldest first."""
    return [a_run(instance, STARTED, kafka_ingest__reason="because").run_id for _ in range(count)]


def giving(instance: dg.DagsterInstance, runs: list[str]) -> list[str]:
    return [run_id for run_id in runs if RunSlots(instance, run_id).is_wanted()]


def test_nobody_gives_way_while_none_waits(instance: dg.DagsterInstance) -> None:
    assert giving(instance, launched(instance, 3)) == []


def test_nobody_gives_way_to_a_run_that_waits_for_something_else_than_a_slot(instance: dg.DagsterInstance) -> None:
    runs = launched(instance, 2)
    a_run(instance, QUEUED)
    assert giving(instance, runs) == []


def test_as_many_as_wait_give_way_the_oldest_first(instance: dg.DagsterInstance) -> None:
    runs = launched(instance, 3)
    a_run(instance, QUEUED)
    assert giving(instance, runs) == runs[:1]
    a_run(instance, QUEUED)
    assert giving(instance, runs) == runs[:2]


def test_others_follow_where_the_oldest_is_too_busy_to_give_way(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = launched(instance, 3)
    a_run(instance, QUEUED)
    monkeypatch.setattr(slots, "PATIENCE_SECONDS", 1e-9)
    assert giving(instance, runs) == runs


def test_a_run_that_a_person_launched_keeps_its_slot(instance: dg.DagsterInstance) -> None:
    by_hand = a_run(instance, STARTED).run_id
    runs = launched(instance, 2)
    a_run(instance, QUEUED)
    assert giving(instance, [by_hand, *runs]) == runs[:1]


def test_where_nothing_limits_the_runs_nobody_gives_way() -> None:
    with dg.instance_for_test(overrides={"concurrency": {"runs": {"max_concurrent_runs": -1}}}) as unlimited:
        runs = launched(unlimited, 3)
        a_run(unlimited, QUEUED)
        assert giving(unlimited, runs) == []
