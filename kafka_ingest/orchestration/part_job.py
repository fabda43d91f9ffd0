"""The job that loads a part of a backfill: one op over the engine's drain, launched by the run that answers for the whole.

It has no assets: a window is materialized when all of its Kafka partitions are loaded, by that run. And Dagster takes every
materialization of a run with a backfill's tag for one of the backfill's windows.
"""

# No `from __future__ import annotations` here: Dagster reads the op's annotations as they stand.
import dagster as dg
from pydantic import Field

from kafka_ingest.ledger.leases import part_text
from kafka_ingest.orchestration.backfill_parts import reported
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.config import RangeConfig, offset_ranges
from kafka_ingest.orchestration.names import KIND_TAG, PART_TAG, STREAM_TAG, Metadata
from kafka_ingest.orchestration.part_runs import part_op
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.run_ingestion import ingestion_of
from kafka_ingest.orchestration.run_report import BackfillProgress, RunReport


class PartConfig(dg.Config):
    """What the run loads again."""

    ranges: list[RangeConfig] = Field(description="Exact offset ranges, at most one per Kafka partition.")


def part_job(placed: PlacedStream) -> dg.JobDefinition:
    """`backfill_part_<stream>`."""

    stream, names = placed.stream, placed.names

    @dg.op(
        name=part_op(placed),
        required_resource_keys={*names.connections, names.ingestion},
        description="Loads its ranges again, slice by slice, while other runs load theirs.",
        out=dg.Out(dg.Nothing),
    )
    def load_part(context: dg.OpExecutionContext, config: PartConfig) -> None:
        report = RunReport(latency_from_ms=None)
        with op_errors(context):
            ingestion = ingestion_of(context, placed)
            batch = ingestion.plan(offset_ranges(config.ranges), "backfill")
            ingestion.keep_lease(backfill=part_text(context.run.tags.get(PART_TAG, "")))
            progress = BackfillProgress(context, batch.size)
            for result in ingestion.drain(batch):
                report.add(result)
                progress.add(result)
            ingestion.release_lease()
        progress.end()
        context.add_output_metadata(_metadata(report))

    @dg.job(
        name=names.part_job(stream),
        description=f"Loads a part of a backfill of stream {stream.name}. The backfill's own run launches it.",
        tags={STREAM_TAG: placed.tag, KIND_TAG: "backfill"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        load_part()

    return job


def _metadata(report: RunReport) -> Metadata:
    rows: Metadata = {"rows": report.rows.total()}
    return rows | report.metadata(lag=None) | reported(report)
