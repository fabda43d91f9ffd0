"""Kafka topics in, database tables out, in micro-batches, exactly once, run and watched from Dagster.

What people build on stands here; everything else may move. Each name is imported when it is first used, so that the command line
answers without waiting for Dagster or pandas.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kafka_ingest import errors
    from kafka_ingest.dates import DateRule
    from kafka_ingest.errors import KafkaIngestError, PermanentError, RetryableError
    from kafka_ingest.orchestration.build import build_definitions
    from kafka_ingest.orchestration.component import KafkaIngestComponent
    from kafka_ingest.orchestration.names import table_key
    from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource, SchemaRegistryResource
    from kafka_ingest.orchestration.translator import KafkaIngestTranslator, KafkaIngestTranslatorData
    from kafka_ingest.orchestration.windows import partitions_of
    from kafka_ingest.pipelines.translate_dates import translate_dates
    from kafka_ingest.sinks.base import RowsRejected, Sink, register_sink
    from kafka_ingest.sinks.driver_rows import driver_rows
    from kafka_ingest.sinks.latest_per_key import OrderSql, is_later_sql, same_key_sql
    from kafka_ingest.sinks.misfits import Misfit
    from kafka_ingest.streams.casts import Cast
    from kafka_ingest.streams.envelopes.base import MessageEnvelope
    from kafka_ingest.streams.envelopes.canal import Canal
    from kafka_ingest.streams.envelopes.cloudevents import CloudEvents
    from kafka_ingest.streams.envelopes.debezium import Debezium
    from kafka_ingest.streams.envelopes.maxwell import Maxwell
    from kafka_ingest.streams.formats.avro import Avro
    from kafka_ingest.streams.formats.base import Format
    from kafka_ingest.streams.formats.connect_json import ConnectJson
    from kafka_ingest.streams.formats.errors import BadMessage
    from kafka_ingest.streams.formats.json import Json, JsonSchema
    from kafka_ingest.streams.formats.protobuf import Protobuf
    from kafka_ingest.streams.formats.text import Bytes, Text
    from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, date_field, field
    from kafka_ingest.streams.registry import declared_streams
    from kafka_ingest.streams.sources import (
        Constant,
        Database,
        Envelope,
        Header,
        Key,
        Offset,
        Partition,
        Timestamp,
        Topic,
    )
    from kafka_ingest.streams.step import Step, StepContext
    from kafka_ingest.streams.stream import BatchPolicy, RouteByField, RouteByHeader, RouteByTopic, Stream
    from kafka_ingest.streams.target import TargetTable

    __version__: str

__all__ = [
    "AppendModel",
    "Avro",
    "BadMessage",
    "BatchPolicy",
    "Bytes",
    "Canal",
    "Cast",
    "CloudEvents",
    "ConnectJson",
    "Constant",
    "Database",
    "DatabaseResource",
    "DateRule",
    "Debezium",
    "Envelope",
    "Format",
    "Header",
    "Json",
    "JsonSchema",
    "KafkaIngestComponent",
    "KafkaIngestError",
    "KafkaIngestTranslator",
    "KafkaIngestTranslatorData",
    "KafkaResource",
    "Key",
    "Maxwell",
    "MessageEnvelope",
    "Misfit",
    "Model",
    "Offset",
    "OrderSql",
    "Partition",
    "PermanentError",
    "Protobuf",
    "RetryableError",
    "RouteByField",
    "RouteByHeader",
    "RouteByTopic",
    "RowsRejected",
    "SchemaRegistryResource",
    "Sink",
    "Step",
    "StepContext",
    "Stream",
    "TargetTable",
    "Text",
    "Timestamp",
    "Topic",
    "UpsertModel",
    "__version__",
    "build_definitions",
    "date_field",
    "declared_streams",
    "driver_rows",
    "errors",
    "field",
    "is_later_sql",
    "partitions_of",
    "register_sink",
    "same_key_sql",
    "table_key",
    "translate_dates",
]

_HOMES = {
    "dates": ("DateRule",),
    "errors": ("KafkaIngestError", "PermanentError", "RetryableError"),
    "orchestration.build": ("build_definitions",),
    "orchestration.component": ("KafkaIngestComponent",),
    "orchestration.names": ("table_key",),
    "orchestration.resources": ("DatabaseResource", "KafkaResource", "SchemaRegistryResource"),
    "orchestration.windows": ("partitions_of",),
    "orchestration.translator": ("KafkaIngestTranslator", "KafkaIngestTranslatorData"),
    "pipelines.translate_dates": ("translate_dates",),
    "sinks.base": ("RowsRejected", "Sink", "register_sink"),
    "sinks.driver_rows": ("driver_rows",),
    "sinks.latest_per_key": ("OrderSql", "is_later_sql", "same_key_sql"),
    "sinks.misfits": ("Misfit",),
    "streams.casts": ("Cast",),
    "streams.envelopes.base": ("MessageEnvelope",),
    "streams.envelopes.canal": ("Canal",),
    "streams.envelopes.cloudevents": ("CloudEvents",),
    "streams.envelopes.debezium": ("Debezium",),
    "streams.envelopes.maxwell": ("Maxwell",),
    "streams.formats.avro": ("Avro",),
    "streams.formats.base": ("Format",),
    "streams.formats.connect_json": ("ConnectJson",),
    "streams.formats.errors": ("BadMessage",),
    "streams.formats.json": ("Json", "JsonSchema"),
    "streams.formats.protobuf": ("Protobuf",),
    "streams.formats.text": ("Bytes", "Text"),
    "streams.model": ("AppendModel", "Model", "UpsertModel", "date_field", "field"),
    "streams.registry": ("declared_streams",),
    "streams.sources": (
        "Constant",
        "Database",
        "Envelope",
        "Header",
        "Key",
        "Offset",
        "Partition",
        "Timestamp",
        "Topic",
    ),
    "streams.step": ("Step", "StepContext"),
    "streams.stream": ("BatchPolicy", "RouteByField", "RouteByHeader", "RouteByTopic", "Stream"),
    "streams.target": ("TargetTable",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A public name, imported from where it lives (PEP 562)."""
    if name == "__version__":
        return version("kafka-ingest")
    if name == "errors":
        return import_module("kafka_ingest.errors")
    if name in _HOME_OF:
        return getattr(import_module(f"kafka_ingest.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'kafka_ingest' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
