"""A reader that follows the log as messages come."""

from __future__ import annotations

import pytest

from kafka_ingest.kafka import reader as reader_module
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import TopicPartition
from kafka_ingest_tests.kafka.test_reader import P0, PLENTY, range_of, reader_over
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, log


def test_what_has_come_is_what_is_read_next() -> None:
    reader, _ = reader_over(log(P0, [0, 1, 4], 6))
    reader.read_to([range_of(P0, 0, 0)])
    for _ in range(20):
        reader.follow(0.0)
    assert reader.remaining() == (range_of(P0, 0, 6),)
    raw = reader.read_slice(max_rows=100, max_bytes=PLENTY)
    assert (raw.offsets.tolist(), raw.absent) == ([0, 1, 4], (3,))
    reader.follow(0.0)
    assert reader.remaining() == ()


def test_following_never_goes_beyond_what_has_come_nor_back() -> None:
    reader, consumer = reader_over(log(P0, range(40), 40))
    reader.read_to([range_of(P0, 0, 30)])
    consumer.silent = True
    reader.follow(0.0)
    assert reader.remaining() == (range_of(P0, 0, 30),)
    consumer.silent = False
    seen = []
    while reader.positions()[P0] < 40:
        reader.follow(0.0)
        seen += reader.read_slice(max_rows=7, max_bytes=PLENTY).offsets.tolist()
    assert seen == list(range(40))


def test_it_waits_for_the_first_message_only_where_nothing_remains() -> None:
    waits: list[tuple[int, float]] = []

    class Noted(FakeConsumer):
        def consume(self, count: int, timeout: float) -> list[FakeMessage]:
            waits.append((count, timeout))
            return super().consume(count, timeout)

    consumer = Noted({P0: log(P0, range(5), 5)})
    reader = RangeReader(consumer)
    reader.read_to([range_of(P0, 0, 0)])
    while not reader.remaining():
        reader.follow(0.25)
    assert waits[0] == (1, 0.25), "the first one ends the wait"
    assert (63, 0.0) in waits, "and the others that are there come along"
    waits.clear()
    reader.follow(0.25)
    assert {timeout for _, timeout in waits} == {0.0}


def test_a_partition_that_was_paused_goes_on_when_it_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "_HELD_MESSAGES", 3)
    reader, consumer = reader_over(log(P0, range(30), 30), log(TopicPartition("t", 1), range(4), 4))
    reader.read_to([range_of(P0, 0, 1), range_of(TopicPartition("t", 1), 0, 4)])
    reader.read_slice(max_rows=100, max_bytes=PLENTY)
    seen = 1
    while seen < 30:
        reader.follow(0.0)
        seen += len(reader.read_slice(max_rows=100, max_bytes=PLENTY))
    assert consumer.paused == set()
    assert seen == 30
