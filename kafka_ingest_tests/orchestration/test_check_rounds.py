"""The checks of a run, evaluated while it drains: what they may not hold up, and whose results stand when it has ended."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from kafka_ingest.checks.run_ledger import CheckResult
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.orchestration import check_rounds as module
from kafka_ingest.orchestration.audit_schedule import audit_checks
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.check_rounds import ROUND_SECONDS, CheckRounds
from kafka_ingest.orchestration.checks import Look, run_checks
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.slices import OffsetRange
from kafka_ingest_tests.orchestration.test_job import execute, failing
from kafka_ingest_tests.support.placed import placed
from kafka_ingest_tests.support.world import STREAM, World

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

OURS = placed(STREAM)
NAMED = ("run_accounting", "run_tiling", "consumer_group", "dead_letter_ratio", "run_rows_t_event")
ACCOUNTING, _, GROUP, _, ROWS = (dg.AssetCheckKey(OURS.ledger.key, name) for name in NAMED)
PLANNED = dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED


def latest(instance: dg.DagsterInstance) -> dict[str, tuple[str, bool, int]]:
    """By check: the run of its latest result, whether it passed, and how many ranges it looked at."""
    keys = [check.key for check in [*run_checks(OURS), *audit_checks(OURS)]]
    found = {}
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(keys).items():
        evaluation = record.evaluation
        assert isinstance(evaluation, dg.AssetCheckEvaluation)  # a planned one is none
        found[key.name] = (record.run_id, evaluation.passed, int(str(evaluation.metadata["ranges_checked"].value)))
    return found


def delete_a_row(world: World) -> None:
    with world.target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM t_event WHERE name = '0-3'")


def warnings_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    return [e.user_message for e in instance.all_logs(run_id) if int(e.level) >= 30 and e.user_message]


def with_check(monkeypatch: pytest.MonkeyPatch, key: dg.AssetCheckKey, find: Callable[[Look], CheckResult]) -> None:
    """The stream's checks, one of them looking so."""

    def changed(ours: PlacedStream) -> list[object]:
        return [dataclasses.replace(c, find=find) if c.key == key else c for c in run_checks(ours)]

    monkeypatch.setattr(module, "run_checks", changed)


def by_hand(instance: dg.DagsterInstance, *keys: dg.AssetCheckKey) -> dg.ExecuteInProcessResult:
    """What Execute on a check's page does."""
    selection = dg.AssetSelection.checks(*keys)
    job = dg.define_asset_job("by_hand", selection=selection, executor_def=dg.in_process_executor)
    definitions = dg.Definitions.merge(build_definitions([STREAM]), dg.Definitions(jobs=[job]))
    return definitions.resolve_job_def("by_hand").execute_in_process(instance=instance)


@pytest.mark.parametrize("kind", ["live", "backfill"])
def test_no_run_plans_a_check_and_every_run_has_a_result_of_each(
    world: World, instance: dg.DagsterInstance, kind: str
) -> None:
    result = execute(instance)
    if kind == "backfill":
        result = execute(instance, OffsetRange("mixed", 0, 0, 6), kind=kind)
    assert not list(instance.all_logs(result.run_id, of_type=PLANNED))
    assert {name: found[:2] for name, found in latest(instance).items()} == dict.fromkeys(NAMED, (result.run_id, True))


def test_the_last_results_are_of_all_that_the_run_has_loaded(world: World, instance: dg.DagsterInstance) -> None:
    execute(instance)
    entries = world.target.all("SELECT COUNT(*) FROM kafka_ingest_batches")[0][0]
    assert entries > 2
    assert latest(instance)["run_accounting"][2] == entries


def test_a_run_that_loads_nothing_checks_the_run_before_it(world: World, instance: dg.DagsterInstance) -> None:
    loaded = execute(instance).run_id
    delete_a_row(world)
    idle = execute(instance)
    run_id, passed, _ = latest(instance)[ROWS.name]
    assert (run_id, passed) == (idle.run_id, False)
    (found,) = [e for e in idle.get_asset_check_evaluations() if e.check_name == ROWS.name]
    assert found.metadata["run"].value == loaded


def test_a_check_run_by_hand_looks_at_the_run_that_loaded_last(world: World, instance: dg.DagsterInstance) -> None:
    loaded = execute(instance).run_id
    assert all(e.passed for e in by_hand(instance, ACCOUNTING, ROWS).get_asset_check_evaluations())
    delete_a_row(world)
    (found,) = by_hand(instance, ROWS).get_asset_check_evaluations()
    assert not found.passed
    assert "the ledger says" in str(found.metadata["faults"].value)
    assert found.metadata["run"].value == loaded


