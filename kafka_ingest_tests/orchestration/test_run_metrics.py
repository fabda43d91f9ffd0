"""Runs and ticks as Dagster's storage has them."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.scheduler.instigation import InstigatorType as Kind

from kafka_ingest.checks.metric_families import Sample
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import ranges_config
from kafka_ingest.orchestration.names import LIVE_TAG, STREAM_TAG
from kafka_ingest.orchestration.run_metrics import DagsterStorageUnavailable, RunMetrics
from kafka_ingest.testing.models import BOOKINGS
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import STREAM, World


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """This process's, as DAGSTER_HOME names it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as found:
        yield found


def values(samples: list[Sample]) -> dict[str, float]:
    return {f"{s.family.name[13:]}{{{','.join(s.labels)}}}": s.value for s in samples}


def ingest(instance: dg.DagsterInstance, **tags: str) -> str:
    window = dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d-%H:00")
    job = build_definitions([STREAM]).resolve_job_def("ingest_mixed")
    result = job.execute_in_process(
        run_config=ranges_config(NAMES, STREAM, (), "live"),
        partition_key=window,
        instance=instance,
        tags={LIVE_TAG: "mixed", STREAM_TAG: "mixed", **tags},
    )
    return result.run_id


def test_runs_are_counted_by_status_and_stream(world: World, instance: dg.DagsterInstance) -> None:
    ingest(instance)
    job = build_definitions([STREAM]).resolve_job_def("ingest_mixed")
    for tags in ({STREAM_TAG: "mixed"}, {STREAM_TAG: "mixed"}, {STREAM_TAG: "another"}):
        instance.report_run_failed(instance.create_run_for_job(job, tags=tags))
    found = values(RunMetrics([STREAM, BOOKINGS], NAMES).look())
    assert {name: n for name, n in found.items() if name.startswith("runs{mixed")} == {
        "runs{mixed,queued}": 0,
        "runs{mixed,started}": 0,
        "runs{mixed,success}": 1,
        "runs{mixed,failure}": 2,
        "runs{mixed,canceled}": 0,
    }
    assert {n for name, n in found.items() if name.startswith("runs{bookings")} == {0}


def test_the_last_live_run_has_its_seconds_and_those_of_its_steps(world: World, instance: dg.DagsterInstance) -> None:
    begun = time.time()
    ingest(instance)
    metrics = RunMetrics([STREAM], NAMES)
    found = values(metrics.look())
    assert 0 < found["last_run_seconds{mixed}"] <= time.time() - begun
    steps = {name: n for name, n in found.items() if name.startswith("last_run_step_seconds")}
    wanted = ("plan", "read", "translate_dates", "load", "commit_offsets", "drain")
    assert {f"last_run_step_seconds{{mixed,{step}}}" for step in wanted} <= steps.keys()
    assert 0 < sum(steps.values()) <= found["last_run_seconds{mixed}"]
    assert values(metrics.look()) == found
    ingest(instance)
    assert values(metrics.look())["last_run_step_seconds{mixed,load}"] != found["last_run_step_seconds{mixed,load}"]


def test_before_the_first_run_there_is_nothing_but_zero_runs(instance: dg.DagsterInstance) -> None:
    assert set(values(RunMetrics([STREAM], NAMES).look()).values()) == {0}


def test_the_last_tick_that_has_ended_is_told_with_its_seconds(instance: dg.DagsterInstance) -> None:
    for origin, ends in (("other-location", [1_000.0]), ("this-location", [2_000.0, 2_005.0, None])):
        state = _sensor_state(origin)
        instance.add_instigator_state(state)
        for number, end in enumerate(ends):
            begun = 1_999.5 + 5 * number if end is None else end - 0.25
            instance.create_tick(
                TickData(
                    instigator_origin_id=state.instigator_origin_id,
                    instigator_name=state.instigator_name,
                    instigator_type=Kind.SENSOR,
                    status=TickStatus.STARTED if end is None else TickStatus.SKIPPED,
                    timestamp=begun,
                    end_timestamp=end,
                    selector_id=state.selector_id,
                )
            )
    found = values(RunMetrics([STREAM, BOOKINGS], NAMES).look())
    assert found["sensor_last_tick_timestamp_seconds{mixed}"] == 2_004.75
    assert found["sensor_last_tick_seconds{mixed}"] == 0.25
    assert "sensor_last_tick_seconds{bookings}" not in found


def _sensor_state(location: str) -> InstigatorState:
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    code = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name=location)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(code, "__repository__"), "mixed_sensor")
    return InstigatorState(origin, Kind.SENSOR, InstigatorStatus.RUNNING, SensorInstigatorData(min_interval=1))


def test_a_storage_that_cannot_be_read_is_an_error_of_ours(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    metrics = RunMetrics([STREAM], NAMES)
    with sqlite3.connect(tmp_path / "home" / "history" / "runs.db") as connection:
        connection.execute("DROP TABLE run_tags")
    connection.close()
    with pytest.raises(DagsterStorageUnavailable, match="cannot read Dagster's storage"):
        metrics.look()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "missing"))
    with pytest.raises(DagsterStorageUnavailable, match="missing"):
        RunMetrics([STREAM], NAMES)
