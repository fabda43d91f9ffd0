"""A backfill in parts: what its run makes of the runs of the other parts, however these end, and what it says of the whole."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.division import Ranges
from kafka_ingest.backfill.progress import PROGRESS_TAG
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import DatabaseUnavailable, DeadLetterLimit
from kafka_ingest.ledger.entries import is_loaded_by
from kafka_ingest.ledger.leases import acquire_lease, part_text
from kafka_ingest.ledger.tables import BATCHES, LEASES
from kafka_ingest.orchestration import backfill_parts
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import (
    PARTITION_RANGE_END_TAG,
    PARTITION_RANGE_START_TAG,
    ranges_config,
)
from kafka_ingest.orchestration.liveness import process_tag, this_process
from kafka_ingest.orchestration.names import KIND_TAG, PART_OF_TAG, PART_TAG, PROCESS_TAG, STREAM_TAG
from kafka_ingest.orchestration.part_runs import PartRuns
from kafka_ingest.slices import Batch, LoadResult, OffsetRange
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.sensing import origin_of
from kafka_ingest_tests.support.world import P0, P1, STREAM, World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

SHARDED = dataclasses.replace(STREAM, batch=BatchPolicy(max_rows=5, max_wait_seconds=0, linger_seconds=0, shards=2))
ALL = (OffsetRange(*P0, 0, 12), OffsetRange(*P1, 0, 8))
WINDOW = "2026-01-01-07:00"
STATUS = dg.DagsterRunStatus


class Queue:
    """Dagster's, as far as a run that launches parts sees it: what becomes of a part is the test's to say."""

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = instance
        self.job = build_definitions([SHARDED]).resolve_job_def(NAMES.part_job(SHARDED))
        self.launched: list[str] = []
        self.slept = 0
        self.on_launch: Callable[[str], object] = lambda _run_id: None
        self.on_sleep: Callable[[str], object] = lambda _run_id: None
        self.configs: dict[str, dict[str, object]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        queue = self

        def launch(runs: PartRuns, number: int, count: int, ranges: Ranges) -> None:
            config, tags = runs._config(ranges), runs._tags(f"{number}/{count}", ranges)
            origin = origin_of(queue.job.name)
            made = instance.create_run_for_job(queue.job, run_config=config, tags=tags, remote_job_origin=origin)
            queue.launched.append(made.run_id)
            queue.configs[made.run_id], queue.tags[made.run_id] = config, tags
            queue.on_launch(made.run_id)

        def sleep(_seconds: float) -> None:
            queue.slept += 1
            assert queue.slept < 10, "it waits for ever"
            queue.on_sleep(queue.launched[0])

        monkeypatch.setattr(PartRuns, "launch", launch)
        monkeypatch.setattr(PartRuns, "can_be_launched", True)
        monkeypatch.setattr(backfill_parts, "sleep", sleep)

    def execute(self, run_id: str) -> None:
        """As its run's process does it. It is a run of the same tags, as re-executed."""
        result = self.job.execute_in_process(
            run_config=self.configs[run_id], tags=self.tags[run_id], instance=self.instance
        )
        assert result.success

    def report(self, run_id: str, status: dg.DagsterRunStatus) -> None:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        kinds = {
            STATUS.QUEUED: dg.DagsterEventType.RUN_ENQUEUED,
            STATUS.STARTED: dg.DagsterEventType.RUN_START,
            STATUS.SUCCESS: dg.DagsterEventType.RUN_SUCCESS,
            STATUS.FAILURE: dg.DagsterEventType.RUN_FAILURE,
        }
        event = dg.DagsterEvent(event_type_value=kinds[status].value, job_name=run.job_name)
        self.instance.report_dagster_event(event, run_id)

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run.status

    def name_process(self, run_id: str, process: str) -> None:
        self.instance.add_run_tags(run_id, {PROCESS_TAG: process})


@pytest.fixture
def queue(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, world: World) -> Queue:
    del world  # names the database
    return Queue(instance, monkeypatch)


def backfill(
    instance: dg.DagsterInstance, *ranges: OffsetRange, fails: bool = False, kind: str = "backfill"
) -> dg.ExecuteInProcessResult:
    hour = dt.datetime(2026, 1, 1, 7)
    before = (hour - dt.timedelta(hours=1)).strftime("%Y-%m-%d-%H:%M")
    return (
        build_definitions([SHARDED])
        .resolve_job_def("ingest_mixed")
        .execute_in_process(
            run_config=ranges_config(NAMES, SHARDED, ranges or ALL, kind),
            tags={PARTITION_RANGE_START_TAG: before, PARTITION_RANGE_END_TAG: WINDOW, "team": "x"},
            instance=instance,
            raise_on_error=not fails,
        )
    )


