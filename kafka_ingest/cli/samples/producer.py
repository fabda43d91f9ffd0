"""Sending sample messages to a topic at a rate. Used by `produce` and by `demo`."""

from __future__ import annotations

import datetime as dt
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from kafka_ingest.cli.samples.messages import SampleMessage
from kafka_ingest.errors import ConfigError, KafkaIngestError, KafkaUnavailable
from kafka_ingest.kafka.admin import AskingAdmin
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.kafka.metadata import client_properties
from kafka_ingest.settings import Settings
from kafka_ingest.streams.stream import Stream

CREATE_TIMEOUT_SECONDS = 20.0
FLUSH_TIMEOUT_SECONDS = 30.0
# Longest sleep between messages, so that a stop is quick.
_NAP_SECONDS = 0.2


@dataclass(slots=True)
class ProduceCounts:
    """How far a producer is. `good` and `bad` count what was handed over, `acknowledged` what the broker has."""

    good: int = 0
    bad: int = 0
    acknowledged: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """Messages handed over, acknowledged or not."""
        return self.good + self.bad


Timestamps = Callable[[int], int]
"""Number of a message (from 0) → its Kafka timestamp in milliseconds."""


def timestamps_now(_number: int) -> int:
    """The time of sending (`Timestamps`)."""
    return int(time.time() * 1000)


def timestamps_spread(hours: float, *, count: int | None, seed: int, now: dt.datetime) -> Timestamps:
    """Over the last `hours`: rising where the number of messages is known, else in disorder."""
    start_ms, span_ms = int((now.timestamp() - hours * 3600) * 1000), int(hours * 3_600_000)
    if count:
        return lambda number: start_ms + span_ms * number // count
    rng = random.Random(seed)  # noqa: S311  no secret
    return lambda _number: start_ms + rng.randrange(max(1, span_ms))


def topic_of(stream: Stream, topic: str | None) -> str:
    """The topic to send to: the one asked for, if the stream reads it, else the stream's first."""
    if topic is None:
        if stream.is_pattern:
            raise ConfigError(
                f"stream {stream.name} reads every topic matching {stream.topic_text}; name one with --topic",
                stream=stream.name,
                setting="--topic",
            )
        return stream.topic_names[0]
    return topic


def ensure_topic(settings: Settings, topic: str, partitions: int) -> bool:
    """Create the topic where it is missing, its messages kept for ever; returns whether it was created."""
    asking = AskingAdmin(client_properties(settings))
    admin = asking.client
    doing = f"listing topics of {settings.bootstrap_servers}"
    found = asking.list_topics(doing, timeout=CREATE_TIMEOUT_SECONDS).topics.get(topic)
    if found is not None and found.error is None:
        return False
    # Retention goes by the messages' own timestamps: samples spread over the past would vanish within minutes.
    wanted = NewTopic(topic, num_partitions=partitions, config={"retention.ms": "-1"})
    with kafka_errors(f"creating topic {topic}"):
        future = admin.create_topics([wanted], request_timeout=CREATE_TIMEOUT_SECONDS)[topic]
        try:
            future.result(CREATE_TIMEOUT_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    _wait_for_leaders(admin, topic)
    return future.exception() is None


def _wait_for_leaders(admin: AdminClient, topic: str) -> None:
    """Creating returns before every partition has a leader that answers."""
    deadline = time.monotonic() + CREATE_TIMEOUT_SECONDS
    while True:
        with kafka_errors(f"listing topic {topic}"):
            partitions = admin.list_topics(topic, timeout=CREATE_TIMEOUT_SECONDS).topics[topic].partitions
        wanted = {KafkaTopicPartition(topic, number): OffsetSpec.latest() for number in partitions}
        try:
            with kafka_errors(f"waiting for topic {topic}"):
                for future in (
                    admin.list_offsets(wanted, request_timeout=CREATE_TIMEOUT_SECONDS).values() if wanted else ()
                ):
                    future.result()
        except KafkaUnavailable:
            if time.monotonic() > deadline:
                raise
        else:
            if wanted:
                return
        if time.monotonic() > deadline:
            raise KafkaUnavailable(
                f"topic {topic} has no partitions {CREATE_TIMEOUT_SECONDS:.0f} s after it was created"
            )
        time.sleep(_NAP_SECONDS)


def produce_messages(
    settings: Settings,
    topic: str,
    messages: Iterable[SampleMessage],
    *,
    rate: float,
    counts: ProduceCounts,
    stop: threading.Event,
    timestamps: Timestamps = timestamps_now,
    say: Callable[[ProduceCounts], None] = lambda _counts: None,
) -> None:
    """Send messages until they end or `stop` is set, then wait for the broker to have them all.

    rate: messages a second; 0: as fast as the broker takes them.
    counts: kept up to date while it runs. say: called after each message.

    Raises KafkaUnavailable, AccessDenied or ConfigError; a message the broker refused is among them.
    """
    refused: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is None:
            counts.acknowledged += 1
        else:
            refused.append(error)

    with kafka_errors("configuring the Kafka client"):
        producer = Producer(client_properties(settings) | {"linger.ms": 20, "enable.idempotence": True})
    started = time.monotonic()
    left = 0
    try:
        for number, message in enumerate(messages):
            if rate:
                _wait_until(started + number / rate, stop, producer)
            if stop.is_set() or refused:
                break
            _send(producer, topic, message, timestamps(number), delivered, stop)
            counts.good += message.bad is None
            counts.bad += message.bad is not None
            if message.bad is not None:
                counts.by_kind[message.bad] += 1
            say(counts)
    finally:
        left = producer.flush(FLUSH_TIMEOUT_SECONDS)  # also on Ctrl-C: what was counted is sent
    if refused:
        raise kafka_error(refused[0], f"sending to topic {topic}")
    if left:
        raise KafkaUnavailable(
            f"{left} messages to topic {topic} were not acknowledged within {FLUSH_TIMEOUT_SECONDS:.0f} s"
        )


def _wait_until(due: float, stop: threading.Event, producer: Producer) -> None:
    producer.poll(0)
    while not stop.is_set() and (left := due - time.monotonic()) > 0:
        stop.wait(min(left, _NAP_SECONDS))
        producer.poll(0)


def _send(
    producer: Producer,
    topic: str,
    message: SampleMessage,
    timestamp_ms: int,
    delivered: Callable[[KafkaError | None, Message], None],
    stop: threading.Event,
) -> None:
    while not stop.is_set():
        try:
            producer.produce(
                topic,
                value=message.value,
                key=message.key,
                headers=list(message.headers),
                timestamp=timestamp_ms,
                on_delivery=delivered,
            )
        except BufferError:
            producer.poll(0.1)  # the queue is full: wait for acknowledgements
            continue
        except KafkaException as error:
            raise _refused(error, topic) from error
        producer.poll(0)
        return


def _refused(error: KafkaException, topic: str) -> KafkaIngestError:
    return kafka_error(error.args[0], f"sending to topic {topic}")
