"""Committing offsets to the consumer group, after the database has them."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.records import TopicPartition


def commit_group_offsets(
    consumer: Consumer, group_id: str, next_offsets: Mapping[TopicPartition, int], *, run_id: str
) -> None:
    """Tell Kafka where the ledger stands. Idempotent; `run_id` goes into the commit's metadata.

    Works without joining the group. Raises PermanentError while the group has live members of another consumer.
    """
    if not next_offsets:
        return
    doing = f"committing offsets of consumer group {group_id}"
    wanted = [
        KafkaTopicPartition(tp.topic, tp.partition, offset, f"kafka_ingest run {run_id}")
        for tp, offset in sorted(next_offsets.items())
    ]
    with kafka_errors(doing):
        done = consumer.commit(offsets=wanted, asynchronous=False)
    for each in done or ():
        if each.error is not None:
            raise kafka_error(each.error, f"{doing}, {each.topic}[{each.partition}]")
