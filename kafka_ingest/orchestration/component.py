"""The Dagster Component: streams, where Kafka and the database are, and how the assets look, in a `defs.yaml`."""

# No `from __future__ import annotations` here: Dagster reads the fields' annotations as they stand.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import dagster as dg
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel

from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.component_fields import GivenStreams, resource_resolver, streams_of
from kafka_ingest.orchestration.component_scaffolder import KafkaIngestScaffolder
from kafka_ingest.orchestration.component_schema import with_precise_schema
from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource, SchemaRegistryResource
from kafka_ingest.orchestration.translator import KafkaIngestTranslator, KafkaIngestTranslatorData
from kafka_ingest.streams.stream import Stream


def _of_asset(data: KafkaIngestTranslatorData) -> Mapping[str, Any]:
    return {"stream": data.stream, "part": data.part, "topic": data.topic, "target": data.target}


@dg.scaffold_with(KafkaIngestScaffolder)
@dataclass(kw_only=True)
class KafkaIngestComponent(dg.Component, dg.Resolvable):
    """Kafka topics into database tables: assets, jobs, sensors and checks of streams, as `build_definitions` makes them.

    In a `defs.yaml`:

        type: kafka_ingest.KafkaIngestComponent
        attributes:
          kafka:
            bootstrap_servers: broker:9092
          database:
            url: "{{ env.KAFKA_INGEST_DATABASE_URL }}"
          streams:
            - .quotes.STREAM

    Each attribute means what the argument of `build_definitions` does. Where `translation` is not enough, a class of your own may
    override `get_asset_spec`.
    """

    streams: Annotated[
        Sequence[Stream],
        dg.Resolver(
            streams_of,
            model_field_type=GivenStreams,
            description="Streams of one Kafka cluster and one database: Python paths (package.module.STREAM, or .module.STREAM "
            "beside this file) or declarations.",
            examples=[[".quotes.STREAM"]],
        ),
    ]
    kafka: Annotated[
        KafkaResource | None,
        resource_resolver(
            KafkaResource, "The Kafka cluster; that of the environment (KAFKA_BOOTSTRAP_SERVERS …) where left out."
        ),
    ] = None
    database: Annotated[
        DatabaseResource | None,
        resource_resolver(
            DatabaseResource, "The database; that of the environment (KAFKA_INGEST_DATABASE_URL) where left out."
        ),
    ] = None
    registry: Annotated[
        SchemaRegistryResource | None,
        resource_resolver(
            SchemaRegistryResource,
            "The schema registry; that of the environment (SCHEMA_REGISTRY_URL …) where left out.",
        ),
    ] = None
    key_prefix: Annotated[
        str | Sequence[str] | None,
        dg.Resolver.default(
            description="Stands before every asset key and name. Needed where a code location has several of these components."
        ),
    ] = None
    group_name: Annotated[
        str | None,
        dg.Resolver.default(
            description="The group of all assets; one for each stream, and kafka for topics, where left out."
        ),
    ] = None
    owners: Annotated[
        Sequence[str],
        dg.Resolver.default(description="Owners of every asset.", examples=[["team:data", "person@example.com"]]),
    ] = ()
    tags: Annotated[Mapping[str, str] | None, dg.Resolver.default(description="Tags of every asset.")] = None
    translation: Annotated[
        TranslationFn[KafkaIngestTranslatorData] | None,
        TranslationFnResolver[KafkaIngestTranslatorData](_of_asset),
    ] = None
    """Changes single assets. Its templates know `part` (topic, table, dead_letters or ledger), `stream`, `topic` (of a topic),
    `target` (of a table) and `spec` (the asset as it is without)."""

    @classmethod
    def model(cls) -> type[BaseModel]:
        """What may be written under `attributes`."""
        return with_precise_schema(super().model())

    def get_asset_spec(self, data: KafkaIngestTranslatorData) -> dg.AssetSpec:
        """The spec of an asset, before `translation`."""
        return data.spec

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the streams. Raises ConfigError as `build_definitions` does."""
        return build_definitions(
            self.streams,
            kafka=self.kafka,
            database=self.database,
            registry=self.registry,
            key_prefix=self.key_prefix,
            group_name=self.group_name,
            owners=self.owners,
            tags=self.tags,
            translator=_ComponentTranslator(self),
        )


class _ComponentTranslator(KafkaIngestTranslator):
    def __init__(self, component: KafkaIngestComponent) -> None:
        self._component = component

    def get_asset_spec(self, data: KafkaIngestTranslatorData) -> dg.AssetSpec:
        spec, translation = self._component.get_asset_spec(data), self._component.translation
        return spec if translation is None else translation(spec, data)
