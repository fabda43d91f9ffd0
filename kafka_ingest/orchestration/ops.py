"""The ops of a run: plan → read → translate_dates → load → commit_offsets → drain. Thin: the stages are `engine.Ingestion`."""

# No `from __future__ import annotations` here: Dagster reads the ops' annotations as they stand.
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from kafka_ingest.backfill.progress import PROGRESS_TAG, Pace
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.config import PlanConfig, requested, run_windows
from kafka_ingest.orchestration.io_manager import run_files_of
from kafka_ingest.orchestration.liveness import process_tag
from kafka_ingest.orchestration.names import (
    DEAD_LETTERS,
    KIND_TAG,
    LIVE_TAG,
    PROCESS_TAG,
    RANGES_TAG,
    STREAM_TAG,
)
from kafka_ingest.orchestration.resources import INGESTION, RUN_FILES, IngestionResource, run_window
from kafka_ingest.orchestration.run_report import (
    EVENT_SECONDS,
    BackfillProgress,
    RunReport,
    events,
    materializations,
    newest_letters,
)
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.slices import Batch, LoadResult, ranges_text
from kafka_ingest.streams.stream import Stream


def make_ops(stream: Stream) -> dict[str, dg.OpDefinition]:
    """The six ops of one stream, by their name in its graph."""
    resources = {INGESTION}

    def ingestion_of(context: dg.OpExecutionContext) -> Ingestion:
        resource: IngestionResource = getattr(context.resources, INGESTION)
        if not resource.is_open:
            # By the first op of a process, whichever that is: a run re-executed from failure has no plan op.
            tags = {STREAM_TAG: stream.name, PROCESS_TAG: process_tag(context.run_id)}
            context.instance.add_run_tags(context.run_id, tags)
        return resource.of(stream, context.run_id, run_window(context))

    @dg.op(
        name=f"{stream.name}_plan",
        description="Decides which offset ranges this run loads; makes tables, finds lost offsets.",
        required_resource_keys=resources,
        ins={f"topic_{i}": dg.In(dg.Nothing) for i in range(len(stream.topic_names))},
        out=dg.Out(io_manager_key=RUN_FILES),
    )
    def plan(context: dg.OpExecutionContext, config: PlanConfig) -> Batch:
        with op_errors(context):
            ingestion = ingestion_of(context)
            ranges, kind = requested(context, config, stream, ingestion.metadata, ingestion.sink)
            batch = replace(ingestion.plan(ranges, kind), until_caught_up=config.until_caught_up)
            own = {LIVE_TAG: stream.name} if batch.kind == "live" else {PROGRESS_TAG: Pace(0, batch.size).tag}
            context.instance.add_run_tags(
                context.run_id, own | {KIND_TAG: batch.kind, RANGES_TAG: ranges_text(batch.ranges, limit=4)}
            )
        context.log.info(f"{batch.kind}: {batch.size} offsets, {batch}")
        return batch

    @dg.op(
        name=f"{stream.name}_read",
        description="Reads the first slice from Kafka, decodes and routes it.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=RUN_FILES),
    )
    def read(context: dg.OpExecutionContext, batch: Batch) -> ParsedSlice:
        with op_errors(context):
            parsed = ingestion_of(context).read(batch)
        context.add_output_metadata(
            {"messages": len(parsed.raw), "dead_letters": len(parsed.dead_letters)}
            | {f"rows_{target.label}": len(rows) for target, rows in parsed.rows.items()}
        )
        return parsed

    @dg.op(
        name=f"{stream.name}_translate_dates",
        description="Runs the stream's pipeline steps (dates to UTC among them) and validates every value.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=RUN_FILES),
    )
    def translate_dates(context: dg.OpExecutionContext, parsed: ParsedSlice) -> ParsedSlice:
        with op_errors(context):
            done = ingestion_of(context).apply_steps(parsed)
        by_stage: dict[str, int] = {}
        for letter in done.dead_letters:
            by_stage[letter.stage] = by_stage.get(letter.stage, 0) + 1
        context.add_output_metadata(
            {"rows": sum(len(rows) for rows in done.rows.values()), "dead_letters": len(done.dead_letters)}
            | {f"dead_letters_{stage}": count for stage, count in by_stage.items()}
        )
        return done

    @dg.op(
        name=f"{stream.name}_load",
        description="Rows, dead letters and ledger into the database, in one transaction.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=RUN_FILES),
    )
    def load(context: dg.OpExecutionContext, batch: Batch, parsed: ParsedSlice) -> LoadResult:
        with op_errors(context):
            result = ingestion_of(context).load(parsed, batch.kind)
        context.add_output_metadata(
            {"rows": result.total("rows"), "dead_letters": result.total("dead_letters"), "seconds": result.load_seconds}
        )
        if not result.counts and batch.size:
            context.log.info("The ledger already has these ranges: nothing was loaded twice.")
        return result

    @dg.op(
        name=f"{stream.name}_commit_offsets",
        description="Commits the ledger's offsets to the consumer group, after the database commit.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=RUN_FILES),
    )
    def commit_offsets(context: dg.OpExecutionContext, result: LoadResult) -> LoadResult:
        with op_errors(context):
            ingestion_of(context).commit(result.next_offsets)
        return result

    @dg.op(
        name=f"{stream.name}_drain",
        description="Goes on, slice by slice, while more messages wait; reports the tables.",
        required_resource_keys=resources,
        out={name: dg.Out(dg.Nothing) for name in output_names(stream)},
    )
    def drain(context: dg.AssetExecutionContext, batch: Batch, first: LoadResult) -> Iterator[Any]:
        ingestion = ingestion_of(context.op_execution_context)
        is_live = batch.kind == "live"
        total, recent = RunReport(is_live=is_live), RunReport(is_live=is_live)
        recent.add(first)
        total.add(first)
        backfill = None if is_live else BackfillProgress(context, batch, first)
        with op_errors(context.op_execution_context):
            topics = TopicObserver(stream, ingestion.look())
            for result in ingestion.drain(batch):
                total.add(result)
                recent.add(result)
                if backfill is not None:
                    backfill.add(result)
                elif time.monotonic() - recent.started >= EVENT_SECONDS:
                    yield from events(context, stream, ingestion, recent, topics)
                    recent = RunReport(is_live=is_live)
            state = ingestion.look()
            lag = state.lag
            waiting = newest_letters(ingestion.sink, stream)
        if backfill is not None:
            backfill.end()
        windows = run_windows(context)
        context.log.info(
            f"{total.totals['messages']} messages in {total.slices} slices: {total.totals['rows']} rows, "
            f"{total.totals['dead_letters']} dead letters; lag {lag}"
        )
        yield from topics.observations(state)
        # In a backfill, a message of another window does not load that window again.
        if backfill is None or not windows:
            yield from materializations(stream, recent, lag, waiting, leave_out=windows)
        if len(windows) > 1:  # each window's materialization also says what was its own of the run's numbers
            for window in windows:
                own = {"messages_of_window": total.windows[window]}
                for key in context.selected_asset_keys:
                    context.add_asset_metadata(own, asset_key=key, partition_key=window)
        for target in stream.targets:
            yield dg.Output(None, target.identifier, metadata=total.table_metadata(target, lag))
        yield dg.Output(None, DEAD_LETTERS, metadata=total.dead_letter_metadata(stream, lag, waiting))
        run_files_of(context.instance).forget([context.run.run_id, *_ancestors(context)])

    return {
        op.name.removeprefix(f"{stream.name}_"): op for op in (plan, read, translate_dates, load, commit_offsets, drain)
    }


def output_names(stream: Stream) -> tuple[str, ...]:
    """Outputs of the drain op, one per asset."""
    return (*(target.identifier for target in stream.targets), DEAD_LETTERS)


def _ancestors(context: dg.AssetExecutionContext) -> list[str]:
    """The runs this one re-executes: their files were kept for it."""
    run = context.run
    return [run_id for run_id in (run.parent_run_id, run.root_run_id) if run_id]
