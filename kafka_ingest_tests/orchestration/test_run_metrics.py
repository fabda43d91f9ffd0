"""Runs and ticks as Dagster's storage has them."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.execution.plan.objects import StepSuccessData
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
from kafka_ingest.orchestration.names import GROUP_TAG, LIVE_TAG, STREAM_TAG, Names
from kafka_ingest.orchestration.run_metrics import DagsterStorageUnavailable, RunMetrics
from kafka_ingest.orchestration.troubles import failed_tag
from kafka_ingest.testing.models import BOOKINGS
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import STREAM, World

pytestmark = pytest.mark.slow


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


def test_all_streams_runs_are_counted_by_one_question_for_each_tag(instance: dg.DagsterInstance) -> None:
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.extend([statement] if "count(" in statement.lower() else [])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        RunMetrics([replace(BOOKINGS, name=f"bookings{number}") for number in range(20)], NAMES).look()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert len(asked) == 2


def test_a_run_of_a_group_counts_for_each_of_its_streams_and_its_failure_for_those_that_failed(
    instance: dg.DagsterInstance,
) -> None:
    """An alert on failures names the stream that has them, not the hundred beside it."""
    grouped = [replace(each, group="small") for each in (STREAM, BOOKINGS)]
    names = Names.with_prefix("shop")
    job = build_definitions(grouped, key_prefix="shop").resolve_job_def("shop_ingest_small")
    for tags in ({}, failed_tag(["mixed"]), failed_tag(["mixed", "bookings"])):
        run = instance.create_run_for_job(job, tags={GROUP_TAG: "shop/small", LIVE_TAG: "shop/small", **tags})
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job.name), run.run_id)
        for kind in ("STEP_START", "STEP_SUCCESS"):
            data = StepSuccessData(1.0) if kind == "STEP_SUCCESS" else None  # type: ignore[no-untyped-call]
            step = dg.DagsterEvent(kind, job.name, step_key="shop_small_turns", event_specific_data=data)
            instance.report_dagster_event(step, run.run_id)
        if tags:
            instance.report_run_failed(run)
        else:
            instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", job.name), run.run_id)
    alone = build_definitions(grouped, key_prefix="shop").resolve_job_def("shop_ingest_mixed")
    instance.create_run_for_job(alone, tags={STREAM_TAG: "shop/mixed"})
    found = values(RunMetrics(grouped, names).look())
    assert {name: n for name, n in found.items() if name.startswith("runs{") and n} == {
        "runs{mixed,queued}": 1,
        "runs{mixed,success}": 1,
        "runs{mixed,failure}": 2,
        "runs{bookings,success}": 2,
        "runs{bookings,failure}": 1,
    }
    assert {name for name in found if name.startswith("last_run_step_seconds")} == {
        "last_run_step_seconds{mixed,turns}",
        "last_run_step_seconds{bookings,turns}",
    }


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
