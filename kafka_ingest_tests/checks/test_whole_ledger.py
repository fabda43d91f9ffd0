"""The whole ledger audited; consumer group and dead-letter ratio judged."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from kafka_ingest.checks.consumer_group import check_consumer_group
from kafka_ingest.checks.dead_letter_ratio import check_dead_letter_ratio
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.settings import Settings
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import FakeMetadata, log

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)
GOOD, BAD = Msg({"type": "event", "name": "n"}), Msg(b"{")
SETTINGS = Settings.from_environment({})


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0, P1: 0})
    for start in (0, 5, 10):
        found.load(raw_slice(*(Part([GOOD] * 5, partition=p, start=start) for p in (0, 1))), run_id=f"run-{start}")
    found.load(raw_slice(Part([GOOD] * 3, start=4)), "backfill", run_id="again")
    return found


def change(target: Target, sql: str) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(sql)


def test_a_sound_ledger_passes_backfills_included(target: Target) -> None:
    accounting, tiling = audit_accounting(target.sink, MIXED), audit_tiling(target.sink, MIXED)
    assert (accounting.checked, accounting.faults) == (7, ())
    assert (tiling.checked, tiling.faults) == (6, ())


def test_a_range_that_does_not_add_up_is_named(target: Target) -> None:
    change(target, "UPDATE kafka_ingest_batches SET ignored_count = 1 WHERE start_offset = 5 AND kafka_partition = 1")
    assert audit_accounting(target.sink, MIXED).faults == ("mixed[1]@[5,10): 6 of 5 offsets are accounted for",)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "DELETE FROM kafka_ingest_batches WHERE kafka_partition = 1 AND start_offset = 5",
            "mixed[1]@[10,15): gap of 5 offsets to the range before it, which ends at 5",
        ),
        (
            "UPDATE kafka_ingest_batches SET start_offset = 8 WHERE kafka_partition = 1 AND start_offset = 10",
            "mixed[1]@[8,15): overlap of 2 offsets to the range before it, which ends at 10",
        ),
        (
            "UPDATE kafka_ingest_offsets SET next_offset = 14 WHERE kafka_partition = 0",
            "mixed[0]: the last range ends at 15, but the ledger's next offset is 14",
        ),
    ],
)
def test_gaps_overlaps_and_wrong_ends_are_named(target: Target, sql: str, said: str) -> None:
    change(target, sql)
    assert audit_tiling(target.sink, MIXED).faults == (said,)


def group(target: Target, *answers: dict[TopicPartition, int]) -> Any:
    """The check of a group that answers so, look by look; how often it waited."""
    metadata, left = FakeMetadata({P0: log(P0, [], 15), P1: log(P1, [], 15)}), list(answers)
    waits: list[float] = []
    answer: Any = lambda *_arguments: left.pop(0) if len(left) > 1 else left[0]  # noqa: E731
    metadata.group_offsets = answer  # type: ignore[method-assign]
    finding = check_consumer_group(target.sink, MIXED, SETTINGS, metadata, sleep=waits.append)
    return finding, len(waits)


def test_a_group_that_stands_where_the_ledger_does_passes_at_once(target: Target) -> None:
    finding, waits = group(target, {P0: 15, P1: 15})
    assert finding.passed
    assert (finding.checked, waits) == (2, 0)


def test_a_group_that_catches_up_meanwhile_passes(target: Target) -> None:
    finding, waits = group(target, {P0: 10, P1: 15}, {P0: 15, P1: 15})
    assert (finding.passed, waits) == (True, 1)


def test_a_group_that_stays_behind_or_is_ahead_fails_by_partition(target: Target) -> None:
    finding, waits = group(target, {P1: 20})
    assert waits == 2
    assert finding.faults == (
        "mixed[0]: consumer group kafka_ingest has no offset, the ledger 15",
        "mixed[1]: consumer group kafka_ingest is 5 offsets ahead of the ledger (20, ledger 15): something else commits "
        "to it, or the ledger was set back",
    )
    finding, _ = group(target, {P0: 15, P1: 11})
    assert finding.faults == ("mixed[1]: consumer group kafka_ingest is 4 offsets behind the ledger (11 of 15)",)


def test_a_group_is_not_expected_to_know_a_topic_that_was_deleted(target: Target) -> None:
    metadata = FakeMetadata({P1: log(P1, [], 15)})
    metadata.committed = {P1: 15}
    finding = check_consumer_group(target.sink, MIXED, SETTINGS, metadata, sleep=lambda _seconds: None)
    assert (finding.passed, finding.checked) == (True, 1)


def test_a_run_with_too_many_dead_letters_warns_and_a_small_one_is_judged_with_those_before() -> None:
    stream = dataclasses.replace(MIXED, warn_dead_letter_ratio=0.1)
    target = Target(stream)
    target.pin({P0: 0})
    target.load(raw_slice(Part([GOOD] * 180 + [BAD] * 20)), run_id="fine")
    assert check_dead_letter_ratio(target.sink, stream, "fine").passed
    target.load(raw_slice(Part([GOOD] * 89 + [BAD] * 11, start=200)), run_id="bad")
    finding = check_dead_letter_ratio(target.sink, stream, "bad")
    assert finding.faults == ("11 of 100 messages are dead letters: 11.0%, over 10.0%",)
    target.load(raw_slice(Part([BAD], start=300)), run_id="small")
    finding = check_dead_letter_ratio(target.sink, stream, "small")
    assert (finding.passed, finding.details["messages"]) == (False, 101)


def test_too_few_messages_are_not_judged() -> None:
    target = Target(MIXED)
    target.pin({P0: 0})
    target.load(raw_slice(Part([BAD] * 9)), run_id="r")
    assert check_dead_letter_ratio(target.sink, MIXED, "r").passed
    assert check_dead_letter_ratio(target.sink, MIXED, "loaded nothing").details["messages"] == 0
