"""Streams → Dagster definitions: assets, a job and a sensor for each."""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from kafka_ingest.orchestration.assets import stream_assets, topic_specs
from kafka_ingest.orchestration.checks import stream_checks
from kafka_ingest.orchestration.handover import handover_io_manager
from kafka_ingest.orchestration.names import STREAM_TAG, job_name
from kafka_ingest.orchestration.resources import HANDOVER, INGESTION, IngestionResource
from kafka_ingest.orchestration.sensors import stream_sensor
from kafka_ingest.streams.stream import Stream


def build_definitions(streams: Iterable[Stream]) -> dg.Definitions:
    """Everything Dagster needs to run these streams."""
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    jobs, sensors, checks = [], [], []
    topics: dict[dg.AssetKey, dg.AssetSpec] = {}
    for stream in streams:
        definition = stream_assets(stream)
        assets.append(definition)
        topics |= {spec.key: spec for spec in topic_specs(stream)}
        job = dg.define_asset_job(
            job_name(stream),
            selection=dg.AssetSelection.assets(*definition.keys),
            tags={STREAM_TAG: stream.name},
            description=f"Loads stream {stream.name}: Kafka {stream.topic_text} into its tables.",
        )
        jobs.append(job)
        checks += stream_checks(stream)
        sensors.append(stream_sensor(stream, job))
    return dg.Definitions(
        assets=[*topics.values(), *assets],
        asset_checks=checks,
        jobs=jobs,
        sensors=sensors,
        resources={INGESTION: IngestionResource(), HANDOVER: handover_io_manager},
        # The ops hand each other frames and connections: one process per run, not one per op.
        executor=dg.in_process_executor,
    )
