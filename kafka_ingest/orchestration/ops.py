"""The ops of a run: plan → read → translate_dates → load → commit_offsets → drain. Thin: the stages are `engine.Ingestion`."""

# No `from __future__ import annotations` here: Dagster reads the ops' annotations as they stand.
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import dagster as dg

from kafka_ingest.backfill.progress import PROGRESS_TAG, Pace
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.ledger.leases import BACKFILL
from kafka_ingest.orchestration.backfill_parts import drain_backfill
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.check_rounds import CheckRounds
from kafka_ingest.orchestration.config import PlanConfig, requested, run_windows
from kafka_ingest.orchestration.handover import check_executor
from kafka_ingest.orchestration.io_manager import run_files_of
from kafka_ingest.orchestration.names import KIND_TAG, LIVE_TAG, RANGES_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.run_ingestion import ingestion_of
from kafka_ingest.orchestration.run_report import (
    EVENT_SECONDS,
    RunReport,
    asked_for,
    events,
    latency_from_ms,
    materializations,
    newest_letters,
    output_names,
    outputs,
)
from kafka_ingest.orchestration.slots import RunSlots
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.slices import Batch, LoadResult, ranges_text


def make_ops(placed: PlacedStream) -> dict[str, dg.OpDefinition]:
    """The six ops of one stream, by their name in its graph."""
    stream, names = placed.stream, placed.names
    resources = {*names.connections, names.ingestion}

    def leased_ingestion_of(context: dg.OpExecutionContext, batch: Batch | None = None) -> Ingestion:
        """A run has its lease in every process of its own; an op without the batch goes by the tags it began with."""
        ingestion = ingestion_of(context, placed)
        is_live = (context.run.tags.get(KIND_TAG) if batch is None else batch.kind) == "live"
        ingestion.keep_lease(backfill=None if is_live else BACKFILL)
        return ingestion

    @dg.op(
        name=f"{placed.graph}_plan",
        description="Decides which offset ranges this run loads; makes tables, finds lost offsets.",
        required_resource_keys=resources,
        ins={f"topic_{i}": dg.In(dg.Nothing) for i in range(len(stream.topic_names))},
        out=dg.Out(io_manager_key=names.run_files),
    )
    def plan(context: dg.OpExecutionContext, config: PlanConfig) -> Batch:
        with op_errors(context):
            check_executor(context.job_def.executor_def.name, lambda: type(context.instance.run_launcher).__name__)
            ingestion = ingestion_of(context, placed, is_first=True)
            ranges, kind = requested(context, config, stream, ingestion.metadata, ingestion.sink)
            batch = replace(ingestion.plan(ranges, kind), until_caught_up=config.until_caught_up)
            ingestion.keep_lease(backfill=None if batch.kind == "live" else BACKFILL)
            tag = context.run.tags.get(LIVE_TAG, placed.tag)
            own = {LIVE_TAG: tag} if batch.kind == "live" else {PROGRESS_TAG: Pace(0, batch.size).tag}
            context.instance.add_run_tags(
                context.run_id, own | {KIND_TAG: batch.kind, RANGES_TAG: ranges_text(batch.ranges, limit=4)}
            )
        context.log.info(f"{batch.kind}: {batch.size} offsets, {batch}")
        return batch

    @dg.op(
        name=f"{placed.graph}_read",
        description="Reads the first slice from Kafka, decodes and routes it.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=names.run_files),
    )
    def read(context: dg.OpExecutionContext, batch: Batch) -> ParsedSlice:
        with op_errors(context):
            parsed = leased_ingestion_of(context, batch).read(batch)
        context.add_output_metadata(
            {"messages": len(parsed.raw), "dead_letters": len(parsed.dead_letters)}
            | {f"rows_{target.label}": len(rows) for target, rows in parsed.rows.items()}
        )
        return parsed

    @dg.op(
        name=f"{placed.graph}_translate_dates",
        description="Runs the stream's pipeline steps (dates to UTC among them) and validates every value.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=names.run_files),
    )
    def translate_dates(context: dg.OpExecutionContext, parsed: ParsedSlice) -> ParsedSlice:
        with op_errors(context):
            done = leased_ingestion_of(context).apply_steps(parsed)
        by_stage: dict[str, int] = {}
        for letter in done.dead_letters:
            by_stage[letter.stage] = by_stage.get(letter.stage, 0) + 1
        context.add_output_metadata(
            {"rows": sum(len(rows) for rows in done.rows.values()), "dead_letters": len(done.dead_letters)}
            | {f"dead_letters_{stage}": count for stage, count in by_stage.items()}
        )
        return done

    @dg.op(
        name=f"{placed.graph}_load",
        description="Rows, dead letters and ledger into the database, in one transaction.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=names.run_files),
    )
    def load(context: dg.OpExecutionContext, batch: Batch, parsed: ParsedSlice) -> LoadResult:
        with op_errors(context):
            result = leased_ingestion_of(context, batch).load(parsed, batch.kind)
        context.add_output_metadata(
            {"rows": result.total("rows"), "dead_letters": result.total("dead_letters"), "seconds": result.load_seconds}
        )
        if not result.counts and batch.size:
            context.log.info("The ledger already has these ranges: nothing was loaded twice.")
        return result

    @dg.op(
        name=f"{placed.graph}_commit_offsets",
        description="Commits the ledger's offsets to the consumer group, after the database commit.",
        required_resource_keys=resources,
        out=dg.Out(io_manager_key=names.run_files),
    )
    def commit_offsets(context: dg.OpExecutionContext, result: LoadResult) -> LoadResult:
        with op_errors(context):
            leased_ingestion_of(context).commit(result.next_offsets)
        return result

    @dg.op(
        name=f"{placed.graph}_drain",
        description="Goes on, slice by slice, while more messages wait; reports the tables.",
        required_resource_keys=resources,
        out={name: dg.Out(dg.Nothing, is_required=False) for name in output_names(stream)},
    )
    def drain(context: dg.AssetExecutionContext, batch: Batch, first: LoadResult) -> Iterator[Any]:
        since = latency_from_ms(asked_for(context), stream) if batch.kind == "live" else None
        total, recent = RunReport(latency_from_ms=since), RunReport(latency_from_ms=since)
        recent.add(first)
        total.add(first)
        checks = CheckRounds(
            placed,
            settings_of(context.resources, names),
            context.run.run_id,
            instance=context.instance,
            say=context.log.warning,
        )
        with checks, op_errors(context.op_execution_context):
            ingestion = leased_ingestion_of(context.op_execution_context, batch)
            if not _ancestors(context):
                ingestion.resume(first)
            topics = TopicObserver(placed, ingestion.look())
            yield from checks.collect()
            if batch.kind == "live":
                slots = RunSlots(context.instance, context.run.run_id)
                for result in ingestion.drain(batch, is_slot_wanted=slots.is_wanted):
                    total.add(result)
                    recent.add(result)
                    yield from checks.collect()
                    if time.monotonic() - recent.started >= EVENT_SECONDS:
                        yield from events(context, placed, ingestion, recent, topics)
                        recent = RunReport(latency_from_ms=since)
            else:
                recent = total
                for result in drain_backfill(context.op_execution_context, placed, ingestion, batch, total):
                    total.add(result)
                    yield from checks.collect()
            ingestion.release_lease()
            yield from checks.last()
            state = ingestion.look()
            lag = state.lag
            waiting = newest_letters(ingestion.sink, stream)
        windows = run_windows(context)
        context.log.info(
            f"{total.totals['messages']} messages in {total.slices} slices: {total.totals['rows']} rows, "
            f"{total.totals['dead_letters']} dead letters; lag {lag}"
        )
        yield from topics.observations(state)
        # In a backfill, a message of another window does not load that window again.
        if batch.kind == "live" or not windows:
            yield from materializations(placed, recent, lag, waiting, leave_out=windows)
        yield from outputs(context, placed, total, lag, waiting)
        run_files_of(context.instance).forget([context.run.run_id, *_ancestors(context)], placed.graph)

    return {
        op.name.removeprefix(f"{placed.graph}_"): op
        for op in (plan, read, translate_dates, load, commit_offsets, drain)
    }


def _ancestors(context: dg.AssetExecutionContext) -> list[str]:
    """The runs this one re-executes: their files were kept for it."""
    run = context.run
    return [run_id for run_id in (run.parent_run_id, run.root_run_id) if run_id]
