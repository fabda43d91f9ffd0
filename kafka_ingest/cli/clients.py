"""Clients for a command that looks at Kafka and the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink

# A person waits for the answer; sums over a large ledger take some seconds.
STATEMENT_SECONDS = 30


@contextmanager
def open_clients(settings: Settings) -> Iterator[tuple[KafkaMetadata, Sink]]:
    """Clients for looking, closed at the end."""
    with closing(open_sink(settings.database_url)) as sink:
        sink.limit_statement_seconds(STATEMENT_SECONDS)
        yield KafkaMetadata(settings), sink
