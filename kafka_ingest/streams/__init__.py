"""WHAT to ingest: what a module that declares a stream imports."""

from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, date_field, field
from kafka_ingest.streams.stream import BatchPolicy, RouteByField, RouteByHeader, RouteByTopic, Stream

__all__ = [
    "AppendModel",
    "BatchPolicy",
    "Model",
    "RouteByField",
    "RouteByHeader",
    "RouteByTopic",
    "Stream",
    "UpsertModel",
    "date_field",
    "field",
]
