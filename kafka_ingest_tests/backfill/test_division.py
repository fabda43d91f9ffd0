"""A backfill's ranges divided: each in one part, the parts of nearly the same size."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.backfill.division import divide, size_of
from kafka_ingest.slices import OffsetRange


def ranges(*sizes: int) -> list[OffsetRange]:
    return [OffsetRange("t", number, 10, 10 + size) for number, size in enumerate(sizes)]


@settings(max_examples=60)
@given(sizes=st.lists(st.integers(0, 1_000), max_size=12), most=st.integers(1, 6), least_offsets=st.integers(1, 2_000))
def test_every_range_is_in_one_part_and_no_part_is_larger_than_need_be(
    sizes: list[int], most: int, least_offsets: int
) -> None:
    parts = divide(ranges(*sizes), most, least_offsets=least_offsets)
    assert sorted(r for part in parts for r in part) == [r for r in ranges(*sizes) if r.size]
    assert 1 <= len(parts) <= most
    assert len(parts) == 1 or all(parts)
    assert len(parts) == 1 or sum(sizes) >= len(parts) * least_offsets
    held = [size_of(part) for part in parts]
    assert held == sorted(held, reverse=True)
    # Graham's bound: what came last to the largest part came to it as the smallest.
    assert held[0] <= sum(sizes) / len(parts) + max(sizes, default=0)


def test_one_large_partition_is_a_part_and_the_small_ones_share_the_other() -> None:
    assert [[r.partition for r in part] for part in divide(ranges(1, 100, 2, 3), 2, least_offsets=1)] == [
        [1],
        [0, 2, 3],
    ]


def test_what_is_not_worth_another_run_is_one_part() -> None:
    few = ranges(30, 40, 29)
    assert divide(few, 4, least_offsets=50) == [tuple(few)]
    assert len(divide(ranges(30, 40, 30), 4, least_offsets=50)) == 2
    assert divide([], 4, least_offsets=50) == [()]
