"""Streams → Dagster definitions: assets, a job and a sensor for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import dagster as dg

from kafka_ingest.orchestration.alerts import alert_sensors
from kafka_ingest.orchestration.assets import ledger_spec, stream_assets, topic_specs
from kafka_ingest.orchestration.audit_schedule import audit_schedule, stream_audit
from kafka_ingest.orchestration.checks import stream_checks
from kafka_ingest.orchestration.find_job import find_job
from kafka_ingest.orchestration.io_manager import run_files_io_manager
from kafka_ingest.orchestration.names import STREAM_TAG, job_name
from kafka_ingest.orchestration.preview import preview_job
from kafka_ingest.orchestration.replay_job import replay_job
from kafka_ingest.orchestration.resources import INGESTION, RUN_FILES, IngestionResource
from kafka_ingest.orchestration.retention import retention_schedule
from kafka_ingest.orchestration.sensors import stream_sensor
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import sink_kind
from kafka_ingest.streams.stream import Stream

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition


def build_definitions(streams: Iterable[Stream]) -> dg.Definitions:
    """Everything Dagster needs to run these streams: per stream its assets, jobs, sensor and checks; for all of them the
    schedules, and the alert sensor where one is wanted.

    streams: as `declared_streams` gives them, which has checked them against each other. None gives empty definitions.

    Reads the environment (`KAFKA_INGEST_DATABASE_URL`, what `MonitoringSettings` has) and connects to nothing. Raises ConfigError
    for a setting that does not parse and for a database without a sink.
    """
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    jobs: list[dg.JobDefinition | UnresolvedAssetJobDefinition] = []
    sensors: list[dg.SensorDefinition] = []
    checks: list[dg.AssetChecksDefinition] = []
    schedules = []
    topics: dict[dg.AssetKey, dg.AssetSpec] = {}
    declared = list(streams)
    database_kind = sink_kind(Settings.from_environment().database_url.get_backend_name())
    for stream in declared:
        definition = stream_assets(stream, database_kind)
        assets.append(definition)
        topics |= {spec.key: spec for spec in topic_specs(stream)}
        job = dg.define_asset_job(
            job_name(stream),
            selection=dg.AssetSelection.assets(*definition.keys),
            tags={STREAM_TAG: stream.name},
            description=f"Loads stream {stream.name}: Kafka {stream.topic_text} into its tables.",
        )
        jobs += [job, preview_job(stream), replay_job(stream), find_job(stream)]
        assets.append(ledger_spec(stream, database_kind))
        checks += [stream_checks(stream), stream_audit(stream)]
        sensors.append(stream_sensor(stream, job))
    if declared:
        schedules += [audit_schedule(declared), retention_schedule(declared)]
        sensors += alert_sensors(declared)
    return dg.Definitions(
        assets=[*topics.values(), *assets],
        asset_checks=checks,
        jobs=jobs,
        sensors=sensors,
        schedules=schedules,
        resources={INGESTION: IngestionResource(), RUN_FILES: run_files_io_manager},
        # The ops hand each other frames and connections: one process per run, not one per op.
        executor=dg.in_process_executor,
    )
