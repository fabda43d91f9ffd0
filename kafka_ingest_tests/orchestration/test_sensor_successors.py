"""Before a run is launched in another's place: the one that was ended can write nothing, and a trouble of its host or of
Dagster's storage does not hold up the stream."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine import first_contact as first_contact_module
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.ledger.leases import BACKFILL, acquire_lease, read_leases
from kafka_ingest.ledger.tables import LEASES
from kafka_ingest.orchestration import backfill_watch, run_ingestion, sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.dagster_records import DagsterRecords
from kafka_ingest.orchestration.liveness import this_process
from kafka_ingest.orchestration.names import KIND_TAG, PART_OF_TAG, PROCESS_TAG, REASON_TAG, STREAM_TAG, UNREACHED_TAG
from kafka_ingest.orchestration.sensors import UNREACHED_RUNS, backoff_seconds
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.placed import placed
from kafka_ingest_tests.support.sensing import SensorWorld, a_run, now
from kafka_ingest_tests.support.world import STREAM, World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

STARTED, FAILURE, CANCELED = (
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)


@pytest.fixture
def sensed(monkeypatch: pytest.MonkeyPatch) -> SensorWorld:
    found = SensorWorld(monkeypatch)
    found.waiting(50)
    return found


def lease(sensed: SensorWorld, instance: dg.DagsterInstance, run: dg.DagsterRun, shard: str = "0/1") -> None:
    with sensed.target.sink.engine.begin() as connection:
        acquire_lease(connection, "mixed", run.run_id, "here", shard, DagsterRecords(instance).dagster)


def revoked(sensed: SensorWorld) -> set[str]:
    with sensed.target.sink.engine.connect() as connection:
        return {run_id for run_id, each in read_leases(connection, "mixed").items() if each.is_revoked}


def dead(run: dg.DagsterRun) -> dict[str, str]:
    """The tag of a process that was here and is gone."""
    host, boot, _, _ = this_process().rsplit(":", 3)
    return {PROCESS_TAG: f"{run.run_id}@{host}:{boot}:4194304:1"}


def test_the_lease_of_a_run_that_was_ended_is_revoked_before_the_next_is_launched(
    sensed: SensorWorld, instance: dg.DagsterInstance
) -> None:
    terminated, deleted = a_run(instance, CANCELED), a_run(instance, STARTED)
    for run in (terminated, deleted):
        lease(sensed, instance, run)
    instance.delete_run(deleted.run_id)
    assert isinstance(sensed.tick(instance), dg.RunRequest)
    assert revoked(sensed) == {terminated.run_id, deleted.run_id}


def test_where_that_cannot_be_said_in_the_ledger_no_run_is_launched(
    sensed: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: object) -> NoReturn:
        raise DatabaseUnavailable("the lease is locked")

    monkeypatch.setattr(sensors, "revoke_ended", away)
    assert sensed.tick(instance) == "DatabaseUnavailable: the lease is locked"


def test_a_run_that_was_ended_beside_one_that_loads_is_not_left_its_lease(
    sensed: SensorWorld, instance: dg.DagsterInstance
) -> None:
    """It was succeeded as its time was nearly up, and ended later."""
    loading, ended = a_run(instance, STARTED), a_run(instance, FAILURE)
    instance.add_run_tags(loading.run_id, {PROCESS_TAG: f"{loading.run_id}@{this_process()}"})
    for run in (loading, ended):
        lease(sensed, instance, run)
    assert "is loading this stream" in str(sensed.tick(instance))
    assert revoked(sensed) == {ended.run_id}


# --- a host that does not reach the database


def test_runs_that_did_not_reach_the_database_are_not_waited_after_a_few_times(instance: dg.DagsterInstance) -> None:
    waits = []
    for _ in range(UNREACHED_RUNS + 2):
        a_run(instance, FAILURE, **{UNREACHED_TAG.replace("/", "__"): "host"})
        waits.append(round(backoff_seconds(instance, placed(MIXED), now(), None)))
    assert waits == [0, 0, 0, 5, 10]


@pytest.mark.parametrize("is_launched_by_sensor", [True, False])
def test_a_run_whose_host_does_not_reach_the_database_fails_at_once_where_another_follows(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, is_launched_by_sensor: bool
) -> None:
    tries: list[object] = []

    def never(sink: object) -> NoReturn:
        tries.append(sink)
        raise DatabaseUnavailable("no route to host")

    monkeypatch.setattr(run_ingestion, "first_contact", never)
    tags = {REASON_TAG: "because"} if is_launched_by_sensor else {}
    job = build_definitions([STREAM]).resolve_job_def("ingest_mixed")
    result = job.execute_in_process(
        instance=instance, tags=tags, raise_on_error=False, partition_key="2026-01-01-07:00"
    )
    assert result.success is not is_launched_by_sensor
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert (UNREACHED_TAG in run.tags) is is_launched_by_sensor
    assert len(tries) == is_launched_by_sensor
    assert (world.names() == []) is is_launched_by_sensor


def test_the_first_contact_is_given_up_soon_whatever_the_connection_waits_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_contact_module, "FIRST_CONTACT_SECONDS", 0.05)
    sink = world.target.sink
    first_contact_module.first_contact(sink)
    answered = threading.Event()
    monkeypatch.setattr(first_contact_module, "_connect", lambda _sink: answered.wait(30))
    with pytest.raises(DatabaseUnavailable, match="did not answer within"):
        first_contact_module.first_contact(sink)
    answered.set()


# --- Dagster's own storage is locked


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(_home(tmp_path))) as found:
        yield found


def _home(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir()
    return home


def test_a_run_that_cannot_be_marked_as_failed_does_not_hold_up_the_stream(
    sensed: SensorWorld, stored: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process stands still in the middle of a write to its own events, as SQLite's lock says."""
    run = a_run(stored, STARTED)
    stored.add_run_tags(run.run_id, dead(run))
    monkeypatch.setattr(sqlite3.dbapi2, "connect", _hasty(sqlite3.connect))  # Dagster would wait for 30 s each time
    (file,) = (tmp_path / "home").rglob(f"{run.run_id}.db")
    with closing(sqlite3.connect(file)) as held:
        held.execute("BEGIN EXCLUSIVE")
        assert isinstance(sensed.tick(stored), dg.RunRequest)
        sensed.waiting(0)
        said = str(sensed.tick(stored))
        assert said.startswith(f"run {run.run_id[:8]} cannot be marked as failed yet (Its process is gone;")
        assert said.endswith("; nothing waiting")
    assert sensed.tick(stored) == "nothing waiting"
    found = stored.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == FAILURE


