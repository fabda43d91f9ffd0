"""Old ledger entries merged: fewer, and everything still adds up."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.engine.compaction import Compacted, compact_ledger
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import NOW, Target

pytestmark = pytest.mark.slow

P0 = TopicPartition("mixed", 0)
LATER = NOW + dt.timedelta(days=15)
GOOD, BAD = {"type": "event", "name": "n"}, b"{"


def part(start: int, end: int, bad: frozenset[int] = frozenset(), hour: int = 0) -> Part:
    stamp = MORNING_MS + hour * 3_600_000
    return Part([Msg(BAD if n in bad else GOOD, timestamp_ms=stamp + n) for n in range(start, end)], start=start)


def made(*parts: Part) -> Target:
    found = Target(MIXED)
    found.pin({P0: 0})
    for number, each in enumerate(parts):
        found.load(raw_slice(each), run_id=f"run-{number}")
    return found


def compact(target: Target, **options: Any) -> Compacted:
    before = options.pop("before", LATER)
    return compact_ledger(target.sink, MIXED, before=before, seconds=60, **options)


def assert_sound(target: Target) -> None:
    for finding in (
        audit_accounting(target.sink, MIXED),
        audit_tiling(target.sink, MIXED),
        audit_rows(target.sink, MIXED, TargetTable.of(Event), seconds=60),
    ):
        assert finding.faults == ()


def test_neighbours_become_one_entry_with_their_sums_and_the_last_run() -> None:
    target = made(part(0, 3), part(3, 7, frozenset({4})), part(7, 9))
    assert compact(target) == Compacted(3, 2, True)
    assert target.batches() == [("mixed[0]@[0,9)", "live", 8, 0, 1, 0, 0)]
    ((run, rows, low, high),) = target.all(
        "SELECT run_id, rows_by_table, min_timestamp, max_timestamp FROM kafka_ingest_batches"
    )
    assert (run, json.loads(rows)) == ("run-2", {"t_event": 8})
    assert (low, high) == ("2026-01-01 07:00:00.000000", "2026-01-01 07:00:00.008000")
    assert_sound(target)


def test_what_is_not_old_enough_stays() -> None:
    target = made(part(0, 3), part(3, 7))
    assert compact(target, before=NOW) == Compacted(0, 0, True)


def test_of_younger_ones_those_of_one_run_are_merged() -> None:
    target = made(part(0, 3), part(3, 5))
    for start in (5, 7):
        target.load(raw_slice(part(start, start + 2)), run_id="run-1")
    assert compact(target, before=NOW, within_runs_before=LATER) == Compacted(4, 2, True)
    found = target.all("SELECT run_id, start_offset, end_offset FROM kafka_ingest_batches ORDER BY id")
    assert found == [("run-0", 0, 3), ("run-1", 3, 9)]
    assert_sound(target)
    compact(target)
    assert [b[0] for b in target.batches()] == ["mixed[0]@[0,9)"]
    assert_sound(target)


def test_entries_of_several_windows_are_not_merged() -> None:
    target = made(part(0, 3), part(3, 5, hour=1), part(5, 6, hour=1))
    compact(target)
    assert [b[0] for b in target.batches()] == ["mixed[0]@[0,3)", "mixed[0]@[3,6)"]


def test_what_a_backfill_touched_stays_as_it_is() -> None:
    target = made(*(part(n, n + 2, frozenset({5})) for n in range(0, 12, 2)))
    target.load(raw_slice(part(5, 7)), "backfill", run_id="again")
    compact(target)
    assert [(b[0], b[1]) for b in sorted(target.batches(), key=lambda b: int(b[0].split("[")[2].split(",")[0]))] == [
        ("mixed[0]@[0,4)", "live"),
        ("mixed[0]@[4,6)", "live"),
        ("mixed[0]@[5,7)", "backfill"),
        ("mixed[0]@[6,8)", "live"),
        ("mixed[0]@[8,12)", "live"),
    ]
    assert_sound(target)


def test_it_goes_on_after_each_transaction_and_a_second_time_does_nothing() -> None:
    target = made(*(part(n, n + 1) for n in range(10)))
    done = compact(target, entries_a_transaction=3)
    assert done.finished
    assert done.entries_removed == 9
    assert target.batches() == [("mixed[0]@[0,10)", "live", 10, 0, 0, 0, 0)]
    assert compact(target).entries_removed == 0


def test_out_of_time_it_says_so() -> None:
    target = made(part(0, 1), part(1, 2))
    assert compact_ledger(target.sink, MIXED, before=LATER, seconds=-1) == Compacted(0, 0, False)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_entries_of_an_older_version_make_an_entry_that_does_not_know_its_rows(size: int) -> None:
    target = made(part(0, 1), part(1, 2))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_batches SET rows_by_table = NULL WHERE start_offset = 0")
    compact(target, entries_a_transaction=size)
    assert len(target.batches()) <= 2
    assert_sound(target)


loads = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 1)), min_size=1, max_size=8)
again = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6)), max_size=3)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(loads, again, st.sets(st.integers(0, 31)), st.integers(1, 6))
def test_after_any_history_everything_still_adds_up(
    history: list[tuple[int, int]], repeats: list[tuple[int, int]], bad: set[int], size: int
) -> None:
    parts, start = [], 0
    for count, hour in history:
        parts.append(part(start, start + count, frozenset(bad), hour))
        start += count
    target = made(*parts)
    for first, count in repeats:
        if first < start:
            target.load(raw_slice(part(first, min(start, first + count))), "backfill", run_id="again")
    before = len(target.batches())
    done = compact(target, entries_a_transaction=size)
    assert len(target.batches()) == before - done.entries_removed
    assert_sound(target)
