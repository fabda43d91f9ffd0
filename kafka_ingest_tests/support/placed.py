"""Streams as a code location has them, and the resource that its sensors get."""

from __future__ import annotations

from kafka_ingest.orchestration.names import Names
from kafka_ingest.orchestration.placed_stream import PlacedStream, Placement
from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource, Resource, SchemaRegistryResource
from kafka_ingest.streams.stream import Stream

NAMES = Names()


def placed(stream: Stream) -> PlacedStream:
    """The stream in a code location of its own, without a prefix."""
    return Placement(NAMES, "mysql").of(stream)


def environment_resources() -> dict[str, Resource]:
    """What `build_definitions` makes of this process's environment, by key."""
    return {
        NAMES.kafka: KafkaResource.from_environment(),
        NAMES.database: DatabaseResource.from_environment(),
        NAMES.registry: SchemaRegistryResource.from_environment(),
    }
