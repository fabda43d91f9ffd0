"""Proves that a broker does what ingestion relies on, before anything trusts it.

Why: brokers that only speak the protocol have been seen to count a batch as one record, and to answer every time
look-up with "end".
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.local.errors import LocalServerError

STEP_TIMEOUT_SECONDS = 15.0
METADATA_TIMEOUT_SECONDS = 2.0
QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda error: None}


def broker_answers(bootstrap_servers: str) -> bool:
    """Whether the broker answers a metadata request within two seconds."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    try:
        return len(admin.list_topics(timeout=METADATA_TIMEOUT_SECONDS).brokers) > 0
    except KafkaException:
        return False


def probe_broker(bootstrap_servers: str) -> None:
    """Write three records at t, t+1 s and t+2 s to a topic of the probe's own, look them up, delete the topic.

    Raises LocalServerError when watermarks or look-ups by time are not what Apache Kafka answers.
    """
    topic = f"kafka-ingest-probe-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    try:
        created = admin.create_topics(
            [NewTopic(topic, 1, 1, config={"retention.ms": "-1"})], request_timeout=STEP_TIMEOUT_SECONDS
        )
        created[topic].result(STEP_TIMEOUT_SECONDS)
        try:
            _check_offsets(bootstrap_servers, topic)
        finally:
            admin.delete_topics([topic], request_timeout=STEP_TIMEOUT_SECONDS)[topic].result(STEP_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise LocalServerError(f"the broker at {bootstrap_servers} failed its probe: {error}") from error


def _check_offsets(bootstrap_servers: str, topic: str) -> None:
    first_ms = int(time.time() * 1000) - 10_000
    producer = Producer({"bootstrap.servers": bootstrap_servers, "linger.ms": 20, "acks": "all", **QUIET})
    for number in range(3):
        producer.produce(topic, value=b"probe", partition=0, timestamp=first_ms + 1000 * number)
    if producer.flush(STEP_TIMEOUT_SECONDS) != 0:
        raise LocalServerError(f"the broker at {bootstrap_servers} did not acknowledge three probe records")

    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": topic, **QUIET})
    try:
        watermarks = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=STEP_TIMEOUT_SECONDS)
        found = [
            consumer.offsets_for_times([TopicPartition(topic, 0, at)], timeout=STEP_TIMEOUT_SECONDS)[0].offset
            for at in (first_ms + 1000, first_ms + 3000)
        ]
    finally:
        consumer.close()
    if watermarks != (0, 3) or found != [1, OFFSET_END]:
        raise LocalServerError(
            f"the broker at {bootstrap_servers} cannot be trusted: after three records its watermarks are {watermarks} "
            f"(should be (0, 3)) and its look-ups by time {found} (should be [1, {OFFSET_END}])"
        )
