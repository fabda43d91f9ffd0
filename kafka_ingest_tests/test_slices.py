"""Offset ranges, batches and slices keep their own promises."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.errors import ConfigError
from kafka_ingest.slices import NO_ORDER, Batch, OffsetRange, Position, RangeCounts, TopicPartition, ranges_text
from kafka_ingest.testing.messages import Msg, Part, raw_slice


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


@given(st.lists(st.lists(st.integers(-1, 9), max_size=8), min_size=1, max_size=3), st.integers(-1, 5), st.randoms())
def test_messages_have_one_total_order_that_agrees_with_each_partitions_offsets(
    stamps: list[list[int]], start: int, random: Random
) -> None:
    parts = [Part([Msg({}, timestamp_ms=t) for t in own], partition=n) for n, own in enumerate(stamps)]
    random.shuffle(parts)
    raw = raw_slice(*parts).with_order_starts({TopicPartition("mixed", 0): start})
    places = []
    for part in parts:
        highest = start if part.partition == 0 else NO_ORDER
        for offset, message in part.numbered:
            highest = max(highest, message.timestamp_ms or 0)
            places.append((highest, part.topic, part.partition, offset))
    assert raw.orders.tolist() == [place[0] for place in places]
    assert raw.ranks().tolist() == [sorted(places).index(place) for place in places]


@given(st.lists(st.integers(-1, 9), min_size=1, max_size=8), st.integers(0, 8), st.integers(-1, 9))
def test_orders_are_the_same_wherever_a_slice_begins(stamps: list[int], cut: int, start: int) -> None:
    tp = TopicPartition("mixed", 0)
    messages = [Msg({}, timestamp_ms=t) for t in stamps]
    whole = raw_slice(Part(messages)).with_order_starts({tp: start})
    rest = raw_slice(Part(messages[cut:], start=min(cut, len(messages))))
    assert rest.with_order_starts({tp: whole.order_before(0, cut)}).orders.tolist() == whole.orders[cut:].tolist()


def test_the_counts_of_a_range_add_up_to_what_is_accounted_for() -> None:
    counts = RangeCounts(OffsetRange("a", 0, 0, 15), "live", 1, 2, 3, 4, 5, None, None)
    assert counts.accounted == counts.range.size


@pytest.mark.parametrize("position", [Position("news", 0, 0), Position("a.b_c-1@x", 999_999_999, 10**17)])
def test_a_position_is_read_as_it_is_written(position: Position) -> None:
    assert Position.parse(str(position)) == position
    assert position.topic_partition == TopicPartition(position.topic, position.partition)


@pytest.mark.parametrize(
    "text", ["", "news", "news[0]", "news[0]@", "news[-1]@3", "ne ws[0]@3", "news[0]@3 ", "news[x]@3"]
)
def test_what_names_no_position_is_none(text: str) -> None:
    assert Position.parse(text) is None
