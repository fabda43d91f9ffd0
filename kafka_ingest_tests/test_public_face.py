"""What people build on: the names of `kafka_ingest`, and nothing that is imported before it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import kafka_ingest
from kafka_ingest.streams.step import Step

PUBLIC = [
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


def test_the_public_names_are_these() -> None:
    assert kafka_ingest.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(kafka_ingest, name)
    assert name in dir(kafka_ingest)
    assert (
        found is Step or isinstance(found, str) or found.__doc__
    )  # the type of a function says it where it is declared


def test_a_name_that_is_none_is_refused_as_python_does() -> None:
    with pytest.raises(AttributeError, match="module 'kafka_ingest' has no attribute 'Streem'"):
        importlib.import_module("kafka_ingest").__getattr__("Streem")


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import sys, kafka_ingest; print({'dagster', 'pandas', 'sqlalchemy', 'confluent_kafka'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == "set()\n"
