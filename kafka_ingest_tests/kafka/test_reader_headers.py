"""What the client holds of messages with large headers, which it does not count (confluentinc/librdkafka issues 2076, 5140)."""

from __future__ import annotations

import random

import pytest

from kafka_ingest.kafka import reader as reader_module
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import Headers, OffsetRange, TopicPartition
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, Log, log

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
PLENTY = 1 << 30


class Heavy(FakeMessage):
    """A small value, and a kilobyte of headers."""

    def headers(self) -> Headers | None:  # type: ignore[override]
        return [("h", bytes(999))]


def heavy(tp: TopicPartition, end: int) -> Log:
    return Log({n: Heavy(tp, n) for n in range(end)}, end)


@pytest.mark.parametrize("seed", range(5))
def test_the_reader_goes_on_by_a_consumer_that_holds_fewer_and_reads_every_message_once(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(reader_module, "PREFETCH_KBYTES", 10)
    monkeypatch.setattr(reader_module, "_HELD_MESSAGES", 5)
    logs = {P0: heavy(P0, 40), P1: heavy(P1, 30)}
    first = FakeConsumer(logs, random.Random(seed))
    opened: list[tuple[int, FakeConsumer]] = []

    def reopen(queued_messages: int) -> FakeConsumer:
        opened.append((queued_messages, FakeConsumer(logs, random.Random(seed))))
        return opened[-1][1]

    reader = RangeReader(first, reopen=reopen)
    reader.read_to([OffsetRange("t", 0, 0, 3), OffsetRange("t", 1, 0, 30)])
    found = [reader.read_slice(max_rows=7, max_bytes=PLENTY)]
    while reader.remaining():
        found.append(reader.read_slice(max_rows=7, max_bytes=PLENTY))
    reader.read_to([OffsetRange("t", 0, 3, 40)])
    while reader.remaining():
        found.append(reader.read_slice(max_rows=7, max_bytes=PLENTY))
    read = sorted(raw.position(n) for raw in found for n in range(len(raw)))
    assert read == sorted([f"t[0]@{n}" for n in range(40)] + [f"t[1]@{n}" for n in range(30)])
    assert [messages for messages, _ in opened] == [10]  # 10,240 bytes of 1,000 and the value's share
    assert first.positions == {}, "the first one holds nothing more"
    assert (first.is_closed, opened[0][1].is_closed) == (True, False)
    reader.close()
    assert opened[0][1].is_closed


def test_messages_whose_values_are_large_are_left_to_the_clients_own_count() -> None:
    consumer = FakeConsumer({P0: log(P0, range(40), 40, size=5_000)})

    def reopen(_queued_messages: int) -> FakeConsumer:
        raise AssertionError("the client counts values")

    reader = RangeReader(consumer, reopen=reopen)
    reader.read_to([OffsetRange("t", 0, 0, 40)])
    assert len(reader.read_slice(max_rows=100, max_bytes=PLENTY)) == 40
