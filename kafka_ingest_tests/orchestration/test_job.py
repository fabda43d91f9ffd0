"""A stream's whole job, in process: what is loaded, what Dagster records of it, and which errors are tried again."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.fingerprint import Fingerprint, database_of, look
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import DatabaseUnavailable, DeadLetterLimit, SchemaMismatch
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.io_manager import run_files_of
from kafka_ingest.orchestration.launching import PARTITION_RANGE_END_TAG, PARTITION_RANGE_START_TAG, ranges_config
from kafka_ingest.orchestration.liveness import process_of, this_process
from kafka_ingest.orchestration.names import LIVE_TAG, PROCESS_TAG
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.testing.models import BOOKINGS
from kafka_ingest_tests.support.cluster import FakeMessage, Log
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import P0, STREAM, World

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

TABLES = ["mixed/t_event", "mixed/t_account", "mixed/dead_letters"]


def window() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%d-%H:00")


def execute(
    instance: dg.DagsterInstance,
    *ranges: OffsetRange,
    kind: str = "live",
    partition: str | None = None,
    fails: bool = False,
    tags: Mapping[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    job = build_definitions([STREAM]).resolve_job_def("ingest_mixed")
    return job.execute_in_process(
        run_config=ranges_config(NAMES, STREAM, ranges, kind),
        partition_key=partition or window(),
        instance=instance,
        tags={LIVE_TAG: "mixed", **(tags or {})},
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
    assert "latency_p50_seconds" not in numbers  # the messages are old
    assert {"rows_per_second", "event_time_from", "event_time_to"} <= set(numbers)
    assert (
        "dagster/partition_row_count" not in own.metadata
    )  # the run's rows since its last report are not the window's
    assert "| `mixed` | 0 | 0 | 12 | 12 |" in str(own.metadata["offset_ranges"].value)


@pytest.mark.parametrize(("waited_seconds", "is_told"), [(5, True), (30, True), (65, False)])
def test_a_run_tells_the_latency_of_messages_that_did_not_wait_for_the_stream_to_be_up(
    world: World, instance: dg.DagsterInstance, waited_seconds: int, is_told: bool
) -> None:
    produced = (dt.datetime.now(dt.timezone.utc).timestamp() - waited_seconds) * 1000
    for log in world.logs.values():
        log.messages = {n: dataclasses.replace(m, stamp=int(produced)) for n, m in log.messages.items()}
    for found in materializations(execute(instance)).values():
        numbers = found[-1].metadata
        assert ("latency_p50_seconds" in numbers, "latency_p95_seconds" in numbers) == (is_told, is_told)
        if is_told:
            low, high = (numbers[f"latency_{p}_seconds"].value for p in ("p50", "p95"))
            assert waited_seconds <= low <= high < waited_seconds + 30


def test_a_materialize_of_one_table_needs_no_other_and_loads_and_reports_them_all(
    world: World, instance: dg.DagsterInstance
) -> None:
    definitions = build_definitions([STREAM])
    one = dg.AssetKey(["mixed", "t_account"])
    assert definitions.resolve_asset_graph().get(one).execution_set_entity_keys == {one}
    hour = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0)
    windows = [(hour - dt.timedelta(hours=n)).strftime("%Y-%m-%d-%H:00") for n in (1, 0)]
    result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
        asset_selection=[one],
        run_config=ranges_config(NAMES, STREAM, (), "live"),
        tags={PARTITION_RANGE_START_TAG: windows[0], PARTITION_RANGE_END_TAG: windows[1]},
        instance=instance,
    )
    assert world.names() == world.all_names()
    found = materializations(result)
    assert sorted(found) == sorted(TABLES)
    for each in found.values():
        of_windows = {m.partition: m.metadata for m in each if m.partition in windows}
        assert sorted(of_windows) == windows
        assert [m["messages"].value for m in of_windows.values()] == [20, 20]
        assert [m["messages_of_window"].value for m in of_windows.values()] == [
            0,
            0,
        ]  # theirs were loaded into 2026-01-01


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


def test_a_run_where_its_sensor_looked_loads_whether_there_was_a_ledger_or_not(
    world: World, instance: dg.DagsterInstance
) -> None:
    server = database_of(world.target.sink, is_server=True)
    for seen in (Fingerprint("a-cluster", server), look(world.metadata, world.target.sink)):
        assert execute(instance, tags=seen.as_tags()).success
    assert world.names() == world.all_names()


@pytest.mark.parametrize(
    "seen",
    [Fingerprint("another", "ledger:{ledger}"), Fingerprint("a-cluster", "ledger:1"), Fingerprint(None, "server:1")],
)
def test_a_run_elsewhere_than_its_sensor_looked_fails_at_once_and_changes_nothing(
    world: World, instance: dg.DagsterInstance, seen: Fingerprint
) -> None:
    found = look(world.metadata, world.target.sink)
    seen = replace(seen, database=seen.database.format(ledger=found.database.removeprefix("ledger:")))
    with world.target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE t_event")
    before = sa.inspect(world.target.sink.engine).get_table_names()
    text, metadata = user_failure(execute(instance, fails=True, tags=seen.as_tags()))
    assert text is not None
    assert text.startswith("stream mixed: the sensor that launched this run looks at ")
    assert metadata["expected_database"] == seen.database
    assert metadata["found_database"] == database_of(world.target.sink, is_server=seen.database.startswith("server:"))
    assert sa.inspect(world.target.sink.engine).get_table_names() == before
    assert (world.target.offsets(), world.consumers, world.metadata.committed) == ({}, [], {})


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


def test_assets_of_two_streams_materialized_together_are_one_run_and_each_loads_its_own(
    world: World, instance: dg.DagsterInstance
) -> None:
    """As a person does who selects both in the UI."""
    other = dataclasses.replace(BOOKINGS, batch=STREAM.batch)
    place, names = TopicPartition("bookings", 0), world.all_names()
    messages = {
        n: FakeMessage(place, n, b'{"type": "b", "room": "r", "day": %d}' % n, 1_767_250_800_000) for n in range(7)
    }
    world.logs[place] = Log(messages, 7)
    job = build_definitions([STREAM, other]).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(partition_key=window(), instance=instance)
    assert result.success
    assert world.names() == names
    with world.target.sink.engine.connect() as connection:
        ledger = connection.exec_driver_sql(
            "SELECT stream, topic, next_offset FROM kafka_ingest_offsets ORDER BY 1, 2, 3"
        ).all()
    assert [tuple(row) for row in ledger] == [
        ("bookings", "bookings", 7),
        ("mixed", "mixed", 8),
        ("mixed", "mixed", 12),
    ]
