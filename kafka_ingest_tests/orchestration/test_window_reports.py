"""The sensor reports windows that no run materializes. What windows those are: test_windows_properties.py."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.sensing import SensorWorld, a_run, now

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

HOUR = dt.timedelta(hours=1)
PRESENT = now().replace(minute=0, second=0, microsecond=0)
TABLE = dg.AssetKey(["mixed", "t_event"])
ASSETS = {"mixed/t_event", "mixed/t_account", "mixed/dead_letters"}


def hour(ago: int, minute: int = 0) -> dt.datetime:
    return PRESENT - ago * HOUR + dt.timedelta(minutes=minute)


def key(ago: int) -> str:
    return hour(ago).strftime("%Y-%m-%d-%H:%M")


STREAM: Stream = replace(MIXED, window_start=hour(30))


@pytest.fixture(autouse=True)
def _the_present_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the test: minutes may pass before it begins, and the hour with them."""
    monkeypatch.setitem(globals(), "PRESENT", now().replace(minute=0, second=0, microsecond=0))
    monkeypatch.setitem(globals(), "STREAM", replace(MIXED, window_start=hour(30)))
    monkeypatch.setitem(globals(), "GAP", gap())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SensorWorld:
    return SensorWorld(monkeypatch, STREAM)


def reported(found: Any) -> dict[str, dict[str, Any]]:
    """Window → numbers, where all assets have been told the same of it."""
    events = [e for e in found.asset_events if isinstance(e, dg.AssetMaterialization)]
    numbers: dict[str, dict[str, Any]] = {}
    for event in events:
        own = {name: value.value for name, value in event.metadata.items()}
        assert numbers.setdefault(str(event.partition), own) == own
    for window in numbers:
        assert {e.asset_key.to_user_string() for e in events if e.partition == window} == ASSETS
    return numbers


def materialize(instance: dg.DagsterInstance, window: str, rows: int) -> None:
    """As a run does."""
    for path in (["mixed", "t_event"], ["mixed", "t_account"], ["mixed", "dead_letters"]):
        instance.report_runless_asset_event(dg.AssetMaterialization(path, partition=window, metadata={"rows": rows}))


def gap() -> tuple[dt.datetime, ...]:
    """Messages with two empty hours between them."""
    return hour(5, 10), hour(2, 20), hour(2, 30)


GAP = gap()
"""Messages of two windows, with two hours without one in between."""
EMPTY = {"rows": 0, "messages_of_window": 0}


def test_hours_without_a_message_are_materialized_with_0_rows_once_a_later_message_is_loaded(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.messages(*GAP[:1])
    world.load(GAP[:1])
    materialize(instance, key(5), 1)
    assert reported(world.evaluate(instance)) == {}, "a topic that rests must not look fresh"
    world.messages(*GAP)
    assert isinstance(world.tick(instance), dg.RunRequest)
    world.load(GAP[1:], start=1)
    materialize(instance, key(2), 2)
    found = world.evaluate(instance)
    assert found.skip_message == "nothing waiting"
    assert reported(found) == {key(4): EMPTY, key(3): EMPTY}
    assert reported(world.evaluate(instance)) == {}, "once"
    assert instance.get_materialized_partitions(TABLE) == {key(n) for n in (5, 4, 3, 2)}


def test_where_nobody_is_told_of_staleness_every_hour_that_is_over_is_materialized(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    world = SensorWorld(monkeypatch, replace(STREAM, fresh_fail=None))
    assert reported(world.evaluate(instance)) == {}
    world.messages(*GAP)
    world.load(GAP)
    materialize(instance, key(5), 1)
    materialize(instance, key(2), 2)
    assert set(reported(world.evaluate(instance))) == {key(4), key(3), key(1)}


@pytest.mark.parametrize(
    "cursor", [None, "", "{}", "a person's", "[1]", '{"windows_end": 1e300, "windows_first": "x"}']
)
def test_a_sensor_that_has_lost_its_memory_overwrites_no_window_that_had_rows(
    world: SensorWorld, instance: dg.DagsterInstance, cursor: str | None
) -> None:
    """Not even one whose messages Kafka has compacted away since."""
    world.messages(*GAP)
    world.load(GAP)
    materialize(instance, key(5), 1)
    materialize(instance, key(3), 7)
    materialize(instance, key(2), 2)
    assert set(reported(world.evaluate(instance))) == {key(4)}
    world.cursor = cursor
    assert reported(world.evaluate(instance)) == {}
    event = instance.fetch_materializations(dg.AssetRecordsFilter(TABLE, asset_partitions=[key(3)]), limit=1).records[0]
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["rows"].value == 7


def test_a_window_whose_run_did_not_come_to_say_so_is_materialized_without_a_number(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.messages(*GAP)
    world.load(GAP)
    assert reported(world.evaluate(instance)) == {key(5): {"offsets_of_window": 1}, key(4): EMPTY, key(3): EMPTY}


def test_a_run_that_is_loading_may_still_say_so(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    later = (*GAP, hour(0))
    world.messages(*later)
    world.load(later)
    materialize(instance, key(5), 1)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    found = world.evaluate(instance)
    assert found.skip_message == f"run {run.run_id[:8]} is loading this stream"
    assert reported(found) == {key(4): EMPTY, key(3): EMPTY}
    instance.report_run_canceled(run)
    assert reported(world.evaluate(instance)) == {key(2): {"offsets_of_window": 2}, key(1): EMPTY}


def test_a_window_from_before_the_stream_began_is_not_said_to_be_loaded(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.messages(*GAP)
    world.load(GAP[1:], start=1)
    assert set(reported(world.evaluate(instance))) == {key(4), key(3)}


def test_windows_are_gone_through_again_where_the_code_location_begins_earlier(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    late = SensorWorld(monkeypatch, replace(STREAM, window_start=hour(3)))
    late.messages(*GAP)
    late.load(GAP)
    assert set(reported(late.evaluate(instance))) == {key(3)}
    early = SensorWorld(monkeypatch, STREAM)
    early.messages(*GAP)
    early.load(GAP)
    early.cursor = late.cursor
    assert set(reported(early.evaluate(instance))) == {key(5), key(4)}


def test_an_idle_tick_asks_kafka_no_more_than_before(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    world.messages(*GAP)
    world.load(GAP)
    world.evaluate(instance)
    world.metadata.requests = 0
    assert world.tick(instance) == "nothing waiting"
    assert world.metadata.requests == 0


def test_a_stream_that_a_run_is_loading_is_looked_at_once_a_minute_also_where_kafka_does_not_answer(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look that is not answered takes its time."""
    world.messages(*GAP)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    looks: list[None] = []

    def down(*_arguments: object) -> None:
        looks.append(None)
        raise KafkaUnavailable("listing topics: no broker")

    monkeypatch.setattr(world.metadata, "topics", down)
    for _ in range(3):
        assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"
    assert len(looks) == 1
