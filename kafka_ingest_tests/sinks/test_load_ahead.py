"""Slices begun before the one before them is committed: as if each had waited for it."""

from __future__ import annotations

import threading

import pytest

from kafka_ingest.errors import OffsetGap
from kafka_ingest.sinks import load as load_module
from kafka_ingest.sinks.commit_order import Abandoned, CommitTicket, WriteAheadRejected
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.testing.messages import Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import account, balances, event, events, gone, names


def after(previous: CommitTicket) -> CommitTicket:
    previous.let_next_begin()
    return CommitTicket(previous)


class Steps(list[str]):
    """The steps a load went through."""

    def __call__(self, step: str) -> None:
        self.append(step)


def test_rows_written_ahead_stay_once_the_slice_before_is_committed(target: Target) -> None:
    steps = Steps()
    target.load(events("a", "b"))
    target.load_ahead(events("c", start=2), at_step=steps)
    assert steps[:5] == [LoadStep.STAGE, LoadStep.BEGIN, LoadStep.AHEAD, LoadStep.LOCK, LoadStep.ADMIT]
    assert names(target) == ["a", "b", "c"]
    assert target.batches() == [("mixed[0]@[0,2)", "live", 2, 0, 0, 0, 0), ("mixed[0]@[2,3)", "live", 1, 0, 0, 0, 0)]


def test_upserts_and_deletes_written_ahead_are_applied_in_order(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), account("m", 1), account("n", 1)])))
    target.load_ahead(raw_slice(Part([account("k", 2), gone("m"), account("k", 3), event("a")], start=3)))
    assert balances(target) == {"k": 3, "n": 1}
    assert names(target) == ["a"]


def test_where_the_slice_before_fails_nothing_is_left_and_nothing_is_said_but_that(target: Target) -> None:
    previous = CommitTicket()

    def fail(step: str) -> None:
        if step == LoadStep.AHEAD:
            previous.settle(is_loaded=False)

    with pytest.raises(Abandoned):
        target.load(events("a"), ticket=after(previous), at_step=fail)
    assert names(target) == []
    assert target.batches() == []


def test_rows_another_run_has_loaded_meanwhile_are_not_there_twice(target: Target) -> None:
    target.load(events("a", "b"), run_id="other")
    steps = Steps()
    result = target.load_ahead(events("a", "b"), at_step=steps)
    assert steps.count(LoadStep.AHEAD) == 1
    assert steps.count(LoadStep.STAGE) == 2  # once more, in ticket: there the ledger says that nothing is left to do
    assert (names(target), result.skipped) == (["a", "b"], 2)
    assert target.batches() == [("mixed[0]@[0,2)", "live", 2, 0, 0, 0, 0)]


def test_of_a_slice_that_another_run_has_loaded_in_part_the_rest_is_loaded(target: Target) -> None:
    target.load(events("a", "b"), run_id="other")
    target.load_ahead(events("b", "c", start=1))
    assert names(target) == ["a", "b", "c"]
    assert [b[0] for b in target.batches()] == ["mixed[0]@[0,2)", "mixed[0]@[2,3)"]


def test_a_slice_that_leaves_a_gap_is_refused(target: Target) -> None:
    with pytest.raises(OffsetGap, match="would leave out 1 offsets"):
        target.load_ahead(events("b", start=1))
    assert names(target) == []


def test_a_row_the_database_refuses_is_a_dead_letter_all_the_same(target: Target) -> None:
    bad = event("bad", amount=13)
    target.load_ahead(raw_slice(Part([event("a"), bad, event("b"), account("k", 13), account("m", 1)])))
    assert names(target) == ["a", "b"]
    assert balances(target) == {"m": 1}
    assert [d[:2] for d in target.dead_letters()] == [("mixed[0]@1", "database"), ("mixed[0]@3", "database")]


def test_a_backfill_written_ahead_replaces_its_range_and_goes_on_live(target: Target) -> None:
    target.load(events("a", "b", "c"))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM t_event WHERE name = 'b'")
        connection.exec_driver_sql("UPDATE t_event SET name = 'z' WHERE name = 'c'")
    steps = Steps()
    target.load_ahead(events("b", "c", "d", start=1), "backfill", at_step=steps)
    assert steps.count(LoadStep.STAGE) == 1  # not once more, in turn
    assert names(target) == ["a", "b", "c", "d"]
    assert [(b[0], b[1]) for b in target.batches()[1:]] == [("mixed[0]@[1,3)", "backfill"), ("mixed[0]@[3,4)", "live")]


def test_what_a_backfill_ahead_of_the_ledger_has_loaded_is_emptied_by_the_live_load(target: Target) -> None:
    """Also where no row of the slice goes to that table."""
    target.load(events("a"))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO kafka_ingest_batches (stream, topic, kafka_partition, start_offset, end_offset, kind, row_count, "
            "delete_count, dead_letter_count, ignored_count, absent_count, run_id, loaded_at) "
            "VALUES ('mixed', 'mixed', 0, 1, 2, 'backfill', 1, 0, 0, 0, 0, 'r', '2026-01-01')"
        )
        connection.exec_driver_sql("UPDATE kafka_ingest_offsets SET loaded_to = 2 WHERE kafka_partition = 0")
        connection.exec_driver_sql(
            "INSERT INTO t_event (name, _kafka_topic, _kafka_partition, _kafka_offset) VALUES ('old', 'mixed', 0, 1)"
        )
    target.load_ahead(raw_slice(Part([account("k", 1)], start=1)))
    assert names(target) == ["a"]
    assert balances(target) == {"k": 1}


def test_rows_give_way_to_a_slice_before_them_that_may_be_waiting_for_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "GIVE_WAY_SECONDS", 0.05)
    previous, steps = CommitTicket(), Steps()
    seen_while_waiting: list[object] = []

    def commit_later() -> None:
        seen_while_waiting.append(list(steps))
        previous.settle(is_loaded=True)

    timer = threading.Timer(0.3, commit_later)
    timer.start()
    target.load(events("a"), ticket=after(previous), at_step=steps)
    timer.join()
    assert seen_while_waiting == [
        [LoadStep.STAGE, LoadStep.BEGIN, LoadStep.AHEAD]
    ]  # rolled back, and waiting for its turn
    assert steps[3:7] == [LoadStep.STAGE, LoadStep.BEGIN, LoadStep.LOCK, LoadStep.ADMIT]
    assert names(target) == ["a"]


def test_a_turn_with_nothing_before_it_has_come() -> None:
    assert CommitTicket().is_next()
    CommitTicket().wait()


def test_a_slice_waits_until_the_one_before_may_be_followed() -> None:
    previous = CommitTicket()
    ticket, found = CommitTicket(previous), []
    thread = threading.Thread(target=lambda: found.append(ticket.is_next()))
    thread.start()
    thread.join(0.1)
    assert found == []
    previous.let_next_begin()
    thread.join(5)
    assert found == [False]
    with pytest.raises(WriteAheadRejected):
        ticket.wait(0.01)
    previous.settle(is_loaded=True)
    ticket.wait()
    assert ticket.is_next()


def test_a_settled_slice_lets_go_of_those_before_it() -> None:
    """Or a drain of a day would keep all its turns."""
    first = CommitTicket()
    second = CommitTicket(first)
    first.settle(is_loaded=True)
    second.settle(is_loaded=True)
    third = CommitTicket(second)
    assert third.is_next()
    assert second._previous is None
