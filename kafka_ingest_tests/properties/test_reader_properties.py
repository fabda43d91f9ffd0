"""Any log, any ranges, any bounds: slices tile the ranges in order and every message comes once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.kafka import reader as reader_module
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import OffsetRange, RawSlice, TopicPartition
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, Log

SIZES = [1, 5, 40, 300]


@st.composite
def logs(draw: st.DrawFn) -> dict[TopicPartition, Log]:
    found = {}
    for number in range(draw(st.integers(1, 3))):
        tp = TopicPartition("t", number)
        end = draw(st.integers(0, 30))
        offsets = draw(st.sets(st.integers(0, max(0, end - 1)), max_size=end))
        sizes = draw(st.lists(st.sampled_from(SIZES), min_size=len(offsets), max_size=len(offsets)))
        messages = {o: FakeMessage(tp, o, b"x" * s, o) for o, s in zip(sorted(offsets), sizes, strict=True) if o < end}
        found[tp] = Log(messages, end)
    return found


@st.composite
def ranges_in(draw: st.DrawFn, of: dict[TopicPartition, Log]) -> list[OffsetRange]:
    found = []
    for tp, log in of.items():
        start, end = sorted((draw(st.integers(0, log.end)), draw(st.integers(0, log.end))))
        found.append(OffsetRange(tp.topic, tp.partition, start, end))
    return found


def slices_of(reader: RangeReader, max_rows: int, max_bytes: int) -> Iterator[RawSlice]:
    while reader.remaining():
        yield reader.read_slice(max_rows=max_rows, max_bytes=max_bytes)


def check(
    slices: list[RawSlice], wanted: list[OffsetRange], of: dict[TopicPartition, Log], rows: int, size: int
) -> None:
    position = {r.topic_partition: r.start for r in wanted}
    delivered: dict[TopicPartition, list[int]] = {tp: [] for tp in of}
    for raw in slices:
        assert len(raw) <= rows
        assert len(raw) == 1 or sum(len(v or b"") for v in raw.values) <= size
        assert len(raw.ranges) == len({r.topic_partition for r in raw.ranges})
        for index, (each, absent) in enumerate(zip(raw.ranges, raw.absent, strict=True)):
            assert each.size
            assert position[each.topic_partition] == each.start
            position[each.topic_partition] = each.end
            inside = raw.offsets[raw.range_index == index].tolist()
            assert inside == sorted(inside)
            assert all(each.start <= o < each.end for o in inside)
            assert len(inside) + absent == each.size
            delivered[each.topic_partition] += inside
    assert position == {r.topic_partition: r.end for r in wanted}
    for each in wanted:
        messages = of[each.topic_partition].messages
        assert delivered[each.topic_partition] == [o for o in sorted(messages) if each.start <= o < each.end]


@settings(max_examples=150)
@given(
    st.data(),
    logs(),
    st.integers(1, 12),
    st.sampled_from([1, 50, 200, 10_000]),
    st.integers(0, 1_000),
    st.sampled_from([1, 5, 2_000]),
)
def test_slices_tile_the_ranges_and_every_message_comes_once(
    data: st.DataObject, of: dict[TopicPartition, Log], rows: int, size: int, seed: int, held: int
) -> None:
    with patch.object(reader_module, "_HELD_MESSAGES", held):
        reader = RangeReader(FakeConsumer(of, random.Random(seed)))
        wanted = data.draw(ranges_in(of))
        reader.restart(wanted)
        check(list(slices_of(reader, rows, size)), wanted, of, rows, size)


@settings(max_examples=100)
@given(st.data(), logs(), st.integers(1, 12), st.integers(0, 1_000), st.integers(0, 5), st.sampled_from([1, 2_000]))
def test_a_restart_after_any_partial_read_gives_the_same_as_a_fresh_read(
    data: st.DataObject, of: dict[TopicPartition, Log], rows: int, seed: int, read_before: int, held: int
) -> None:
    with patch.object(reader_module, "_HELD_MESSAGES", held):
        reader = RangeReader(FakeConsumer(of, random.Random(seed)))
        reader.restart(data.draw(ranges_in(of)))
        for _ in range(read_before):
            reader.read_slice(max_rows=rows, max_bytes=100)
        wanted = data.draw(ranges_in(of))
        reader.restart(wanted)
        check(list(slices_of(reader, rows, 100)), wanted, of, rows, 100)


@settings(max_examples=100)
@given(st.data(), logs(), st.integers(1, 12), st.integers(0, 1_000), st.sampled_from([1, 5, 2_000]))
def test_ranges_that_grow_while_they_are_read_are_one_range_in_the_end(
    data: st.DataObject, of: dict[TopicPartition, Log], rows: int, seed: int, held: int
) -> None:
    with patch.object(reader_module, "_HELD_MESSAGES", held):
        reader = RangeReader(FakeConsumer(of, random.Random(seed)))
        wanted = data.draw(ranges_in(of))
        reader.restart([OffsetRange(r.topic, r.partition, r.start, r.start) for r in wanted])
        found: list[RawSlice] = []
        ends = {r.topic_partition: r.start for r in wanted}
        for _ in range(4):
            for each in wanted:
                tp = each.topic_partition
                ends[tp] = data.draw(st.integers(ends[tp], each.end))
            reader.read_to(OffsetRange(*tp, position, ends[tp]) for tp, position in reader.positions().items())
            found += slices_of(reader, rows, 10_000)
        reader.read_to(
            OffsetRange(*tp, p, next(r.end for r in wanted if r.topic_partition == tp))
            for tp, p in reader.positions().items()
        )
        found += slices_of(reader, rows, 10_000)
        check(found, wanted, of, rows, 10_000)
