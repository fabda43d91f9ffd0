"""Clients the sensors share, kept between ticks: opening them costs more than a tick does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings, from_environment
from kafka_ingest.sinks.base import Sink, open_sink

# Of the 60 s a tick has, a statement that is not answered takes no more than this; a ping and a sign-in may come before it.
STATEMENT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Clients:
    """What it takes to look at a stream. They live as long as the process: nobody closes them."""

    settings: Settings
    metadata: KafkaMetadata
    sink: Sink


@cache
def shared_clients() -> Clients:
    """Those of this process, by its environment, made when first asked for."""
    settings = from_environment()
    sink = open_sink(settings.database_url)
    sink.hurry(STATEMENT_SECONDS)
    return Clients(settings, KafkaMetadata(settings), sink)
