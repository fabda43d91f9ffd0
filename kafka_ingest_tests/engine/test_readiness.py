# A row of a table is one line.
# ruff: noqa: E501
"""Is a batch due? A table of situations, each with its reason."""

from __future__ import annotations

import pytest

from kafka_ingest.engine.readiness import Due, NotDue, PartitionState, readiness, share_rows
from kafka_ingest.slices import OffsetRange, TopicPartition, ranges_text
from kafka_ingest.streams.stream import BatchPolicy

POLICY = BatchPolicy(min_messages=10, max_wait_seconds=10, max_rows=100)
P0, P1, P2 = (TopicPartition("t", n) for n in range(3))


def state(position: int | None, high: int, *, low: int = 0, aged: int = 0) -> PartitionState:
    return PartitionState(position, low, high, aged)


CASES: list[tuple[str, dict[TopicPartition, PartitionState], str, str]] = [
    ("nothing waits", {P0: state(5, 5)}, "nothing waiting", "not due"),
    ("no partition exists", {}, "no partitions yet", "not due"),
    ("nine young messages wait", {P0: state(0, 9)}, "9 of 10 messages waiting", "not due"),
    ("ten messages wait", {P0: state(0, 10)}, "10 messages waiting, 10 make a batch", "t[0]@[0,10)"),
    ("ten wait in two", {P0: state(0, 4), P1: state(1, 7)}, "10 messages waiting, 10 make a batch", "t[0]@[0,4), t[1]@[1,7)"),
    ("one old message waits", {P0: state(3, 4, aged=4)}, "1 of 10 messages waiting, oldest about 10 s", "t[0]@[3,4)"),
    ("an old message was loaded", {P0: state(3, 4, aged=3)}, "1 of 10 messages waiting", "not due"),
    ("one is old, others go too", {P0: state(0, 1, aged=1), P1: state(0, 2)}, "3 of 10 messages waiting, oldest about 10 s", "t[0]@[0,1), t[1]@[0,2)"),
    ("the first run pins", {P0: state(None, 7)}, "first run: pins the start of 1 partition(s)", "t[0]@[7,7)"),
    ("offsets are gone", {P0: state(3, 9, low=5)}, "offsets of 1 partition(s) are gone from Kafka", "t[0]@[3,3)"),
    ("the log ends early", {P0: state(12, 9)}, "offsets of 1 partition(s) are gone from Kafka", "t[0]@[12,12)"),
]  # fmt: skip


@pytest.mark.parametrize(("partitions", "reason", "ranges"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_due(partitions: dict[TopicPartition, PartitionState], reason: str, ranges: str) -> None:
    found = readiness(partitions, POLICY)
    assert found.reason == reason
    assert (ranges_text(found.ranges) if isinstance(found, Due) else "not due") == ranges


def test_partitions_that_a_run_holds_are_left_alone() -> None:
    partitions = {P0: state(0, 50), P1: state(0, 50)}
    found = readiness(partitions, POLICY, in_flight={P0: "0123456789"})
    assert isinstance(found, Due)
    assert found.ranges == (OffsetRange("t", 1, 0, 50),)
    held = readiness(partitions, POLICY, in_flight={P0: "0123456789", P1: "0123456789"})
    assert held == NotDue("run 01234567 is loading this stream")


def test_after_a_failure_even_a_full_batch_waits_and_the_reason_says_how_long() -> None:
    found = readiness({P0: state(0, 500)}, POLICY, backoff_seconds=12.4)
    assert found == NotDue("backing off for 12 s more after a failed batch; 500 messages waiting")
    assert readiness({P0: state(5, 5)}, POLICY, backoff_seconds=12.4) == NotDue("nothing waiting")


def test_the_age_of_the_oldest_message_is_for_the_words_only() -> None:
    found = readiness({P0: state(0, 3)}, POLICY, oldest_wait_seconds=lambda: 4.2)
    assert found == NotDue("3 of 10 messages waiting, oldest 4 s of 10 s")


def test_a_large_backlog_is_shared_and_small_partitions_leave_their_share_to_the_others() -> None:
    shared = share_rows({P0: state(0, 1_000), P1: state(0, 10), P2: state(500, 9_000)}, 100)
    assert shared == (OffsetRange("t", 0, 0, 45), OffsetRange("t", 1, 0, 10), OffsetRange("t", 2, 500, 545))


def test_a_busy_partition_does_not_starve_the_others_however_small_a_batch_is() -> None:
    assert share_rows({P0: state(0, 1), P1: state(0, 1_000)}, 1) == (
        OffsetRange("t", 0, 0, 1),
        OffsetRange("t", 1, 0, 1),
    )