def told(instance: dg.DagsterInstance, run_id: str) -> dict[str, dict[str, object]]:
    """Numbers of the run's materializations of the events' table, by window."""
    found: dict[str, dict[str, object]] = {}
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        event = entry.get_dagster_event()
        if event.asset_key == dg.AssetKey(["mixed", "t_event"]):
            metadata = event.step_materialization_data.materialization.metadata
            found[str(event.partition)] = {name: value.value for name, value in metadata.items()}
    return found


def assert_whole(world: World, instance: dg.DagsterInstance, run_id: str) -> None:
    """All is loaded, and the backfill's run has said so of both windows, and of no other."""
    assert world.names() == world.all_names()
    numbers = told(instance, run_id)
    assert sorted(numbers) == ["2026-01-01-06:00", WINDOW]
    own = numbers[WINDOW]
    assert (own["messages"], own["rows"], own["messages_of_window"], own["dead_letters"]) == (20, 20, 20, 0)
    assert numbers["2026-01-01-06:00"]["messages_of_window"] == 0
    assert "| `mixed` | 0 | 0 | 12 | 12 |" in str(own["offset_ranges"])
    assert "| `mixed` | 1 | 0 | 8 | 8 |" in str(own["offset_ranges"])
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.tags[PROGRESS_TAG] == "20/20"


def loaders(world: World) -> dict[int, set[str]]:
    """The runs that loaded each Kafka partition, after the first slice."""
    with world.target.sink.engine.connect() as connection:
        rows = connection.execute(sa.select(BATCHES.c.kafka_partition, BATCHES.c.run_id)).all()
    return {p: {run_id for partition, run_id in rows if partition == p} for p in (0, 1)}


