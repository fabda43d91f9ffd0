"""Publication of dead letters to a stream's dead-letter topic: database first, Kafka second, at least once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from kafka_ingest.kafka.dead_letter_topic import DeadLetterPublisher
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import unpublished
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream

SLICE_ROWS = 500
SLICE_BYTES = 16 * 1024 * 1024


def publish_waiting(
    sink: Sink,
    stream: Stream,
    publisher: DeadLetterPublisher,
    *,
    now: Callable[[], dt.datetime],
    at_step: Callable[[str], None] = lambda _step: None,
) -> int:
    """Publish the stream's dead letters that nobody has published yet; returns how many.

    1. read the next ones, bounded by rows and bytes; the end where none is left
    2. send them, and wait until the brokers have them
    3. mark those they have, and those they will never take (too large for the topic); back to 1

    A crash between 2 and 3 publishes a slice again, in the next run at the latest.

    Raises KafkaUnavailable, AccessDenied, ConfigError and the database's errors, after what was published is marked.
    """
    total = 0
    doing = f"publishing dead letters of stream {stream.name}"
    after_id = 0
    while True:
        with sink.errors(doing), sink.engine.connect() as connection:
            found = dead_letters.next_slice(
                connection,
                unpublished(stream.name),
                after_id=after_id,
                max_rows=SLICE_ROWS,
                max_bytes=SLICE_BYTES,
            )
        if not found:
            return total
        at_step("publish")
        published = publisher.publish(found)
        at_step("mark_published")
        with sink.errors(doing), sink.engine.begin() as connection:
            dead_letters.mark_published(connection, published.ids, published.refused, now=now())
        if published.error is not None:
            raise published.error
        total += len(published.ids)
        after_id = found[-1].id
