"""One consumer that several streams read by: each gets its own, and none holds up another."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka import shared_consumer
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.shared_consumer import SharedConsumer, StreamConsumer
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, Log, log

A, B = TopicPartition("a", 0), TopicPartition("b", 0)


def logs(count: int = 20) -> dict[TopicPartition, Log]:
    return {tp: log(tp, range(count), count) for tp in (A, B)}


def at(tp: TopicPartition, offset: int = 0) -> list[KafkaTopicPartition]:
    return [KafkaTopicPartition(*tp, offset)]


def read(reader: RangeReader, ranges: Iterable[OffsetRange]) -> list[int]:
    reader.restart(ranges)
    return [int(n) for n in reader.read_slice(max_rows=1_000, max_bytes=1_000_000).offsets]


def two_streams(consumer: FakeConsumer) -> tuple[StreamConsumer, StreamConsumer]:
    shared = SharedConsumer(consumer)
    return shared.of_stream("a"), shared.of_stream("b")


def held_back(monkeypatch: pytest.MonkeyPatch) -> tuple[FakeConsumer, RangeReader]:
    """A consumer, and the reader whose partition B is paused, as only the other one has read."""
    monkeypatch.setattr(shared_consumer, "HELD_MESSAGES", 5)
    consumer = FakeConsumer(logs(50))
    first, second = map(RangeReader, two_streams(consumer))
    second.restart([OffsetRange(*B, 0, 0)])
    assert read(first, [OffsetRange(*A, 0, 50)]) == list(range(50))
    assert consumer.paused == {B}
    return consumer, second


def test_each_reader_gets_the_messages_of_its_own_partitions() -> None:
    first, second = map(RangeReader, two_streams(FakeConsumer(logs())))
    assert read(first, [OffsetRange(*A, 3, 9)]) == list(range(3, 9))
    assert read(second, [OffsetRange(*B, 0, 20)]) == list(range(20))
    assert read(first, [OffsetRange(*A, 9, 20)]) == list(range(9, 20))


def test_what_was_fetched_for_another_is_there_at_its_turn() -> None:
    consumer = FakeConsumer(logs())
    first, second = map(RangeReader, two_streams(consumer))
    second.restart([OffsetRange(*B, 0, 0)])  # followed from here on
    assert read(first, [OffsetRange(*A, 0, 20)]) == list(range(20))
    assert read(second, [OffsetRange(*B, 0, 20)]) == list(range(20))


def test_a_stream_that_starts_anew_gets_nothing_that_was_fetched_before() -> None:
    first, second = two_streams(FakeConsumer(logs()))
    second.incremental_assign(at(B, 10))
    first.incremental_assign(at(A))
    while not second.queue:
        first.consume(5, 0.0)
    second.incremental_unassign(at(B))
    second.incremental_assign(at(B, 2))
    found: list[int] = []
    while len(found) < 18:
        found += [m.offset() or 0 for m in second.consume(5, 0.1) if m.error() is None]
    assert found == list(range(2, 20))


def test_a_partition_whose_stream_takes_nothing_is_paused_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, second = held_back(monkeypatch)
    assert read(second, [OffsetRange(*B, 0, 50)]) == list(range(50))
    assert B not in consumer.paused


def test_one_that_was_held_back_is_not_paused_as_its_stream_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """librdkafka keeps a pause over the end of an assignment: the stream would wait for ever."""
    consumer, second = held_back(monkeypatch)
    second.restart([OffsetRange(*B, 20, 50)])
    assert consumer.paused == set()
    assert read(second, [OffsetRange(*B, 20, 50)]) == list(range(20, 50))


def test_one_that_its_reader_has_paused_stays_so_when_it_is_not_held_back_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_consumer, "HELD_MESSAGES", 3)
    consumer = FakeConsumer(logs())
    first, second = two_streams(consumer)
    first.incremental_assign(at(A))
    second.incremental_assign(at(B))
    while B not in consumer.paused:
        first.consume(1, 0.0)
    second.pause(at(B))
    second.consume(100, 0.0)
    assert B in consumer.paused
    second.resume(at(B))
    assert B not in consumer.paused


def test_an_error_of_a_partition_is_its_streams_and_trouble_of_none_goes_to_whoever_reads() -> None:
    consumer = FakeConsumer(logs(0))
    first, second = two_streams(consumer)
    first.incremental_assign(at(A))
    second.incremental_assign(at(B))
    consumer.trouble = [FakeMessage(B, 0, failure=KafkaError(KafkaError._AUTO_OFFSET_RESET))]
    assert first.consume(10, 0.0) == []
    (told,) = second.consume(10, 0.0)
    assert told.error() is not None

    class OfNone(FakeMessage):
        def topic(self) -> str:
            return None  # type: ignore[return-value]

    consumer.trouble = [OfNone(A, 0, failure=KafkaError(KafkaError._ALL_BROKERS_DOWN))]
    (told,) = first.consume(10, 0.0)
    assert told.topic() is None
    assert {m.topic() for m in second.consume(10, 0.0)} <= {"b"}


def test_two_streams_of_one_consumer_group_do_not_read_one_partition() -> None:
    first, second = two_streams(FakeConsumer(logs()))
    first.incremental_assign(at(A))
    with pytest.raises(ConfigError, match="streams a and b both read 'a'"):
        second.incremental_assign(at(A))


def test_streams_read_side_by_side() -> None:
    consumer = FakeConsumer(logs(400))
    readers = {tp: RangeReader(each) for tp, each in zip((A, B), two_streams(consumer), strict=True)}
    found: dict[TopicPartition, list[int]] = {}

    def work(tp: TopicPartition) -> None:
        found[tp] = [n for k in range(0, 400, 40) for n in read(readers[tp], [OffsetRange(*tp, k, k + 40)])]

    threads = [threading.Thread(target=work, args=(tp,)) for tp in (A, B)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {A: list(range(400)), B: list(range(400))}