def test_a_slow_check_holds_up_no_load_and_no_end_for_long(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    waited = []

    def slow(_look: Look) -> CheckResult:
        waited.append(hangs.wait(30))
        return CheckResult(0, ())

    with_check(monkeypatch, ACCOUNTING, slow)
    monkeypatch.setattr(module, "LAST_SECONDS", 0.3)
    result = execute(instance)
    assert waited == []
    hangs.set()
    assert result.success
    assert world.names() == world.all_names()
    assert latest(instance) == {}
    told = warnings_of(instance, result.run_id)
    assert told == ["The checks keep their last results: this took longer than 0.3 s"]


def test_a_check_that_cannot_look_leaves_its_last_result_and_the_others_go_on(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = execute(instance).run_id

    def away(_look: Look) -> CheckResult:
        raise DatabaseUnavailable("connection lost (error 2013)")

    with_check(monkeypatch, ROWS, away)
    result = execute(instance)
    assert result.success
    runs = {name: run_id for name, (run_id, _, _) in latest(instance).items()}
    assert runs == {**dict.fromkeys(NAMED, result.run_id), ROWS.name: before}
    assert warnings_of(instance, result.run_id) == [
        "Check run_rows_t_event keeps its last result: DatabaseUnavailable: connection lost (error 2013)"
    ]


def test_a_fault_in_a_check_fails_no_run(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_look: Look) -> CheckResult:
        raise ValueError("a bug")

    with_check(monkeypatch, ACCOUNTING, broken)
    result = execute(instance)
    assert result.success
    assert set(warnings_of(instance, result.run_id)) == {"The checks keep their last results: ValueError: a bug"}


def test_a_run_that_fails_leaves_what_was_found_before(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = execute(instance).run_id
    failing(monkeypatch, "plan", ValueError("no"), times=9)
    with pytest.raises(ValueError, match="no"):
        execute(instance)
    assert {run_id for run_id, _, _ in latest(instance).values()} == {before}


class Rounds:
    """Rounds of one run on a clock of the test's own, each waited for."""

    def __init__(self, world: World, instance: dg.DagsterInstance, run_id: str) -> None:
        self.now = 0.0
        self.rounds = CheckRounds(OURS, world.settings, run_id, instance=instance, say=print, clock=lambda: self.now)

    def collect(self) -> list[str]:
        names = [e.check_name for e in self.rounds.collect()]
        if self.rounds._round is not None:
            self.rounds._round.result(30)
        return names


def test_a_round_begins_once_a_minute_however_often_something_is_loaded(
    world: World, instance: dg.DagsterInstance
) -> None:
    execute(instance)
    rounds = Rounds(world, instance, "r")
    assert rounds.collect() == []
    rounds.now += 1
    assert rounds.collect() == list(NAMED)
    rounds.now += ROUND_SECONDS - 2
    assert rounds.collect() == rounds.collect() == []
    rounds.now += 1
    assert rounds.collect() == []
    rounds.now += 1
    assert rounds.collect() == list(NAMED)


def test_the_last_results_of_a_run_are_the_latest_though_another_began_beside_it(
    world: World, instance: dg.DagsterInstance
) -> None:
    first = execute(instance).run_id

    def tell(run_id: str, found: Iterator[dg.AssetCheckEvaluation]) -> None:
        """As the events of a run that is under way."""
        for each in found:
            data = dg.DagsterEvent(
                dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, "ingest_mixed", event_specific_data=each
            )
            instance.report_dagster_event(data, run_id)

    long = Rounds(world, instance, first)
    long.collect()
    tell(first, long.rounds.collect())
    short = execute(instance).run_id
    assert latest(instance)[ROWS.name][:2] == (short, True)
    delete_a_row(world)
    tell(first, long.rounds.last())
    assert latest(instance)[ROWS.name][:2] == ("", False)


def test_what_a_run_materializes_has_no_check_to_be_planned_with_it(world: World) -> None:
    graph = build_definitions([STREAM]).resolve_asset_graph()
    assert graph.get_check_keys_for_assets({spec.key for spec in OURS.loaded}) == set()
    assert {key.name for key in graph.get_check_keys_for_assets({OURS.ledger.key})} >= {*NAMED, "accounting"}
    assert OURS.ledger.key not in graph.materializable_asset_keys
