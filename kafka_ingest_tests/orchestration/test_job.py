"""A stream's whole job, in process: what is loaded, what Dagster records of it, and which errors are tried again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import DatabaseUnavailable, DeadLetterLimit, SchemaMismatch
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.io_manager import run_files_of
from kafka_ingest.orchestration.launching import ranges_config
from kafka_ingest.orchestration.liveness import process_of, this_process
from kafka_ingest.orchestration.names import LIVE_TAG, PROCESS_TAG
from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.support.cluster import FakeMessage
from kafka_ingest_tests.support.world import P0, STREAM, World

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

TABLES = ["mixed/t_event", "mixed/t_account", "mixed/dead_letters"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    found = World(tmp_path, monkeypatch)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", found.url)
    return found


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def window() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d-%H:00")


def execute(
    instance: dg.DagsterInstance,
    *ranges: OffsetRange,
    kind: str = "live",
    partition: str | None = None,
    fails: bool = False,
) -> dg.ExecuteInProcessResult:
    job = build_definitions([STREAM]).resolve_job_def("ingest_mixed")
    return job.execute_in_process(
        run_config=ranges_config(STREAM, ranges, kind),
        partition_key=partition or window(),
        instance=instance,
        tags={LIVE_TAG: "mixed"},
        raise_on_error=not fails,
    )


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for event in result.get_asset_materialization_events():
        assert event.asset_key is not None
        found.setdefault(event.asset_key.to_user_string(), []).append(event.step_materialization_data.materialization)
    return found


def test_a_run_loads_what_waits_and_materializes_every_asset_with_numbers(
    world: World, instance: dg.DagsterInstance
) -> None:
    result = execute(instance)
    assert result.success
    assert world.names() == world.all_names()
    assert world.target.offsets() == {"mixed[0]": 12, "mixed[1]": 8}
    found = materializations(result)
    assert sorted(found) == sorted(TABLES)
    own = next(m for m in found["mixed/t_event"] if m.partition == window())
    numbers = {name: value.value for name, value in own.metadata.items() if isinstance(value.value, int | float)}
    assert numbers["rows"] == numbers["messages"] == 20
    assert (numbers["dead_letters"], numbers["lag"], numbers["absent_offsets"]) == (0, 0, 0)
    assert numbers["slices"] >= 4
    assert numbers["latency_p50_seconds"] <= numbers["latency_p95_seconds"]
    assert {"rows_per_second", "event_time_from", "event_time_to"} <= set(numbers)
    assert (
        "dagster/partition_row_count" not in own.metadata
    )  # the run's rows since its last report are not the window's
    assert "| `mixed` | 0 | 0 | 12 | 12 |" in str(own.metadata["offset_ranges"].value)


def test_the_dead_letters_page_shows_the_last_ones_that_wait(world: World, instance: dg.DagsterInstance) -> None:
    assert "newest_waiting" not in materializations(execute(instance))["mixed/dead_letters"][-1].metadata
    log = world.logs[P0]
    for offset in range(12, 20):
        log.messages[offset] = FakeMessage(
            P0, offset, b"{" if offset == 15 else log.messages[0].body, 1_767_250_800_000
        )
    log.end = 20
    for found in materializations(execute(instance))["mixed/dead_letters"]:
        assert "| `mixed[0]@15` | decode | `not JSON" in str(found.metadata["newest_waiting"].value)


def test_messages_of_another_window_are_reported_to_that_window(world: World, instance: dg.DagsterInstance) -> None:
    found = materializations(execute(instance))
    other = next(m for m in found["mixed/t_event"] if m.partition == "2026-01-01-07:00")
    assert other.metadata["messages_of_window"].value == 20


def test_the_checks_of_the_ledger_pass(world: World, instance: dg.DagsterInstance) -> None:
    result = execute(instance)
    found = {e.check_name: e.passed for e in result.get_asset_check_evaluations()}
    names = ("accounting", "tiling", "consumer_group", "dead_letter_ratio", "rows")
    assert found == dict.fromkeys(names, True)


def test_the_run_names_its_process_its_kind_and_its_ranges(world: World, instance: dg.DagsterInstance) -> None:
    result = execute(instance)
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert process_of(run.tags[PROCESS_TAG], run.run_id) == this_process()
    assert run.tags["kafka_ingest/kind"] == "live"
    assert run.tags["kafka_ingest/ranges"] == "mixed[0]@[0,3), mixed[1]@[0,2)"


def test_a_run_leaves_no_frames_behind(world: World, instance: dg.DagsterInstance) -> None:
    execute(instance)
    root = run_files_of(instance)._root
    assert not root.exists() or list(root.iterdir()) == []


def test_given_ranges_are_loaded_again_in_place(world: World, instance: dg.DagsterInstance) -> None:
    execute(instance)
    with world.target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE t_event SET name = 'wrong' WHERE _kafka_offset < 6")
    result = execute(instance, OffsetRange("mixed", 0, 0, 6), OffsetRange("mixed", 1, 2, 8), kind="backfill")
    assert result.success
    assert sorted(world.names()) == sorted(
        [*(n for n in world.all_names() if n not in ("1-0", "1-1")), "wrong", "wrong"]
    )
    assert world.target.offsets() == {"mixed[0]": 12, "mixed[1]": 8}
    own = result.asset_materializations_for_node("mixed")
    # The age of what was produced long ago would hide the latency of live runs in the same plot.
    assert own
    assert not any("latency_p50_seconds" in event.metadata for event in own)


def failing(monkeypatch: pytest.MonkeyPatch, stage: str, error: Exception, times: int) -> list[str]:
    """Ingestion whose stage fails so many times; what was tried, in order."""
    tried: list[str] = []
    real = getattr(Ingestion, stage)

    def stage_of(self: Ingestion, *arguments: Any) -> Any:
        tried.append(stage)
        if len(tried) <= times:
            raise error
        return real(self, *arguments)

    monkeypatch.setattr(Ingestion, stage, stage_of)
    return tried


def test_a_retryable_error_is_tried_again_and_the_run_succeeds(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, "commit", DatabaseUnavailable("deadlock (error 1213)"), times=1)
    result = execute(instance)
    assert result.success
    assert len(tried) == 2
    assert world.names() == world.all_names()


def test_a_permanent_error_fails_the_run_at_once_with_its_words(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = failing(monkeypatch, "plan", SchemaMismatch("table t_event lacks 1 column(s)"), times=9)
    result = execute(instance, fails=True)
    assert not result.success
    assert len(tried) == 1
    failure = next(e for e in result.all_events if e.is_step_failure)
    assert "table t_event lacks 1 column(s)" in str(
        failure.step_failure_data.user_failure_data or failure.event_specific_data
    )
    assert world.names() == []


def user_failure(result: dg.ExecuteInProcessResult) -> tuple[str | None, dict[str, Any]]:
    """Description and metadata of the failed step, as the UI shows them."""
    failure = next(e for e in result.all_events if e.is_step_failure)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    return data.description, {name: entry.value for name, entry in (data.metadata or {}).items()}


def test_a_failed_step_shows_the_errors_values_as_metadata(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = tuple(OffsetRange("mixed", 0, n, n + 1) for n in range(60))
    error = DeadLetterLimit("too bad", stream="mixed", dead_letters=3, messages=100, limit=0.02, ranges=ranges)
    failing(monkeypatch, "plan", error, times=9)
    text, metadata = user_failure(execute(instance, fails=True))
    assert text == "too bad"
    lines = metadata.pop("ranges").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("mixed[0]@[0,1)", "and 10 more", 51)
    assert metadata == {"stream": "mixed", "dead_letters": 3, "messages": 100, "limit": 0.02}


def test_a_step_whose_tries_are_used_up_shows_them_too(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.orchestration.boundary.MAX_RETRIES", 0)
    failing(monkeypatch, "plan", DatabaseUnavailable("deadlock (error 1213)", stream="mixed", code=1213), times=9)
    assert user_failure(execute(instance, fails=True)) == ("deadlock (error 1213)", {"stream": "mixed", "code": 1213})


def test_a_failed_run_keeps_its_frames_for_a_re_execution_and_the_next_run_goes_on(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, "commit", SchemaMismatch("no"), times=1)
    failed = execute(instance, fails=True)
    assert not failed.success
    assert (run_files_of(instance)._root / failed.run_id).exists()
    assert len(world.names()) == 5
    assert execute(instance).success
    assert world.names() == world.all_names()
