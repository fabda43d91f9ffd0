"""Old runs go; what is known of assets stays. On a real instance in SQLite files."""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset as they stand.

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.kafka.metadata import TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.orchestration import pruning
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.event_rows import prune_evaluations, prune_observations
from kafka_ingest.orchestration.names import CUT_TAG, STREAM_TAG
from kafka_ingest.orchestration.pruning import Pruned, prune_runs
from kafka_ingest.orchestration.retention import RETENTION_JOB
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.placed import placed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

ASSET, OTHER = dg.AssetKey(["mixed", "t_event"]), dg.AssetKey(["mixed", "t_account"])
CHECK = dg.AssetCheckKey(OTHER, "rows")
WINDOWS = dg.StaticPartitionsDefinition(["w1", "w2", "w3"])


@dg.asset(key=ASSET, partitions_def=WINDOWS)
def table() -> None: ...


@dg.asset(key=OTHER, check_specs=[dg.AssetCheckSpec("rows", asset=OTHER)])
def checked() -> dg.MaterializeResult:  # type: ignore[type-arg]
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="rows")])


@dg.op
def plain() -> None: ...


@dg.job(tags={STREAM_TAG: "mixed"})
def nothing() -> None:
    plain()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as found:
        yield found


def materialize(instance: dg.DagsterInstance, asset: dg.AssetsDefinition, window: str | None = None) -> str:
    return dg.materialize([asset], instance=instance, partition_key=window, tags={STREAM_TAG: "mixed"}).run_id


def run(instance: dg.DagsterInstance, **tags: str) -> str:
    return nothing.execute_in_process(instance=instance, tags={k.replace("__", "/"): v for k, v in tags.items()}).run_id


def prune(instance: dg.DagsterInstance, *, most: int = 1_000, seconds: float = 60.0) -> Pruned:
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
    tags = [{STREAM_TAG: ["mixed"]}]
    return prune_runs(instance, tags, [CHECK], before=later, most=most, seconds=seconds)


def ids(instance: dg.DagsterInstance) -> set[str]:
    return {r.run_id for r in instance.get_runs()}


def test_every_window_stays_materialized_by_its_latest_run(instance: dg.DagsterInstance) -> None:
    runs = [materialize(instance, table, w) for w in ("w1", "w2", "w1", "w2", "w3", "w3")]
    done = prune(instance)
    assert (done.deleted, done.finished) == (3, True)
    assert ids(instance) == {runs[2], runs[3], runs[5]}
    assert instance.get_materialized_partitions(ASSET) == {"w1", "w2", "w3"}
    assert prune(instance).deleted == 0


def test_the_latest_evaluation_of_a_check_and_the_latest_of_an_asset_stay(instance: dg.DagsterInstance) -> None:
    runs = [materialize(instance, checked) for _ in range(3)]
    prune(instance)
    assert ids(instance) == {runs[2]}
    (record,) = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK]).values()
    assert record.run_id == runs[2]