def _hasty(connect: object) -> object:
    def hasty(*arguments: object, **options: object) -> object:
        assert callable(connect)
        return connect(*arguments, **options | {"timeout": 0.05})

    return hasty


def test_any_other_trouble_with_dagsters_storage_fails_the_tick(
    sensed: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(instance, STARTED)
    instance.add_run_tags(run.run_id, dead(run))

    def broken(*_arguments: object) -> NoReturn:
        raise sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error"))

    monkeypatch.setattr(instance, "report_run_failed", broken)
    with pytest.raises(sa.exc.OperationalError, match="disk I/O"):
        sensed.tick(instance)


# --- backfills


def test_a_backfill_whose_host_is_gone_is_reported_as_failed_with_what_to_do(
    sensed: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.orchestration.lease_watch.CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr(backfill_watch, "LOOK_EVERY_SECONDS", 0.0)
    sensed.waiting(0)
    whole, part, alive, unsaid = (_backfill(instance) for _ in range(4))
    instance.add_run_tags(part.run_id, {PART_OF_TAG: whole.run_id})
    for run in (whole, part, alive):
        instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}@elsewhere:1:boot:1:1"})
        lease(sensed, instance, run, BACKFILL)
    then = sa.text("strftime('%Y-%m-%d %H:%M:%f', 'now', '-40 seconds') || '000'")
    with sensed.target.sink.engine.begin() as connection:
        lapsed = LEASES.c.run_id.in_([whole.run_id, part.run_id])
        connection.execute(sa.update(LEASES).where(lapsed).values(renewed_at=then))
    sensed.tick(instance)
    statuses = [instance.get_run_by_id(run.run_id).status for run in (whole, part, alive, unsaid)]  # type: ignore[union-attr]
    assert statuses == [FAILURE, FAILURE, STARTED, STARTED]
    assert revoked(sensed) == {whole.run_id, part.run_id}
    assert "Launch it again" in _failure_text(instance, whole)
    assert whole.run_id in _failure_text(instance, part)


def _backfill(instance: dg.DagsterInstance) -> dg.DagsterRun:
    job = build_definitions([MIXED]).resolve_job_def("ingest_mixed")
    run = instance.create_run_for_job(job, tags={STREAM_TAG: "mixed", KIND_TAG: "backfill"})
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)
    return run


def _failure_text(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    (entry,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return str(entry.message)
