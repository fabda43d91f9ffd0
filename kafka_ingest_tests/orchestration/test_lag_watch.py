"""Lag and freshness go on while a stream is stuck or rests: the sensor observes the topics where no run does."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.kafka.metadata import TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.orchestration.lag_watch import is_due
from kafka_ingest.orchestration.sensor_memory import SensorMemory
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.sensing import P0, SensorWorld, a_run, now

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

BEGIN = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
TICK = 5


def after(seconds: float) -> dt.datetime:
    return BEGIN + dt.timedelta(seconds=seconds)


def told(hours: float, *, lag: int, loads_every: float | None = None, stream: Any = MIXED) -> list[float]:
    """Seconds at which the sensor observes, of a stream that was loaded at 0 and then every so often."""
    found: list[float] = []
    memory = SensorMemory()
    for seconds in range(0, int(hours * 3600), TICK):
        loaded = seconds // loads_every * loads_every if loads_every else 0
        ledger = {P0: LedgerPosition(10, "id", after(loaded))}
        state = StreamState(TopicState((P0,), {}, ()), {P0: Watermarks(0, 10 + lag)}, ledger, {})
        memory = memory.after(state, now=after(seconds))
        if is_due(state, memory, stream, now=after(seconds)):
            found.append(seconds)
            memory = replace(memory, observed_at=after(seconds))
    return found


def test_a_stuck_stream_is_observed_once_a_minute_for_an_hour_and_then_every_ten_minutes() -> None:
    found = told(3, lag=7)
    assert found[:3] == [60, 120, 180]
    assert len([s for s in found if s < 3600]) == 59
    assert [s for s in found if s > 3600] == [3540 + 600 * n for n in range(1, 13)]


def test_a_stream_that_rests_is_observed_once_an_hour() -> None:
    assert told(24, lag=0) == [3600 * n for n in range(1, 24)]


def test_a_stream_that_is_loaded_is_observed_by_its_runs_alone() -> None:
    assert told(3, lag=7, loads_every=55) == []
    assert told(3, lag=0, loads_every=600) == []


def test_messages_that_wait_for_a_batch_as_they_should_are_not_stuck() -> None:
    slow = replace(MIXED, batch=replace(MIXED.batch, max_wait_seconds=1_800, min_messages=1_000))
    assert told(0.5, lag=7, stream=slow) == []
    assert told(0.6, lag=7, stream=slow)[:2] == [1_800, 1_860]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SensorWorld:
    return SensorWorld(monkeypatch, replace(MIXED, window_start=now()))


def observed(found: Any) -> dict[str, Any]:
    """Numbers of the only observation; none where there is none."""
    events = [e for e in found.asset_events if isinstance(e, dg.AssetObservation)]
    assert [e.asset_key.to_user_string() for e in events] in ([], ["kafka/mixed"])
    return {name: value.value for each in events for name, value in each.metadata.items()}


def stuck(world: SensorWorld, seconds: float) -> None:
    """One message loaded, two that have waited since, and a sensor that has seen them wait."""
    instants = [now() - dt.timedelta(seconds=s) for s in (seconds + 20, seconds + 10, seconds)]
    world.messages(*instants)
    world.load(instants[:1], seconds_ago=seconds + 15)
    world.cursor = SensorMemory(waiting_since=now() - dt.timedelta(seconds=seconds)).cursor


def test_what_is_stuck_behind_a_run_that_loads_nothing_is_observed(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    stuck(world, 100)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    found = world.evaluate(instance)
    assert found.skip_message == f"run {run.run_id[:8]} is loading this stream"
    numbers = observed(found)
    assert (numbers["lag"], numbers["end_offsets"], numbers["kafka_partitions"]) == (2, 3, 1)
    assert numbers["seconds_since_load"] == pytest.approx(115, abs=5)
    assert numbers["oldest_waiting_seconds"] == pytest.approx(110, abs=5)
    assert "| `mixed` | 0 | 0 | 3 | 1 | 2 |" in numbers["partitions"]
    assert "messages_per_second" not in numbers, "nothing to compare with yet"
    assert observed(world.evaluate(instance)) == {}, "a minute has not gone by"
    memory = SensorMemory.of(world.cursor)
    earlier = now() - dt.timedelta(seconds=61)
    world.cursor = replace(memory, observed_at=earlier, looked_at=earlier).cursor
    assert observed(world.evaluate(instance))["messages_per_second"] == 0


def test_what_backs_off_is_observed_and_a_run_that_is_launched_takes_over(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    stuck(world, 100)
    assert world.tick(instance).partition_key is not None
    a_run(instance, dg.DagsterRunStatus.FAILURE)
    found = world.evaluate(instance)
    assert found.skip_message.startswith("backing off")
    assert observed(found)["lag"] == 2


def test_a_database_that_does_not_answer_leaves_positions_as_they_were_and_lag_goes_on(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    instants = [now() - dt.timedelta(seconds=s) for s in (9, 8, 7)]
    world.messages(*instants[:1])
    world.load(instants[:1], seconds_ago=100)
    assert observed(world.evaluate(instance)) == {}
    with world.target.sink.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE kafka_ingest_offsets RENAME TO gone"))
        connection.execute(sa.text("CREATE TABLE kafka_ingest_offsets (stream TEXT)"))
    world.messages(*instants)
    found = world.evaluate(instance)
    assert "kafka_ingest_offsets" in found.skip_message or "no such column" in found.skip_message
    assert observed(found) == {}
    world.cursor = SensorMemory(waiting_since=now() - dt.timedelta(seconds=61)).cursor
    numbers = observed(world.evaluate(instance))
    assert (numbers["lag"], numbers["end_offsets"]) == (2, 3)
    assert numbers["seconds_since_load"] >= 100
    assert numbers["ledger_seen"] == pytest.approx(now().timestamp(), abs=60)
    assert "log_seen" not in numbers


def test_a_cluster_that_does_not_answer_is_taken_as_it_was(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instants = [now() - dt.timedelta(seconds=s) for s in (9, 8, 7)]
    world.messages(*instants)
    world.load(instants[:1], seconds_ago=100)
    world.evaluate(instance)

    def down(*_arguments: object) -> None:
        raise KafkaUnavailable("listing topics: no broker")

    monkeypatch.setattr(world.metadata, "topics", down)
    world.cursor = SensorMemory(waiting_since=now() - dt.timedelta(seconds=61)).cursor
    found = world.evaluate(instance)
    assert found.skip_message == "KafkaUnavailable: listing topics: no broker"
    numbers = observed(found)
    assert (numbers["lag"], numbers["end_offsets"]) == (2, 3)
    assert numbers["log_seen"] == pytest.approx(now().timestamp(), abs=60)
    assert not {"ledger_seen", "oldest_waiting_seconds"} & numbers.keys()


def test_an_idle_tick_asks_nothing_more_and_an_observation_of_what_waits_one_request(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    stuck(world, 100)
    a_run(instance, dg.DagsterRunStatus.STARTED)
    for _ in range(2):
        requests = world.metadata.requests
        assert observed(world.evaluate(instance))["lag"] == 2
        minute_ago = now() - dt.timedelta(seconds=61)
        world.cursor = replace(SensorMemory.of(world.cursor), observed_at=minute_ago, looked_at=minute_ago).cursor
    assert world.metadata.requests - requests == 1, "the first has asked where the windows begin, too"
