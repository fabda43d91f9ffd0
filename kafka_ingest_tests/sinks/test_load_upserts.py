"""Upserts and deletes by business key: whichever message counts, counts in every order of loading."""

from __future__ import annotations

import pytest

from kafka_ingest.testing.messages import MORNING_MS, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import account, balances, gone


def test_the_message_with_the_highest_offset_wins_within_a_slice_and_between_slices(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), account("k", 2), account("m", 3)])))
    assert balances(target) == {"k": 2, "m": 3}
    target.load(raw_slice(Part([account("k", 4)], start=3)))
    assert balances(target) == {"k": 4, "m": 3}
    target.load(raw_slice(Part([account("k", 1), account("k", 2), account("m", 3)])), "backfill")
    assert balances(target) == {"k": 4, "m": 3}
    assert target.batches()[0] == ("mixed[0]@[0,3)", "live", 3, 0, 0, 0, 0)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("stamps", "winner"),
    [((5_000, 4_000), 0), ((4_000, 5_000), 1), ((5_000, 5_000), 1), ((-1, 5_000), 1), ((5_000, -1), 0)],
)
def test_between_partitions_the_later_timestamp_wins_then_the_higher_partition(
    target: Target, together: bool, stamps: tuple[int, int], winner: int
) -> None:
    parts = [
        Part([account("k", 100 + p, timestamp_ms=s)], partition=p) for p, s in enumerate(stamps)
    ]  # the value names the partition
    if together:
        target.load(raw_slice(*parts))
    else:
        for part in parts:
            target.load(raw_slice(part))
    assert balances(target) == {"k": 100 + winner}


def test_keys_that_differ_by_case_accent_or_trailing_space_are_different_keys(target: Target) -> None:
    target.load(raw_slice(Part([account(k, n) for n, k in enumerate(["a", "A", "á", "a ", ""])])))
    assert len(balances(target)) == 5


def test_a_tombstone_deletes_and_a_later_message_brings_the_row_back(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), account("m", 1)])))
    target.load(raw_slice(Part([gone("k")], start=2)))
    assert balances(target) == {"m": 1}
    target.load(raw_slice(Part([account("k", 2)], start=3)))
    assert balances(target) == {"k": 2, "m": 1}


def test_within_a_slice_the_last_word_on_a_key_counts(target: Target) -> None:
    target.load(raw_slice(Part([gone("k"), account("k", 1), account("m", 1), gone("m")])))
    assert balances(target) == {"k": 1}
    assert target.batches() == [("mixed[0]@[0,4)", "live", 2, 2, 0, 0, 0)]


def test_a_backfill_does_not_bring_a_deleted_row_back(target: Target) -> None:
    slices = [raw_slice(Part([account("k", 1)])), raw_slice(Part([gone("k")], start=1))]
    for each in slices:
        target.load(each)
    target.load(slices[0], "backfill")
    assert balances(target) == {}
    target.load(slices[1], "backfill")
    assert balances(target) == {}


def test_a_tombstone_loaded_again_does_not_delete_a_newer_row(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1), gone("k"), account("k", 2)])))
    target.load(raw_slice(Part([gone("k")], start=1)), "backfill")
    assert balances(target) == {"k": 2}


def test_a_tombstone_for_a_row_that_never_was_is_a_delete_like_any_other(target: Target) -> None:
    target.load(raw_slice(Part([gone("nobody")])))
    assert target.batches() == [("mixed[0]@[0,1)", "live", 0, 1, 0, 0, 0)]
    target.load(raw_slice(Part([account("nobody", 1, timestamp_ms=MORNING_MS - 5_000)], partition=1)))
    assert balances(target) == {}
