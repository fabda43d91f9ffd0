"""The rows of an append table against the ledger: after loads, backfills and replays, and when somebody meddles."""

from __future__ import annotations

import dataclasses

import pytest
import sqlalchemy as sa

from kafka_ingest.checks import table_rows
from kafka_ingest.checks.run_ledger import CheckResult
from kafka_ingest.checks.table_rows import Entry, audit_rows, check_run_rows, components, expected_rows
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, one, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.made import Make

TABLE = Event.__table__


def event(number: int) -> Msg:
    return Msg({"type": "event", "name": f"n{number}"})


BAD = Msg(b"{")


@pytest.fixture
def target() -> Target:
    """Two partitions, ten messages each in two loads by one run; offset 3 of partition 0 is a dead letter."""
    found = Target(MIXED)
    found.pin({part.range.topic_partition: 0 for part in (Part([]), Part([], partition=1))})
    for start in (0, 5):
        for partition in (0, 1):
            messages = [BAD if (partition, n) == (0, 3) else event(n) for n in range(start, start + 5)]
            found.load(raw_slice(Part(messages, partition=partition, start=start)), run_id="live")
    return found


def backfill(target: Target, start: int, end: int, run_id: str) -> None:
    target.load(raw_slice(Part([event(n) for n in range(start, end)], start=start)), "backfill", run_id=run_id)


def delete(target: Target, where: str) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM t_event WHERE {where}")


def audit(target: Target, seconds: float = 60.0) -> CheckResult:
    return audit_rows(target.sink, MIXED, TargetTable.of(Event), seconds=seconds)


def test_each_ledger_entry_says_its_rows_by_table(target: Target) -> None:
    texts = target.all("SELECT rows_by_table FROM kafka_ingest_batches ORDER BY kafka_partition, start_offset")
    assert texts == [('{"t_event": 4}',), ('{"t_event": 5}',), ('{"t_event": 5}',), ('{"t_event": 5}',)]


def test_a_run_whose_rows_are_all_there_passes(target: Target) -> None:
    finding = check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event))
    assert finding.passed
    assert finding.checked == 4
    assert finding.details == {}


def test_a_missing_row_fails_the_check_which_names_its_range(target: Target) -> None:
    delete(target, "_kafka_partition = 1 AND _kafka_offset = 7")
    said = ("mixed[1]@[5,10): table t_event has 4 rows, the ledger says 5",)
    assert check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event)).faults == said
    assert audit(target).faults == said


def test_a_backfill_that_makes_more_of_a_range_passes_and_so_does_what_it_left(target: Target) -> None:
    backfill(target, 2, 7, "again")  # the bad message of offset 3 is a row now
    assert check_run_rows(target.sink, MIXED, "again", TargetTable.of(Event)).passed
    first = check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event))
    assert first.passed
    assert first.details == {"ranges_loaded_again_since": 3}
    assert audit(target).passed
    delete(target, "_kafka_partition = 0 AND _kafka_offset = 3")
    assert check_run_rows(target.sink, MIXED, "again", TargetTable.of(Event)).faults == (
        "mixed[0]@[2,7): table t_event has 4 rows, the ledger says 5",
    )


def test_a_replay_adds_its_row_to_the_range_loaded_before(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO kafka_ingest_batches (stream, topic, kafka_partition, start_offset, end_offset, kind, row_count, "
            "delete_count, dead_letter_count, ignored_count, absent_count, run_id, loaded_at, rows_by_table) VALUES "
            "('mixed', 'mixed', 0, 3, 4, 'replay', 1, 0, 0, 0, 0, 'replay', '2026-01-01 00:00:00.000000', "
            "'{\"t_event\": 1}')"
        )
    assert not check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event)).passed
    with target.sink.engine.begin() as connection:
        connection.execute(
            sa.insert(TABLE).values(name="n3", _kafka_topic="mixed", _kafka_partition=0, _kafka_offset=3)
        )
    assert check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event)).passed
    assert audit(target).passed
    backfill(target, 0, 10, "again")
    assert check_run_rows(target.sink, MIXED, "again", TargetTable.of(Event)).passed
    assert audit(target).passed


def test_a_large_run_is_counted_from_its_newest_ranges_on(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "COUNTED_ROWS", 10)
    finding = check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event))
    assert finding.passed
    assert (finding.checked, finding.details) == (2, {"ranges_left_to_the_audit": 2})


def test_rows_deleted_from_the_head_of_a_table_are_no_fault_of_the_audit_but_a_hole_is(target: Target) -> None:
    delete(target, "_kafka_partition = 0 AND _kafka_offset < 7")
    finding = audit(target)
    assert finding.passed
    assert finding.details == {"ranges_below_the_table's_first_row": 2}
    delete(target, "_kafka_partition = 1")
    assert len(audit(target).faults) == 2


def test_an_audit_out_of_time_says_what_it_did_not_reach(target: Target) -> None:
    finding = audit(target, seconds=-1.0)
    assert finding.details == {"partitions_not_reached_in_time": 2}


def test_the_audit_reads_a_long_ledger_in_pages(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_rows, "_PAGE_ENTRIES", 1)
    for number in range(3):
        backfill(target, 0, 2, f"again-{number}")  # entries of one start, over more than a page
    finding = audit(target)
    assert finding.passed
    assert finding.checked == 7


def test_entries_of_a_version_that_left_out_the_schema_are_understood(made: Make) -> None:
    stream = Stream(name="s", topics="mixed", routes={"a": made("news", schema="main")})
    target = Target(stream)
    target.pin({TopicPartition("mixed", 0): 0})
    target.load(one({"type": "a", "id": "x"}, {"type": "a", "id": "y"}))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE kafka_ingest_batches SET rows_by_table = '{"news": 2}'""")
    (news,) = stream.targets
    assert audit_rows(target.sink, stream, news, seconds=60).passed
    both = dataclasses.replace(stream, routes={"a": made("news"), "b": made("news", schema="other")})
    assert [table_rows._names_in_ledger(both, each) for each in both.targets] == [("news",), ("other.news",)]


def test_entries_of_a_version_that_did_not_record_rows_are_left_out(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_batches SET rows_by_table = NULL WHERE start_offset = 0")
    delete(target, "_kafka_offset = 1")
    assert check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event)).passed
    delete(target, "_kafka_offset = 6")
    assert len(check_run_rows(target.sink, MIXED, "live", TargetTable.of(Event)).faults) == 2


def entry(id_: int, start: int, end: int, rows: int, *, replays: bool = False) -> Entry:
    return Entry(id_, start, end, replays, {"t": rows}, "r")


def test_what_nothing_tells_exactly_is_bounded() -> None:
    # 8 rows in [0,10), then [5,15) loaded again with 10: of the first load, 3 to 5 rows are left.
    found = expected_rows([entry(1, 0, 10, 8), entry(2, 5, 15, 10)], "t")
    assert found is not None
    assert (found.start, found.end, found.low, found.high) == (0, 15, 13, 15)


def test_entries_that_only_touch_are_apart() -> None:
    groups = list(components([entry(1, 0, 5, 5), entry(2, 5, 9, 4), entry(3, 8, 12, 4)]))
    assert [[e.id for e in g] for g in groups] == [[1], [2, 3]]