def test_of_a_run_that_stays_only_what_the_assets_show_and_how_it_went_is_left(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A stream has such a run in every window, for ever: with its whole log it would be the most of what is stored."""

    @dg.op
    def talks(context: dg.OpExecutionContext) -> None:
        for number in range(300):
            context.log.info(f"line {number}")
        for window in ("w1", "w2"):
            for number in range(3):
                context.log_event(dg.AssetMaterialization(ASSET, partition=window, metadata={"n": number}))
        context.log_event(dg.AssetObservation(OTHER, metadata={"n": 1}))
        context.log_event(dg.AssetObservation(OTHER, metadata={"n": 2}))

    @dg.job(tags={STREAM_TAG: "mixed"})
    def talking() -> None:
        talks()

    run_id = talking.execute_in_process(instance=instance).run_id
    latest = instance.get_latest_storage_id_by_partition(ASSET, dg.DagsterEventType.ASSET_MATERIALIZATION)
    before = size_of(tmp_path)
    done = prune(instance)
    assert (done.deleted, done.cut, sum(done.kept.values())) == (0, 1, 1)
    left = instance.all_logs(run_id)
    said = [each.dagster_event.event_type_value for each in left if each.dagster_event is not None]
    assert len(said) == len(left), "no line of the log"
    assert sorted(said) == ["ASSET_MATERIALIZATION"] * 2 + ["ASSET_OBSERVATION", "PIPELINE_START", "PIPELINE_SUCCESS"]
    assert instance.get_latest_storage_id_by_partition(ASSET, dg.DagsterEventType.ASSET_MATERIALIZATION) == latest
    assert [
        r.asset_materialization.metadata["n"].value
        for r in instance.fetch_materializations(ASSET, 9).records
        if r.asset_materialization
    ] == [2, 2]
    (observed,) = instance.fetch_observations(OTHER, 9).records
    assert observed.asset_observation is not None
    assert observed.asset_observation.metadata["n"].value == 2
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    assert record.dagster_run.status is dg.DagsterRunStatus.SUCCESS
    assert CUT_TAG in record.dagster_run.tags
    assert size_of(tmp_path) < before - 100_000, "the file of the run is smaller, too"
    assert prune(instance) == Pruned(0, done.kept, True, cut=0)


def test_a_run_whose_log_was_cut_goes_when_its_window_is_loaded_again(instance: dg.DagsterInstance) -> None:
    first = materialize(instance, table, "w1")
    assert prune(instance).cut == 1
    second = materialize(instance, table, "w1")
    assert prune(instance).deleted == 1
    assert ids(instance) == {second}
    assert first not in ids(instance)


def test_runs_go_with_all_that_is_theirs_from_a_storage_with_one_table_for_all(tmp_path: Path) -> None:
    """As PostgreSQL and MySQL have it."""
    storage = {"module": "dagster._core.storage.event_log", "class": "ConsolidatedSqliteEventLogStorage"}
    overrides = {"event_log_storage": storage | {"config": {"base_dir": str(tmp_path / "events")}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides) as instance:
        runs = [materialize(instance, table, w) for w in ("w1", "w2", "w1", "w1")]
        assert prune(instance) == Pruned(2, {"latest of a partition": 2}, True, cut=2)
        assert ids(instance) == {runs[1], runs[3]}
        events = {run_id: len(instance.all_logs(run_id)) for run_id in runs}
        assert (events[runs[0]], events[runs[2]]) == (0, 0)
        assert min(events[runs[1]], events[runs[3]]) > 0
        assert instance.get_materialized_partitions(ASSET) == {"w1", "w2"}
        found = instance.event_log_storage.get_event_tags_for_asset(ASSET)
        assert len(found) == 2, "tags of the events that are left"


def test_results_of_checks_go_with_their_age_and_the_latest_stays(instance: dg.DagsterInstance) -> None:
    """Dagster leaves them where it deletes their run."""
    runs = [materialize(instance, checked) for _ in range(3)]
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
    prune(instance)
    history = instance.event_log_storage.get_asset_check_execution_history(CHECK, 9)
    assert [each.run_id for each in history] == runs[::-1]
    assert prune_evaluations(instance, [CHECK], before=later - dt.timedelta(days=1)) == 0
    assert prune_evaluations(instance, [CHECK], before=later) == 2
    assert prune_evaluations(instance, [CHECK], before=later) == 0
    (left,) = instance.event_log_storage.get_asset_check_execution_history(CHECK, 9)
    assert left.run_id == runs[2]


def test_runs_that_are_not_finished_or_not_ours_stay(instance: dg.DagsterInstance) -> None:
    unfinished = instance.create_run_for_job(nothing, tags={STREAM_TAG: "mixed"})
    started = instance.create_run_for_job(nothing, tags={STREAM_TAG: "mixed"})
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", nothing.name), started.run_id)
    other = nothing.execute_in_process(instance=instance, tags={STREAM_TAG: "other"}).run_id
    ours = run(instance)
    prune(instance)
    assert ids(instance) == {unfinished.run_id, started.run_id, other}
    assert ours not in ids(instance)


def test_the_run_a_kept_re_execution_was_made_from_stays(instance: dg.DagsterInstance) -> None:
    root, parent, other = run(instance), run(instance), run(instance)
    tags = {"dagster__root_run_id": root, "dagster__parent_run_id": parent}
    again = instance.create_run_for_job(
        nothing, tags={STREAM_TAG: "mixed", **{k.replace("__", "/"): v for k, v in tags.items()}}
    )
    done = prune(instance)
    assert ids(instance) == {root, parent, again.run_id}
    assert done.kept == {"re-executed": 2}
    assert other not in ids(instance)


def test_the_work_is_bounded_and_goes_on_the_next_time(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_PAGE_RUNS", 2)
    kept = materialize(instance, table, "w1")
    for _ in range(7):
        run(instance)
    assert prune(instance, most=4) == Pruned(3, {"latest of a partition": 1}, False, cut=1)
    assert prune(instance, seconds=-1.0).deleted == 0
    assert prune(instance).deleted == 4
    assert ids(instance) == {kept}


def test_a_deleted_runs_files_are_gone(instance: dg.DagsterInstance) -> None:
    gone = run(instance)
    files = Path(instance.storage_directory()).parent
    assert [f for f in files.rglob(f"{gone}*") if f.suffix == ".db"]
    prune(instance)
    assert list(files.rglob(f"{gone}*")) == []


@pytest.mark.parametrize("days", ["14", "0"])
def test_the_job_runs_as_dagster_runs_it(tmp_path: Path, days: str) -> None:
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")},
        "DAGSTER_HOME": str(tmp_path),
        "KAFKA_INGEST_DATABASE_URL": f"sqlite:///{tmp_path}/t.db",
        "KAFKA_INGEST_RETENTION_DAYS": days,
    }
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "kafka_ingest.definitions", "-j", RETENTION_JOB]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert ("0 runs deleted; old runs kept: none" in done.stderr) == (days == "14")
    assert ("everything is kept" in done.stderr) == (days == "0")


def test_audit_and_retention_are_scheduled_daily_and_on() -> None:
    schedules = {s.name: s for s in build_definitions([MIXED]).schedules or ()}
    assert set(schedules) == {"audit_ledger_daily", "kafka_ingest_retention_daily"}
    for each in schedules.values():
        assert isinstance(each, dg.ScheduleDefinition)
        assert each.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_sensors_old_observations_go_and_the_latest_of_each_asset_stays(instance: dg.DagsterInstance) -> None:
    """They are of no run, so none of them would ever go."""
    other = dg.AssetKey(["kafka", "other"])
    for number in range(5):
        instance.report_runless_asset_event(dg.AssetObservation(ASSET, metadata={"lag": number}))
    instance.report_runless_asset_event(dg.AssetMaterialization(ASSET, partition="w1"))
    instance.report_runless_asset_event(dg.AssetObservation(other))
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
    assert prune_observations(instance, [ASSET], before=later - dt.timedelta(days=1)) == 0
    assert prune_observations(instance, [ASSET, OTHER], before=later) == 4
    assert prune_observations(instance, [ASSET, OTHER], before=later) == 0
    (left,) = instance.fetch_observations(ASSET, limit=9).records
    assert left.asset_observation is not None
    assert left.asset_observation.metadata["lag"].value == 4
    assert len(instance.fetch_observations(other, limit=9).records) == 1
    assert instance.get_materialized_partitions(ASSET) == {"w1"}
    events = instance.event_log_storage.get_logs_for_run("")
    assert len(events) == 3, "the file of no run, too"


def test_observations_of_a_run_stay_until_it_goes(instance: dg.DagsterInstance) -> None:
    @dg.op
    def observe(context: dg.OpExecutionContext) -> None:
        context.log_event(dg.AssetObservation(ASSET))

    @dg.job
    def observing() -> None:
        observe()

    observing.execute_in_process(instance=instance)
    observing.execute_in_process(instance=instance)
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
    assert prune_observations(instance, [ASSET], before=later) == 0
    assert len(instance.fetch_observations(ASSET, limit=9).records) == 2


def test_what_a_sensor_says_costs_the_kilobytes_that_the_manual_names(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """docs/checks.md, "Retention". Of a topic with 12 Kafka partitions."""
    tp = [TopicPartition("mixed", n) for n in range(12)]
    marks = dict.fromkeys(tp, Watermarks(1_000_000, 2_000_000))
    positions = dict.fromkeys(tp, LedgerPosition(2_000_000, "id", dt.datetime.now(dt.timezone.utc)))
    (observation,) = TopicObserver(placed(MIXED)).observations(
        StreamState(TopicState(tuple(tp), {}, ()), marks, positions, {})
    )

    def cost(events: Iterable[dg.AssetObservation | dg.AssetMaterialization]) -> float:
        before, number = size_of(tmp_path), 0
        for number, event in enumerate(events, 1):  # noqa: B007
            instance.report_runless_asset_event(event)
        return (size_of(tmp_path) - before) / number

    cost([observation])  # makes the files
    assert 7_000 < cost([observation] * 100) < 10_000
    empty = {"rows": 0, "messages_of_window": 0}
    assert 2_500 < cost(dg.AssetMaterialization(ASSET, partition=f"w{n}", metadata=empty) for n in range(100)) < 4_200


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
