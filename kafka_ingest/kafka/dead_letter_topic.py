"""Dead letters as Kafka messages: the original bytes and headers, and the headers Kafka Connect gives its own.

Header names: `DeadLetterQueueReporter` of Apache Kafka's connect/runtime. As there, all values are text, the message's
timestamp is kept, and a header the message already has is left as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypedDict

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import NewTopic

from kafka_ingest.errors import KafkaIngestError, KafkaUnavailable
from kafka_ingest.kafka.admin import AskingAdmin
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.kafka.metadata import client_properties
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.settings import Settings

LOGGER = logging.getLogger(__name__)

REQUEST_TIMEOUT_SECONDS = 20.0
# A message the brokers have not taken by then has failed; the run is retried.
DELIVERY_TIMEOUT_SECONDS = 30.0
# The message itself is the reason, so sending it again is no use.
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,  # a compacted topic takes no message without a key
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_TIMESTAMP,  # outside the topic's message.timestamp.before.max.ms, ...after.max.ms
        KafkaError._INVALID_DIFFERENT_RECORD,  # librdkafka: another message of its batch was refused
    }
)
# What raised, where Kafka Connect names a Java class.
_CLASS_OF_STAGE = {
    "decode": "kafka_ingest.pipelines.decode",
    "route": "kafka_ingest.pipelines.decode",
    "validate": "kafka_ingest.pipelines.validate",
    "step": "kafka_ingest.pipelines.pipeline",
    "dates": "kafka_ingest.pipelines.translate_dates",
    "database": "kafka_ingest.sinks.writing",
}
_EXCEPTION = "kafka_ingest.records.DeadLetter"


def error_headers(letter: StoredDeadLetter) -> list[tuple[str, bytes | None]]:
    """The dead letter's own headers, then the `__connect.errors.*` ones."""
    ours = {
        "topic": letter.topic,
        "partition": str(letter.kafka_partition),
        "offset": str(letter.kafka_offset),
        "connector.name": letter.stream,
        "task.id": "0",
        "stage": letter.stage,
        "class.name": _CLASS_OF_STAGE.get(letter.stage, "kafka_ingest"),
        "exception.class.name": _EXCEPTION,
        "exception.message": letter.error,
    }
    own = list(letter.headers or ())
    taken = {name for name, _ in own}
    named = [(f"__connect.errors.{name}", value.encode()) for name, value in ours.items()]
    return own + [(name, value) for name, value in named if name not in taken]


@dataclass(slots=True)
class Published:
    """What became of some dead letters: the ids of those the brokers have, and of those they will never take, with the reason.

    `error` is set where neither is known of some: they are to be sent again.
    """

    ids: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    error: KafkaIngestError | None = None


Delivered = Callable[[KafkaError | None, Message], None]


class _Stamp(TypedDict, total=False):
    """What is left out where the brokers are to give the time."""

    timestamp: int


class DeadLetterPublisher:
    """An idempotent producer to one topic, opened when first used. Close it."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._producer: Producer | None = None

    def publish(self, letters: Sequence[StoredDeadLetter]) -> Published:
        """Send dead letters and wait for the brokers' word on each.

        A batch is refused as a whole, so what was refused in company is sent once more alone, and then without its
        timestamp, which may be what the topic does not take.
        Raises KafkaUnavailable, AccessDenied or ConfigError where nothing could be sent at all.
        """
        producer = self._open()
        found = Published()
        suspects = self._send(producer, letters, found)
        for letter in letters:
            if letter.id in suspects and found.error is None:
                refused = self._send(producer, [letter], found)
                if refused and found.error is None:
                    refused = self._send(producer, [letter], found, keep_time=False)
                found.refused |= refused
                for error in refused.values():
                    LOGGER.warning("dead-letter topic %s does not take %s: %s", self._topic, letter.position, error)
        if found.error is not None:
            self.close()  # a producer may be of no further use after an error
        return found

    def close(self) -> None:
        """Forget what is still unsent: it is in the database. Idempotent."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.poll(0)
            self._producer = None

    def _send(
        self, producer: Producer, letters: Iterable[StoredDeadLetter], found: Published, *, keep_time: bool = True
    ) -> dict[int, str]:
        """Ids of the dead letters the brokers refused, with their words. The first other trouble is kept in `found.error`."""
        refused: dict[int, str] = {}

        def failed(letter: StoredDeadLetter, error: KafkaError) -> None:
            if error.code() in _REFUSED:
                refused[letter.id] = f"{error.str()} ({error.name()})"
            elif found.error is None:
                found.error = kafka_error(error, f"publishing {letter.position} to dead-letter topic {self._topic}")

        def delivered(letter: StoredDeadLetter, error: KafkaError | None, _message: object) -> None:
            if error is None:
                found.ids.append(letter.id)
            else:
                failed(letter, error)

        deadline = time.monotonic() + DELIVERY_TIMEOUT_SECONDS + REQUEST_TIMEOUT_SECONDS
        for letter in letters:
            while True:
                try:
                    self._produce(producer, letter, partial(delivered, letter), keep_time)
                except BufferError:
                    producer.poll(0.1)  # the queue is full; a message leaves it after its timeout at the latest
                    continue
                except KafkaException as error:
                    failed(letter, error.args[0])
                break
        left = producer.flush(max(0.0, deadline - time.monotonic()))
        if left and found.error is None:
            found.error = KafkaUnavailable(
                f"{left} messages to dead-letter topic {self._topic} were not acknowledged within "
                f"{DELIVERY_TIMEOUT_SECONDS:.0f} s. They are sent again."
            )
        return refused

    def _produce(
        self,
        producer: Producer,
        letter: StoredDeadLetter,
        on_delivery: Callable[[KafkaError | None, Message], None],
        keep_time: bool,
    ) -> None:
        stamp: _Stamp = {}
        if keep_time and letter.kafka_timestamp is not None:
            stamp["timestamp"] = round(letter.kafka_timestamp.timestamp() * 1000)
        producer.produce(
            self._topic, letter.value, letter.key, headers=[*error_headers(letter)], on_delivery=on_delivery, **stamp
        )

    def _open(self) -> Producer:
        if self._producer is None:
            properties = client_properties(self._settings)
            self._make_topic(properties)
            ours: dict[str, object] = {
                "enable.idempotence": "true",
                "message.timeout.ms": str(int(DELIVERY_TIMEOUT_SECONDS * 1000)),
                # What a broker delivered it may take again: its own limit counts, not the client's smaller default.
                "message.max.bytes": properties.get("message.max.bytes", "1000000000"),
                "linger.ms": "20",
            }
            with kafka_errors("configuring the Kafka producer"):
                self._producer = Producer(properties | ours)
        return self._producer

    def _make_topic(self, properties: dict[str, object]) -> None:
        """Create the topic with the cluster's defaults where it is missing, as Kafka Connect does."""
        admin = AskingAdmin(properties)
        listed = admin.list_topics(f"looking for dead-letter topic {self._topic}", timeout=REQUEST_TIMEOUT_SECONDS)
        if self._topic in listed.topics:
            return
        with admin.asking(f"creating dead-letter topic {self._topic}"):
            wanted = [NewTopic(self._topic)]
            future = admin.client.create_topics(wanted, request_timeout=REQUEST_TIMEOUT_SECONDS)[self._topic]
            try:
                future.result(REQUEST_TIMEOUT_SECONDS)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
