# A row of a table is one line.
# ruff: noqa: E501
"""The ledger is proven from what is stored: sums, gaps, overlaps, and the next offset."""

from __future__ import annotations

import pytest

from kafka_ingest.checks.run_ledger import check_accounting, check_tiling, run_to_check
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target

P0 = TopicPartition("mixed", 0)


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0})
    for number in range(3):
        messages = [Msg({"type": "event", "name": "a"}), Msg(b"bad")]
        found.load(raw_slice(Part(messages, start=number * 3, end=number * 3 + 3)), run_id=f"run{number}")
    return found


def change(target: Target, sql: str) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(sql)


def test_a_ledger_as_written_passes(target: Target) -> None:
    for number in range(3):
        assert check_accounting(target.sink, MIXED, f"run{number}").faults == ()
        assert check_tiling(target.sink, MIXED, f"run{number}").faults == ()
    assert check_accounting(target.sink, MIXED, "run1").checked == 1
    assert check_tiling(target.sink, MIXED, "run1").checked == 3


def test_a_run_that_has_loaded_is_checked_itself_another_checks_the_live_run_that_loaded_last(target: Target) -> None:
    assert run_to_check(target.sink, MIXED, "run0") == "run0"
    assert run_to_check(target.sink, MIXED, "by-hand") == "run2"
    target.load(raw_slice(Part([Msg(b"x")], start=1)), "backfill", run_id="again")
    assert run_to_check(target.sink, MIXED, "by-hand") == "run2"
    target.pin({TopicPartition("mixed", 1): 0})  # by a run that died before its first load
    change(target, "UPDATE kafka_ingest_offsets SET updated_at = '2099-01-01' WHERE kafka_partition = 1")
    assert run_to_check(target.sink, MIXED, "by-hand") == "run2"


def test_where_nothing_was_loaded_a_run_checks_itself() -> None:
    assert run_to_check(Target(MIXED).sink, MIXED, "by-hand") == "by-hand"


def test_a_backfill_does_not_count_as_an_overlap(target: Target) -> None:
    target.load(raw_slice(Part([Msg(b"x")], start=1)), "backfill", run_id="again")
    assert check_tiling(target.sink, MIXED, "again").passed
    assert check_accounting(target.sink, MIXED, "again").checked == 1
    assert check_tiling(target.sink, MIXED, "run0").passed


def test_a_range_that_does_not_add_up_is_found(target: Target) -> None:
    change(target, "UPDATE kafka_ingest_batches SET row_count = 0 WHERE run_id = 'run1'")
    assert check_accounting(target.sink, MIXED, "run1").faults == ("mixed[0]@[3,6): 2 of 3 offsets are accounted for",)
    assert check_accounting(target.sink, MIXED, "run0").passed


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("DELETE FROM kafka_ingest_batches WHERE run_id = 'run1'", "mixed[0]@[0,3) and mixed[0]@[6,9): gap of 3 offsets"),
        ("UPDATE kafka_ingest_batches SET start_offset = 5 WHERE run_id = 'run2'", "mixed[0]@[3,6) and mixed[0]@[5,9): overlap of 1 offsets"),
        ("UPDATE kafka_ingest_offsets SET next_offset = 8", "mixed[0]@[6,9): the ledger's next offset is 8"),
        ("DELETE FROM kafka_ingest_offsets", "mixed[0]@[6,9): the ledger's next offset is None"),
    ],
)  # fmt: skip
def test_gaps_overlaps_and_a_wrong_next_offset_are_found(target: Target, sql: str, fault: str) -> None:
    change(target, sql)
    assert check_tiling(target.sink, MIXED, "run2").faults == (fault,)
