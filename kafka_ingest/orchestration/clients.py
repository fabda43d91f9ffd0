"""Clients the sensors share, kept between ticks: opening them costs more than a tick does."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache

import dagster as dg
import sqlalchemy as sa

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink

# Of the 60 s a tick has, a statement that is not answered takes no more than this; a ping and a sign-in may come before it.
STATEMENT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Clients:
    """What it takes to look at a stream. They live as long as the process: nobody closes them."""

    settings: Settings
    metadata: KafkaMetadata
    sink: Sink


def clients_for(settings: Settings) -> Clients:
    """Those of this process for these settings, made when first asked for."""
    return _clients(tuple(sorted(settings.kafka.items())), settings.database_url)


@cache
def _clients(kafka: tuple[tuple[str, str], ...], database: sa.URL) -> Clients:
    settings = Settings(kafka=dict(kafka), database=database)
    sink = open_sink(database)
    sink.limit_statement_seconds(STATEMENT_SECONDS)
    return Clients(settings, KafkaMetadata(settings), sink)


_instances: list[tuple[object, dg.DagsterInstance]] = []
_instances_lock = threading.Lock()


def instance_of(context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
    """The context's Dagster instance, kept open between ticks: a context opens one of its own, which is half of a tick's work
    (Alembic reads all revisions of three databases). It is one that threads may share, as the daemon's do."""
    ref = context.instance_ref
    if ref is None:  # it was given one, as tests do
        return context.instance
    with _instances_lock:
        for known, instance in _instances:
            if known == ref:
                return instance
        _instances.append((ref, dg.DagsterInstance.from_ref(ref)))
        return _instances[-1][1]
