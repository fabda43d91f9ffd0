"""The order of messages on a real broker: what Kafka's time index says of it, and what runs make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.slices import NO_ORDER, TopicPartition
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import catch_up, item, query, settings_for, stream_of

pytestmark = pytest.mark.services

STAMPS = [1_767_250_805_000, 1_767_250_803_000, 1_767_250_809_000, 1_767_250_801_000, 1_767_250_820_000]


def produced(kafka: LocalKafka, partitions: int = 1) -> str:
    topic = make_topic(kafka, partitions=partitions, message_timestamp_type="CreateTime")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0})
    for partition in range(partitions):
        for number, stamp in enumerate(STAMPS):
            producer.produce(topic, item(f"{partition}-{number}"), partition=partition, timestamp=stamp + partition)
            producer.flush(30)
    return topic


def test_the_largest_timestamp_below_an_offset_is_found_by_kafkas_time_index(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = produced(kafka, partitions=2)
    metadata = KafkaMetadata(settings_for(kafka, tmp_path))
    for end in range(1, len(STAMPS) + 1):
        found = metadata.largest_timestamps_below({TopicPartition(topic, p): end for p in (0, 1)})
        assert found == {TopicPartition(topic, p): max(STAMPS[:end]) + p for p in (0, 1)}
    assert metadata.largest_timestamps_below({TopicPartition(topic, 0): 0}) == {TopicPartition(topic, 0): NO_ORDER}


def test_the_ledger_has_the_order_that_each_range_begins_with(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = produced(kafka)
    settings = settings_for(kafka, tmp_path)
    catch_up(stream_of(topic), settings)
    assert query(settings, "SELECT next_offset, kafka_order, loaded_to FROM kafka_ingest_offsets") == [
        (len(STAMPS), max(STAMPS), len(STAMPS))
    ]
    entries = query(settings, "SELECT start_offset, order_start FROM kafka_ingest_batches ORDER BY start_offset")
    assert entries == [(start, max(STAMPS[:start], default=NO_ORDER)) for start, _ in entries]
