"""One consumer for several streams on real Kafka: what a backlog has held back comes later, each message once and in order.

Public reports of pauses that lost or repeated messages: confluentinc/librdkafka 1307, 1802, 2279, 2557, 3471;
confluentinc/confluent-kafka-dotnet 672.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from confluent_kafka import Producer

from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.group_offsets import GroupCommitter
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.shared_consumer import HELD_MESSAGES, SharedConsumer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest_tests.conftest import make_topic

pytestmark = pytest.mark.services

BACKLOG = 6 * HELD_MESSAGES


def read(reader: RangeReader, topic: str, end: int, step: int) -> Iterator[int]:
    """As turns do: a range at a time, each behind the one before."""
    for start in range(0, end, step):
        reader.restart([OffsetRange(topic, 0, start, min(end, start + step))])
        while reader.remaining():
            yield from reader.read_slice(max_rows=1_000, max_bytes=1_000_000).offsets.tolist()


def test_a_stream_with_a_backlog_is_held_back_while_another_reads_and_loses_nothing(kafka: LocalKafka) -> None:
    large, small = make_topic(kafka, partitions=1), make_topic(kafka, partitions=1)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for n in range(BACKLOG):
        producer.produce(large, str(n))
        if n % 10 == 0:
            producer.produce(small, str(n))
        producer.poll(0)
    assert producer.flush(60) == 0
    settings = Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers})
    with closing(SharedConsumer(open_consumer(settings, "shared", is_shared=True))) as shared:
        waiting, reading = (RangeReader(shared.of_stream(name)) for name in ("large", "small"))
        waiting.restart([OffsetRange(large, 0, 0, 0)])  # followed; it is not its turn
        assert list(read(reading, small, BACKLOG // 10, 300)) == list(range(BACKLOG // 10))
        assert list(read(waiting, large, BACKLOG // 2, 500)) == list(range(BACKLOG // 2))
        assert list(read(waiting, large, BACKLOG, BACKLOG)) == list(range(BACKLOG))


def test_offsets_are_committed_while_a_consumer_of_the_group_waits_for_messages(kafka: LocalKafka) -> None:
    """As confluent-kafka-python has it: a commit by the consumer that waits would wait with it."""
    topic = make_topic(kafka, partitions=1)
    settings = Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers})
    opened = partial(open_consumer, settings, f"group-of-{topic}")
    with closing(RangeReader(opened())) as reader, closing(GroupCommitter(opened, f"group-of-{topic}")) as committer:
        reader.restart([OffsetRange(topic, 0, 0, 0)])
        reader.follow(0.1)
        waiting = threading.Thread(target=reader.follow, args=(60.0,), daemon=True)
        waiting.start()
        for offset in range(5):
            assert committer.commit({TopicPartition(topic, 0): offset}, run_id="r") == ()
        assert waiting.is_alive()
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        producer.produce(topic, b"wakes it")
        assert producer.flush(60) == 0
        waiting.join(60)
        assert [str(r) for r in reader.remaining()] == [f"{topic}[0]@[0,1)"]
