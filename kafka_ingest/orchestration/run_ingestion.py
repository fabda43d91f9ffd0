"""The `Ingestion` that the ops of a run share, and a run's first contact with the database."""

from __future__ import annotations

import socket

import dagster as dg

from kafka_ingest.engine.fingerprint import Fingerprint
from kafka_ingest.engine.first_contact import first_contact
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import Shard
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.orchestration.dagster_records import DagsterRecords
from kafka_ingest.orchestration.liveness import process_tag, run_pid
from kafka_ingest.orchestration.names import PROCESS_TAG, REASON_TAG, SHARD_TAG, STREAM_TAG, UNREACHED_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import IngestionResource, run_window, settings_of
from kafka_ingest.sinks.base import Sink


def ingestion_of(context: dg.OpExecutionContext, placed: PlacedStream, *, is_first: bool = False) -> Ingestion:
    """The run's, made by the first op of a process, which says in a tag which process it is. That may be any op: a run
    re-executed from failure has no plan op. is_first: the run begins here, see `meet_database`.

    Raises WrongEnvironment as `Ingestion.expect` does.
    """
    resource: IngestionResource = getattr(context.resources, placed.names.ingestion)
    if not resource.is_open(placed.stream):
        pid = run_pid(context.instance, context.run_id)
        tags = {STREAM_TAG: placed.tag, PROCESS_TAG: process_tag(context.run_id, pid)}
        context.instance.add_run_tags(context.run_id, tags)
    shard = Shard.parse(context.run.tags.get(SHARD_TAG))
    settings = settings_of(context.resources, placed.names)
    records = DagsterRecords(context.instance)
    ingestion = resource.of(placed.stream, settings, context.run_id, run_window(context), shard, records)
    if is_first:
        meet_database(context, ingestion.sink)
    ingestion.expect(Fingerprint.from_tags(context.run.tags))
    return ingestion


def meet_database(context: dg.OpExecutionContext, sink: Sink) -> None:
    """The first contact of a run that a sensor launched: where the database is not reached soon, the run fails at once and says
    in a tag why. The sensor has just reached it, so this host may be cut off, and another may get the next run, which the sensor
    launches at its next look (`sensors.backoff_seconds`). A run that a person launched has nobody to launch the next one."""
    if REASON_TAG not in context.run.tags:
        return
    try:
        first_contact(sink)
    except DatabaseUnavailable as error:
        host = socket.gethostname()
        context.instance.add_run_tags(context.run_id, {UNREACHED_TAG: host})
        raise dg.Failure(
            f"{error} This run ends at once, before it has read or written anything: the sensor that launched it reaches the "
            f"database, so host {host} may be cut off from it. The sensor launches the next run, which another host may get.",
            metadata={"host": host},
            allow_retries=False,
        ) from error
