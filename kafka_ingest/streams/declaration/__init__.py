"""Streams declared as data, as YAML gives it: the words of Python, with the same meaning."""

from kafka_ingest.streams.declaration.declare import declared_stream
from kafka_ingest.streams.declaration.vocabulary import StreamDeclaration

__all__ = ["StreamDeclaration", "declared_stream"]
