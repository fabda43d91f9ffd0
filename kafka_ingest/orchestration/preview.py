"""The job that says what a backfill would do: one op over `backfill.dry_run`. It writes nothing but its own metadata."""

# No `from __future__ import annotations` here: Dagster reads the op's annotations as they stand.
import json
import time
from contextlib import closing

import dagster as dg

from kafka_ingest.backfill.dry_run import Forecast, dry_run
from kafka_ingest.backfill.progress import PROGRESS_TAG, Pace
from kafka_ingest.errors import ConfigError, PermanentError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.config import PlanConfig, requested
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import KIND_TAG, STREAM_TAG, Metadata
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.run_report import PROGRESS_SECONDS
from kafka_ingest.orchestration.windows import windows_of
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import ranges_text


def preview_job(placed: PlacedStream) -> dg.JobDefinition:
    """`preview_<stream>`: the same config and windows as a backfill's; the result is the op's metadata."""

    stream, names = placed.stream, placed.names

    @dg.op(
        name=f"{placed.graph}_dry_run",
        required_resource_keys=names.connections,
        description="Reads the ranges and compares them with the tables: rows that a backfill would add, change, leave or "
        "remove, and dead letters.",
    )
    def run(context: dg.OpExecutionContext, config: PlanConfig) -> None:
        told = time.monotonic()

        def on_progress(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= PROGRESS_SECONDS or done >= total:
                told = time.monotonic()
                context.instance.add_run_tags(context.run_id, {PROGRESS_TAG: Pace(done, total).tag})

        settings = settings_of(context.resources, names)
        with op_errors(context), closing(open_sink(settings.database_url)) as sink:
            metadata = KafkaMetadata(settings)
            ranges, kind = requested(context, config, stream, metadata, sink)
            if kind == "live":
                raise ConfigError(
                    "a preview is of a backfill: choose a window with kind=backfill, or give times, offsets or ranges"
                )
            forecast = dry_run(stream, ranges, metadata=metadata, sink=sink, settings=settings, on_progress=on_progress)
            context.add_output_metadata(_metadata(forecast))
            context.log.info(f"Nothing was written. {json.dumps(forecast.as_dict()['tables'])}")
            if forecast.failure is not None:
                raise PermanentError(f"The backfill would fail: {forecast.failure}")

    @dg.job(
        name=names.preview_job(stream),
        partitions_def=windows_of(stream),
        tags={STREAM_TAG: placed.tag, KIND_TAG: "preview"},
        description=f"Says what a backfill of stream {stream.name} would change, and writes nothing.",
        executor_def=dg.in_process_executor,
    )
    def preview() -> None:
        run()

    return preview


def _metadata(forecast: Forecast) -> Metadata:
    lines = ["| table | added | changed | unchanged | removed |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {code(name)} | {t.added:,} | {t.changed:,} | {t.unchanged:,} | {t.removed:,} |"
        for name, t in forecast.tables.items()
    ]
    letters = [f"- {code(d.position)} {d.stage}: {code(d.error)}" for d in forecast.first_dead_letters]
    return {
        "would_change": dg.MetadataValue.md("\n".join(lines)),
        "messages": forecast.messages,
        "dead_letters": sum(forecast.dead_letters.values()),
        "dead_letters_now": forecast.dead_letters_now,
        "first_dead_letters": dg.MetadataValue.md("\n".join(letters) or "none"),
        "not_loaded_before": forecast.live_offsets,
        "ranges": ranges_text(forecast.ranges),
        "details": dg.MetadataValue.json(forecast.as_dict()),
    }
