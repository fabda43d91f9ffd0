"""The `Ingestion` that the ops of a run share."""

from __future__ import annotations

import dagster as dg

from kafka_ingest.engine.fingerprint import Fingerprint
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import Shard
from kafka_ingest.orchestration.liveness import process_tag, run_pid
from kafka_ingest.orchestration.names import PROCESS_TAG, SHARD_TAG, STREAM_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import IngestionResource, run_window, settings_of


def ingestion_of(context: dg.OpExecutionContext, placed: PlacedStream) -> Ingestion:
    """The run's, made by the first op of a process, which says in a tag which process it is. That may be any op: a run
    re-executed from failure has no plan op.

    Raises WrongEnvironment as `Ingestion.expect` does.
    """
    resource: IngestionResource = getattr(context.resources, placed.names.ingestion)
    if not resource.is_open(placed.stream):
        pid = run_pid(context.instance, context.run_id)
        tags = {STREAM_TAG: placed.tag, PROCESS_TAG: process_tag(context.run_id, pid)}
        context.instance.add_run_tags(context.run_id, tags)
    shard = Shard.parse(context.run.tags.get(SHARD_TAG))
    settings = settings_of(context.resources, placed.names)
    ingestion = resource.of(placed.stream, settings, context.run_id, run_window(context), shard)
    ingestion.expect(Fingerprint.from_tags(context.run.tags))
    return ingestion