def test_a_part_that_its_run_has_loaded_is_counted_and_told_with_the_whole(
    world: World, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.on_launch = queue.execute
    result = backfill(instance)
    assert_whole(world, instance, result.run_id)
    (part,) = [r for r in instance.get_runs(dg.RunsFilter(tags={PART_OF_TAG: result.run_id})) if r.is_success]
    assert part.job_name == "backfill_part_mixed"
    assert (part.tags[PART_TAG], part.tags[KIND_TAG], part.tags[STREAM_TAG]) == ("1/2", "backfill", "mixed")
    assert part.tags["team"] == "x"
    assert PARTITION_RANGE_START_TAG not in part.tags
    assert not told(instance, part.run_id)  # it has told of no window
    assert any(part.run_id in runs for runs in loaders(world).values())
    with world.target.sink.engine.connect() as connection:
        assert not connection.execute(sa.select(LEASES)).all()  # given up


@pytest.mark.parametrize("status", [None, STATUS.QUEUED])
def test_a_part_whose_run_is_still_in_the_queue_is_taken_out_of_it_and_loaded(
    world: World, instance: dg.DagsterInstance, queue: Queue, status: dg.DagsterRunStatus | None
) -> None:
    if status is not None:
        queue.on_launch = lambda run_id: queue.report(run_id, STATUS.QUEUED)
    result = backfill(instance)
    assert_whole(world, instance, result.run_id)
    assert [queue.status(run_id) for run_id in queue.launched] == [STATUS.CANCELED]
    assert set().union(*loaders(world).values()) == {result.run_id}
    assert queue.slept == 0


@pytest.mark.parametrize("status", [STATUS.FAILURE, STATUS.SUCCESS])
def test_a_part_whose_run_failed_or_has_not_loaded_what_it_says_is_loaded(
    world: World, instance: dg.DagsterInstance, queue: Queue, status: dg.DagsterRunStatus
) -> None:
    queue.on_launch = lambda run_id: queue.report(run_id, status)
    result = backfill(instance)
    assert_whole(world, instance, result.run_id)
    assert set().union(*loaders(world).values()) == {result.run_id}


def test_the_ledger_and_not_the_run_says_that_a_part_is_loaded(
    world: World, instance: dg.DagsterInstance, queue: Queue
) -> None:
    def forget(run_id: str) -> None:
        queue.execute(run_id)
        (part,) = [r for r in instance.get_runs(dg.RunsFilter(tags={PART_TAG: "1/2"})) if r.is_success]
        with world.target.sink.engine.begin() as connection:
            mine = sa.select(BATCHES.c.id).where(BATCHES.c.run_id == part.run_id).limit(1)
            connection.execute(sa.delete(BATCHES).where(BATCHES.c.id == connection.execute(mine).scalar_one()))

    queue.on_launch = forget
    result = backfill(instance)
    assert_whole(world, instance, result.run_id)
    with world.target.sink.engine.connect() as connection:
        assert is_loaded_by(connection, "mixed", result.run_id, ALL)


def test_a_run_that_has_begun_is_waited_for(world: World, instance: dg.DagsterInstance, queue: Queue) -> None:
    def begin(run_id: str) -> None:
        queue.report(run_id, STATUS.STARTED)
        queue.name_process(run_id, process_tag(run_id))

    queue.on_launch = begin
    queue.on_sleep = queue.execute
    result = backfill(instance)
    assert queue.slept == 1
    assert_whole(world, instance, result.run_id)
    assert any(runs - {result.run_id} for runs in loaders(world).values())


def test_a_run_whose_process_is_gone_is_given_up_and_its_part_loaded(
    world: World, instance: dg.DagsterInstance, queue: Queue
) -> None:
    def die(run_id: str) -> None:
        queue.report(run_id, STATUS.STARTED)
        here, pid, _ = this_process().rsplit(":", 2)
        queue.name_process(run_id, f"{run_id}@{here}:{pid}:1")

    queue.on_launch = die
    assert_whole(world, instance, backfill(instance).run_id)
    assert [queue.status(run_id) for run_id in queue.launched] == [STATUS.FAILURE]


def test_a_run_on_another_host_whose_lease_lapsed_is_given_up_and_can_load_nothing_more(
    world: World, instance: dg.DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.orchestration.lease_watch.CONFIRM_SECONDS", 0.0)

    def stall(run_id: str) -> None:
        queue.report(run_id, STATUS.STARTED)
        queue.name_process(run_id, f"{run_id}@elsewhere:1:boot:1:1")
        with world.target.sink.engine.begin() as connection:
            acquire_lease(connection, "mixed", run_id, "elsewhere", part_text("1/2"))
            its = LEASES.c.run_id == run_id
            renewed_at = connection.execute(sa.select(LEASES.c.renewed_at).where(its)).scalar_one()
            ago = sa.update(LEASES).where(its).values(renewed_at=renewed_at - dt.timedelta(seconds=40))
            connection.execute(ago)

    queue.on_launch = stall
    assert_whole(world, instance, backfill(instance).run_id)
    with world.target.sink.engine.connect() as connection:
        assert connection.execute(sa.select(LEASES.c.revoked_at)).scalar_one() is not None


def test_a_backfill_that_fails_ends_the_runs_of_its_parts_and_one_that_is_tried_again_finds_them(
    world: World, instance: dg.DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []
    monkeypatch.setattr(PartRuns, "end", lambda _runs: ended.append("ended"))
    monkeypatch.setattr(backfill_parts, "MAX_RETRIES", 1)
    monkeypatch.setattr("kafka_ingest.orchestration.boundary.MAX_RETRIES", 1)
    trouble: list[Exception] = []
    drain = Ingestion.drain

    def troubled(self: Ingestion, batch: Batch) -> Iterator[LoadResult]:
        if trouble:
            raise trouble.pop()
        return drain(self, batch)

    monkeypatch.setattr(Ingestion, "drain", troubled)
    trouble.append(DatabaseUnavailable("away"))
    result = backfill(instance)
    assert result.success
    assert ended == []
    assert len(queue.launched) == 1
    assert world.names() == world.all_names()
    trouble.append(DeadLetterLimit("too many"))
    assert not backfill(instance, fails=True).success
    assert ended == ["ended"]
    trouble += [DatabaseUnavailable("away"), DatabaseUnavailable("away")]
    assert not backfill(instance, fails=True).success
    assert ended == ["ended", "ended"]


FEW = (OffsetRange(*P0, 0, 7), OffsetRange(*P1, 0, 2))


@pytest.mark.parametrize(("ranges", "kind"), [(ALL[:1], "backfill"), (FEW, "backfill"), (ALL, "live")])
def test_one_partition_few_offsets_and_a_live_run_are_not_divided(
    world: World, instance: dg.DagsterInstance, queue: Queue, ranges: Ranges, kind: str
) -> None:
    assert backfill(instance, *ranges, kind=kind).success
    assert queue.launched == []
    assert len(world.names()) >= sum(r.size for r in ranges)


def test_without_a_queue_one_run_loads_all(world: World, instance: dg.DagsterInstance) -> None:
    assert_whole(world, instance, backfill(instance).run_id)


def test_the_ledger_knows_whether_a_run_has_loaded_every_offset(
    world: World, instance: dg.DagsterInstance, queue: Queue
) -> None:
    run_id = backfill(instance).run_id
    with world.target.sink.engine.connect() as connection:
        assert is_loaded_by(connection, "mixed", run_id, ALL)
        assert is_loaded_by(connection, "mixed", run_id, [OffsetRange(*P0, 3, 11)])
        assert not is_loaded_by(connection, "mixed", run_id, [OffsetRange(*P0, 3, 13)])
        assert not is_loaded_by(connection, "mixed", "another", ALL[:1])
        connection.execute(sa.delete(BATCHES).where(BATCHES.c.kafka_partition == 0, BATCHES.c.start_offset == 5))
        assert not is_loaded_by(connection, "mixed", run_id, ALL)
    assert queue.launched


def test_only_streams_with_shards_have_the_job() -> None:
    name = NAMES.part_job(SHARDED)
    assert build_definitions([SHARDED]).resolve_job_def(name).name == name
    assert name not in [job.name for job in build_definitions([STREAM]).jobs or ()]
