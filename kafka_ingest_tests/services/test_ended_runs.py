"""A run that Dagster has ended, and whose process comes back, writes nothing once another may be in its place: whatever the run
stood still at, and wherever in the take-over it comes back."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as StillWaiting
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.ended_runs import revoke_ended
from kafka_ingest.errors import LeaseLost
from kafka_ingest.ledger.leases import acquire_lease, read_leases
from kafka_ingest.ledger.tables import BATCHES, LEASES
from kafka_ingest.orchestration.dagster_records import DagsterRecords
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.support.world import World, first_five

pytestmark = [pytest.mark.services, pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")]

# How long a step of the take-over may wait for what the run holds, which goes on then. Whether it does is not asserted.
PATIENCE_SECONDS = 0.3
COME_BACK_SECONDS = 3.0
SECONDS = 60.0

# Where the run stands still: before it takes its lease, between that and asking whether it was ended, after that; in its load.
OUTSIDE = ["lease", "ask", "asked"]
POINTS = [step for step in LoadStep if step is not LoadStep.AHEAD]


@dg.job
def ingest() -> None:
    """Dagster's record of a run is all that counts here."""


def dagster_run(instance: dg.DagsterInstance, *events: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(ingest)
    for each in events:
        instance.report_dagster_event(dg.DagsterEvent(each, run.job_name), run.run_id)
    return run


def canceled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """As Force termination in the UI: the process is not waited for."""
    instance.report_run_canceled(run)


def failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """As run monitoring."""
    instance.report_run_failed(run)


def deleted(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    instance.delete_run(run.run_id)


def failed_and_started(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """It was given up before it had started, and starts when it comes back: Dagster lets it stand as started again."""
    instance.report_run_failed(run)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", run.job_name), run.run_id)


# Steps of the take-over, the first of which ends it.
BACK = range(1, 5)
ENDS = [canceled, failed, deleted, failed_and_started]


class Paused:
    """A run in a thread of its own, that stands still at one point until it is told to go on."""

    def __init__(self, world: World, instance: dg.DagsterInstance, point: str) -> None:
        self.dagster_run = dagster_run(instance, "PIPELINE_START")
        self.run_id = self.dagster_run.run_id
        self._point, self._world = point, world
        self._standing, self._going_on = threading.Event(), threading.Event()
        self._records = Asking(instance, self._at)
        self._pool = ThreadPoolExecutor(1)
        self._ended = self._pool.submit(self._run)
        assert self._standing.wait(SECONDS)

    def _at(self, step: str) -> None:
        if step == self._point and not self._standing.is_set():
            self._standing.set()
            assert self._going_on.wait(SECONDS)

    def _run(self) -> None:
        run = self._world.run(self._at, run_id=self.run_id, records=self._records)
        try:
            run.plan((), "live")
            self._at("lease")
            run.keep_lease()
            list(run.drain(first_five(run)))
        finally:
            run.close()

    def go_on(self) -> None:
        self._going_on.set()

    def come_back(self) -> None:
        """Go on alone, as far as it gets: it would load all there is, unless it waits for what another holds."""
        self.go_on()
        wait([self._ended], COME_BACK_SECONDS)

    def end(self) -> None:
        """Until it has ended, as one that was ended does or, where it was not too late, well."""
        self.go_on()
        with suppress(LeaseLost):
            self._ended.result(SECONDS)
        self._pool.shutdown()

    def entries(self) -> int:
        """How many it has committed to the ledger."""
        asked = sa.select(sa.func.count()).where(BATCHES.c.run_id == self.run_id)
        with self._world.target.sink.engine.connect() as connection:
            return int(connection.execute(asked).scalar_one())


class Asking(DagsterRecords):
    """Dagster's records, with a point before and after each question."""

    def __init__(self, instance: dg.DagsterInstance, at: Callable[[str], None]) -> None:
        super().__init__(instance)
        self._at = at

    def ended(self, runs: Mapping[str, str | None]) -> set[str]:
        self._at("ask")
        found = super().ended(runs)
        self._at("asked")
        return found


@pytest.fixture
def world(mysql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch, mysql_url)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def empty(world: World) -> None:
    tables = [f"`{name}`" for (name,) in world.target.all("SHOW TABLES") if name != "kafka_ingest_ledger"]
    with world.target.sink.engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"DELETE FROM {table}")


def take_over(
    world: World, instance: dg.DagsterInstance, paused: Paused, end: Callable[..., None], back: int, *, has_sensor: bool
) -> tuple[int, int]:
    """The run comes back before step `back`. Entries of the run as another may be in its place, and in the end."""
    records = DagsterRecords(instance)
    next_run = dagster_run(instance)
    run = world.run(run_id=next_run.run_id, records=records)
    entries: list[int] = []

    def revoke() -> None:
        if has_sensor:
            revoke_ended(world.target.sink, records, ["mixed"])
            entries.append(paused.entries())

    def begin() -> None:
        run.plan((), "live")
        run.keep_lease()
        entries.append(paused.entries())

    steps = [
        lambda: end(instance, paused.dagster_run),
        revoke,
        begin,
        lambda: first_five(run),
        lambda: list(run.drain(run.plan((), "live"))),
    ]
    with ThreadPoolExecutor(1) as pool:
        for number, step in enumerate(steps):
            if number == back:
                paused.come_back()
            done = pool.submit(step)
            try:
                done.result(PATIENCE_SECONDS)
            except StillWaiting:
                paused.go_on()
                done.result(SECONDS)
    paused.end()
    run.close()
    return entries[0], paused.entries()


def test_once_another_may_be_in_its_place_a_run_that_was_ended_writes_nothing(
    world: World, instance: dg.DagsterInstance
) -> None:
    """All points it stands still at, and steps of the take-over it comes back before: each with each, or, of those in a load, one
    in five; however it was ended; with and without a sensor's step."""
    outside, loading = (list(itertools.product(points, BACK)) for points in (OUTSIDE, POINTS))
    cases = outside + loading[:: 1 if IS_FULL else len(BACK) + 1]
    for number, (point, back) in enumerate(cases):
        end = ENDS[number % len(ENDS)]
        empty(world)
        paused = Paused(world, instance, str(point))
        before, after = take_over(world, instance, paused, end, back, has_sensor=number % 3 != 0)
        how = f"{end.__name__}, stood still at {point}, came back before step {back}"
        assert after == before, how
        assert sorted(world.names()) == sorted(world.all_names()), how


def test_of_runs_of_another_dagster_nothing_is_revoked(world: World, instance: dg.DagsterInstance) -> None:
    """Each has records of its own runs only; a run of before the column, or by hand, says no Dagster."""
    sink = world.target.sink
    with sink.engine.begin() as connection:
        for run_id, dagster in (
            ("theirs", "another"),
            ("nobody's", None),
            ("deleted", DagsterRecords(instance).dagster),
        ):
            acquire_lease(connection, "mixed", run_id, "here", dagster=dagster)
        acquire_lease(connection, "other stream", "deleted", "here", dagster=DagsterRecords(instance).dagster)
    assert revoke_ended(sink, DagsterRecords(instance), ["mixed"]) == {"deleted"}
    with sink.engine.connect() as connection:
        assert {run_id for run_id, lease in read_leases(connection, "mixed").items() if lease.is_revoked} == {"deleted"}
        assert not read_leases(connection, "other stream")["deleted"].is_revoked


def test_where_no_ledger_stands_or_one_of_before_nobody_has_a_lease_to_revoke(
    world: World, instance: dg.DagsterInstance
) -> None:
    sink = world.target.sink
    with sink.engine.begin() as connection:
        acquire_lease(connection, "mixed", "deleted", "here")
        connection.exec_driver_sql("ALTER TABLE kafka_ingest_leases DROP COLUMN dagster")
    assert revoke_ended(sink, DagsterRecords(instance), ["mixed"]) == set()
    with sink.engine.begin() as connection:
        LEASES.drop(connection)
    assert revoke_ended(sink, DagsterRecords(instance), ["mixed"]) == set()
