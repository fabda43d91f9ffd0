"""Streams → Dagster definitions: assets, a job and a sensor for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from kafka_ingest.orchestration.alerts import alerts_sensor
from kafka_ingest.orchestration.assets import stream_assets
from kafka_ingest.orchestration.audit_schedule import audit_schedule, stream_audit
from kafka_ingest.orchestration.checks import stream_checks
from kafka_ingest.orchestration.find_job import find_job
from kafka_ingest.orchestration.group_job import group_job
from kafka_ingest.orchestration.handover import handover_place
from kafka_ingest.orchestration.io_manager import run_files_io_manager
from kafka_ingest.orchestration.live_unit import LiveUnit, live_units
from kafka_ingest.orchestration.names import STREAM_TAG, Names
from kafka_ingest.orchestration.part_job import part_job
from kafka_ingest.orchestration.placed_stream import PlacedStream, Placement, topic_specs
from kafka_ingest.orchestration.preview import preview_job
from kafka_ingest.orchestration.replay_job import replay_job
from kafka_ingest.orchestration.resources import (
    DatabaseResource,
    IngestionResource,
    KafkaResource,
    SchemaRegistryResource,
    check_resources,
)
from kafka_ingest.orchestration.retention import retention_schedule
from kafka_ingest.orchestration.sensors import live_sensor
from kafka_ingest.orchestration.translator import KafkaIngestTranslator
from kafka_ingest.orchestration.window_starts import with_window_starts
from kafka_ingest.settings import MonitoringSettings
from kafka_ingest.sinks.registry import sink_kind
from kafka_ingest.streams.registry import check_together
from kafka_ingest.streams.stream import Stream

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_definitions(
    streams: Iterable[Stream],
    *,
    kafka: KafkaResource | None = None,
    database: DatabaseResource | None = None,
    registry: SchemaRegistryResource | None = None,
    key_prefix: str | Sequence[str] | None = None,
    group_name: str | None = None,
    owners: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    translator: KafkaIngestTranslator | None = None,
) -> dg.Definitions:
    """Everything Dagster needs to run these streams: per stream its assets, jobs and checks; per stream, or group of them, a
    sensor; for all of them the schedules, and the alert sensor where one is wanted. They merge with a project's own definitions
    (`dg.Definitions.merge`).

    streams: those of one Kafka cluster and one database. None gives empty definitions.
    kafka, database, registry: where they are; by the environment where None (`KAFKA_…`, `KAFKA_INGEST_DATABASE_URL`,
            `SCHEMA_REGISTRY_…`). Secrets in them are `dg.EnvVar`s.
    key_prefix: stands before every asset key, and before every name of a job, op, sensor, schedule, resource and group: what
            keeps several calls apart in one code location. Letters, digits and _.
    group_name: the group of all assets; where None, a stream's are in a group of its name, and topics in `kafka`.
    owners, tags: of every asset, as Dagster takes them (`team:data`, `person@example.com`).
    translator: changes single assets, their keys included.

    Jobs run in one process each (`in_process_executor`); the project's own jobs keep its executor. A backfill from the UI runs
    in the project's executor too.

    Reads the environment (what the resources name, what `MonitoringSettings` has, and KAFKA_INGEST_HANDOVER). Connects to
    nothing, but while Dagster loads a code location and for a few seconds at most, to Kafka and the database: to learn where the
    windows of streams without a `window_start` begin. It does not fail for what it finds there.

    Raises ConfigError for a setting that is missing or does not parse, for a secret in plain text, for a database without a sink,
    for a KAFKA_INGEST_HANDOVER that cannot work, and for streams that do not go together.
    """
    names = Names.with_prefix(key_prefix)
    declared = list(streams)
    check_together(declared)
    handover_place()
    kafka = KafkaResource.from_environment() if kafka is None else kafka
    database = DatabaseResource.from_environment() if database is None else database
    registry = SchemaRegistryResource.from_environment() if registry is None else registry
    settings = check_resources(kafka, database, registry)
    placement = Placement(
        names,
        sink_kind(settings.database_url.get_backend_name()),
        group_name,
        tuple(owners),
        tags,
        KafkaIngestTranslator() if translator is None else translator,
    )
    placed = [placement.of(stream) for stream in with_window_starts(declared, names, lambda: settings)]
    monitoring = MonitoringSettings.from_environment()
    return dg.Definitions.merge(
        *(_stream_definitions(each, monitoring) for each in placed),
        *(_group_definitions(each) for each in live_units(placed, names) if each.group.is_shared),
        _shared_definitions(placed, names, monitoring),
        dg.Definitions(
            resources={
                names.kafka: kafka,
                names.database: database,
                names.registry: registry,
                names.ingestion: IngestionResource(),
                names.run_files: run_files_io_manager,
            }
        ),
    )


def _stream_definitions(placed: PlacedStream, monitoring: MonitoringSettings) -> dg.Definitions:
    definition = stream_assets(placed)
    job: UnresolvedAssetJobDefinition = dg.define_asset_job(
        placed.names.job(placed.stream),
        selection=dg.AssetSelection.assets(*definition.keys),
        tags={STREAM_TAG: placed.tag},
        description=f"Loads stream {placed.stream.name}: Kafka {placed.stream.topic_text} into its tables.",
        # The ops hand each other frames and connections: one process per run, not one per op.
        executor_def=dg.in_process_executor,
    )
    parts = [part_job(placed)] if placed.stream.batch.shards > 1 else []
    return dg.Definitions(
        assets=[definition, placed.ledger],
        asset_checks=[stream_checks(placed), stream_audit(placed)],
        jobs=[job, *parts, preview_job(placed), replay_job(placed), find_job(placed, monitoring)],
        sensors=[live_sensor(unit, job) for unit in live_units([placed], placed.names) if not unit.group.is_shared],
    )


def _group_definitions(unit: LiveUnit) -> dg.Definitions:
    return dg.Definitions(jobs=[group_job(unit)], sensors=[live_sensor(unit)])


def _shared_definitions(placed: Sequence[PlacedStream], names: Names, monitoring: MonitoringSettings) -> dg.Definitions:
    if not placed:
        return dg.Definitions()
    return dg.Definitions(
        assets=topic_specs(placed),
        schedules=[audit_schedule(placed, names), retention_schedule(placed, names, monitoring.retention_days)],
        sensors=[] if monitoring.alert_webhook is None else [alerts_sensor(placed, names, monitoring)],
    )
