"""Offset ranges, batches and slices keep their own promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.errors import ConfigError
from kafka_ingest.records import Batch, OffsetRange, RangeCounts, TopicPartition, ranges_text
from kafka_ingest_tests.support.raws import Msg, Part, one, raw_slice


def test_a_range_is_half_open_and_knows_its_size_and_place() -> None:
    found = OffsetRange("news", 3, 10, 14)
    assert found.size == 4
    assert found.topic_partition == TopicPartition("news", 3)
    assert str(found) == "news[3]@[10,14)"
    assert str(found.topic_partition) == "news[3]"


def test_an_empty_range_is_a_range() -> None:
    assert OffsetRange("news", 0, 5, 5).size == 0


@pytest.mark.parametrize(
    ("topic", "partition", "start", "end"),
    [("", 0, 0, 1), ("news", -1, 0, 1), ("news", 0, -1, 1), ("news", 0, 2, 1)],
)
def test_what_is_no_range_is_refused_at_construction(topic: str, partition: int, start: int, end: int) -> None:
    with pytest.raises(ConfigError, match="not an offset range"):
        OffsetRange(topic, partition, start, end)


def test_a_batch_sorts_its_ranges_and_adds_them_up() -> None:
    batch = Batch("s", "live", (OffsetRange("b", 0, 0, 2), OffsetRange("a", 1, 5, 6), OffsetRange("a", 0, 0, 3)))
    assert [r.topic_partition for r in batch.ranges] == [("a", 0), ("a", 1), ("b", 0)]
    assert batch.size == 6
    assert str(batch) == "a[0]@[0,3), a[1]@[5,6), b[0]@[0,2)"


def test_a_batch_holds_one_range_per_topic_partition() -> None:
    with pytest.raises(ConfigError, match="at most one range per topic partition"):
        Batch("s", "live", (OffsetRange("a", 0, 0, 2), OffsetRange("a", 0, 2, 4)))


def test_long_lists_of_ranges_are_shortened_and_none_is_said_in_words() -> None:
    ranges = [OffsetRange("a", p, 0, 1) for p in range(5)]
    assert ranges_text(ranges, limit=2) == "a[0]@[0,1), a[1]@[0,1) and 3 more"
    assert ranges_text(ranges[:2], limit=2) == "a[0]@[0,1), a[1]@[0,1)"
    assert ranges_text([]) == "nothing"
    assert str(Batch("s", "live", ())) == "nothing"


def test_a_slice_names_the_position_of_each_message() -> None:
    raw = raw_slice(Part([Msg({}), Msg({}, offset=4)], start=2), Part([Msg({})], topic="mixed2", partition=7, start=9))
    assert [raw.position(i) for i in range(len(raw))] == ["mixed[0]@2", "mixed[0]@4", "mixed2[7]@9"]
    assert raw.absent == (1, 0)


def test_a_slice_cut_at_a_start_keeps_its_messages_and_shrinks_its_ranges() -> None:
    raw = raw_slice(Part([Msg({}), Msg({}, offset=5), Msg({})], end=9), Part([Msg({})], partition=1))
    cut, kept = raw.starting_at({TopicPartition("mixed", 0): 3})
    assert cut.ranges == (OffsetRange("mixed", 0, 3, 9), OffsetRange("mixed", 1, 0, 1))
    assert cut.absent == (4, 0)  # offsets 3, 4, 7, 8
    assert kept.tolist() == [1, 2, 3]
    assert len(cut) == len(raw)


@given(
    offsets=st.sets(st.integers(0, 30), max_size=20),
    start=st.integers(0, 40),
)
def test_messages_kept_and_offsets_absent_add_up_wherever_a_slice_is_cut(offsets: set[int], start: int) -> None:
    raw = raw_slice(Part([Msg({}, offset=o) for o in sorted(offsets)], end=31))
    cut, kept = raw.starting_at({TopicPartition("mixed", 0): start})
    assert len(kept) + cut.absent[0] == cut.ranges[0].size
    assert np.all(raw.offsets[kept] >= min(start, 31))


def test_an_empty_slice_can_be_cut() -> None:
    cut, kept = one().starting_at({TopicPartition("mixed", 0): 3})
    assert (len(cut), len(kept)) == (0, 0)


def test_the_counts_of_a_range_add_up_to_what_is_accounted_for() -> None:
    counts = RangeCounts(OffsetRange("a", 0, 0, 15), "live", 1, 2, 3, 4, 5, None, None)
    assert counts.accounted == counts.range.size
