"""The ops of a run: plan → read → translate_dates → load → commit_offsets → drain. Thin: the stages are `engine.Ingestion`."""

# No `from __future__ import annotations` here: Dagster reads the ops' annotations as they stand.
import datetime as dt
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import Field

from kafka_ingest.backfill.progress import PROGRESS_TAG, Pace, PaceMeter
from kafka_ingest.backfill.selection import MAX_OFFSET, MAX_PARTITION, TIME_EXAMPLE, Selection, ranges_of_selection
from kafka_ingest.backfill.window_ranges import ranges_of_windows
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import ConfigError, PermanentError, RetryableError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.orchestration.io_manager import handover_of
from kafka_ingest.orchestration.liveness import process_tag
from kafka_ingest.orchestration.names import (
    DEAD_LETTERS,
    KIND_TAG,
    LIVE_TAG,
    PROCESS_TAG,
    RANGES_TAG,
    STREAM_TAG,
    dead_letters_key,
    table_key,
)
from kafka_ingest.orchestration.resources import HANDOVER, INGESTION, IngestionResource, run_window
from kafka_ingest.orchestration.run_report import Progress
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import Batch, BatchKind, LoadResult, OffsetRange, ranges_text
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_of

MAX_RETRIES = 4
# A drain says what it did at most this often: every event costs Dagster milliseconds and kilobytes.
EVENT_SECONDS = 10.0
# A backfill's progress tag, which a progress bar follows, costs much less.
PROGRESS_SECONDS = 2.0


class RangeConfig(dg.Config):
    """Offsets `[start, end)` of one Kafka partition."""

    topic: str = Field(description="Topic name.", min_length=1)
    partition: int = Field(description="Kafka partition.", ge=0, le=MAX_PARTITION)
    start: int = Field(description="First offset.", ge=0, le=MAX_OFFSET)
    end: int = Field(description="Offset after the last one (exclusive).", ge=0, le=MAX_OFFSET)


class RunKind(Enum):
    """How given ranges are meant; Dagster shows the names."""

    auto = "auto"
    live = "live"
    backfill = "backfill"


class PlanConfig(dg.Config):
    """What the run ingests. Left empty, the run loads what the selected window holds, or, on the present window, what waits."""

    ranges: list[RangeConfig] = Field(
        default=[], description="Exact offset ranges, at most one per Kafka partition. Empty: decided by the window."
    )
    kind: RunKind = Field(
        default=RunKind.auto,
        description="live: the ranges must continue from the ledger's next offsets. backfill: load ranges again, in place. "
        "auto: live on the present window, backfill on others and where ranges are given.",
    )
    until_caught_up: bool = Field(
        default=False,
        description="A live run loads what waits now and ends, instead of lingering for more; it has no time limit.",
    )
    time_from: str | None = Field(
        default=None,
        description=f"Backfill by Kafka timestamp, from this time on: {TIME_EXAMPLE}; UTC where it has no zone. Left out with "
        "time_to given: from the first message.",
        max_length=64,
    )
    time_to: str | None = Field(
        default=None, description="Up to this time (exclusive). Left out: up to now.", max_length=64
    )
    offset_from: int | None = Field(
        default=None,
        description="Backfill by offset, the same in each chosen Kafka partition, from this one on. Left out with offset_to "
        "given: from the first message.",
        ge=0,
        le=MAX_OFFSET,
    )
    offset_to: int | None = Field(
        default=None,
        description="Up to this offset (exclusive). Left out: up to the end of the log.",
        ge=0,
        le=MAX_OFFSET,
    )
    partitions: list[str] = Field(
        default=[],
        description="Kafka partitions of a backfill by times or offsets, each a number in quotes, '3', or 'topic:3'. "
        "Empty: all.",
        max_length=10_000,
    )


@contextmanager
def op_errors(context: dg.OpExecutionContext) -> Iterator[None]:
    """Our errors as Dagster's: retryable ones are tried again, then fail the run; permanent ones fail it at once."""
    try:
        yield
    except RetryableError as error:
        wait = min(2.0**context.retry_number, 30.0)
        context.log.warning(f"{error} Next try in {wait:.0f} s.")
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=wait) from error
    except PermanentError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


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
        out=dg.Out(io_manager_key=HANDOVER),
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
        out=dg.Out(io_manager_key=HANDOVER),
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
        out=dg.Out(io_manager_key=HANDOVER),
    )
    def translate_dates(context: dg.OpExecutionContext, parsed: ParsedSlice) -> ParsedSlice:
        with op_errors(context):
            done = ingestion_of(context).translate(parsed)
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
        out=dg.Out(io_manager_key=HANDOVER),
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
        out=dg.Out(io_manager_key=HANDOVER),
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
        total, recent = Progress(), Progress()
        recent.add(first)
        total.add(first)
        backfill = None if batch.kind == "live" else _BackfillProgress(context, batch, first)
        with op_errors(context.op_execution_context):
            topics = TopicObserver(stream, ingestion.look())
            for result in ingestion.drain(batch):
                total.add(result)
                recent.add(result)
                if backfill is not None:
                    backfill.add(result)
                elif time.monotonic() - recent.started >= EVENT_SECONDS:
                    yield from _events(context, stream, ingestion, recent, topics)
                    recent = Progress()
            state = ingestion.look()
            lag = state.lag
        if backfill is not None:
            backfill.end()
        windows = _run_windows(context)
        context.log.info(
            f"{total.totals['messages']} messages in {total.slices} slices: {total.totals['rows']} rows, "
            f"{total.totals['dead_letters']} dead letters; lag {lag}"
        )
        yield from topics.observations(state)
        if backfill is None or not windows:  # a straggler of another window is not that window loaded again
            yield from _materializations(stream, recent, lag, leave_out=windows)
        if len(windows) > 1:  # each window's materialization also says what was its own of the run's numbers
            for window in windows:
                own = {"messages_of_window": total.windows[window]}
                for key in context.selected_asset_keys:
                    context.add_asset_metadata(own, asset_key=key, partition_key=window)
        for target in stream.targets:
            yield dg.Output(None, target.identifier, metadata=total.table_metadata(target, lag))
        yield dg.Output(None, DEAD_LETTERS, metadata=total.dead_letter_metadata(stream, lag))
        handover_of(context.instance).forget([context.run.run_id, *_ancestors(context)])

    return {
        op.name.removeprefix(f"{stream.name}_"): op for op in (plan, read, translate_dates, load, commit_offsets, drain)
    }


def output_names(stream: Stream) -> tuple[str, ...]:
    """Outputs of the drain op, one per asset."""
    return (*(target.identifier for target in stream.targets), DEAD_LETTERS)


def requested(
    context: dg.OpExecutionContext, config: PlanConfig, stream: Stream, metadata: KafkaMetadata, sink: Sink
) -> tuple[tuple[OffsetRange, ...], BatchKind]:
    """The ranges that config or windows ask for, and how they are meant; live without ranges is whatever waits."""
    ranges = tuple(OffsetRange(r.topic, r.partition, r.start, r.end) for r in config.ranges)
    selection = Selection(
        config.time_from, config.time_to, config.offset_from, config.offset_to, tuple(config.partitions)
    )
    now = dt.datetime.now(dt.timezone.utc)
    if not selection.is_empty:
        _check_selection(config, selection)
        return ranges_of_selection(stream, selection, metadata, sink, now=now), "backfill"
    if ranges:
        return ranges, "live" if config.kind is RunKind.live else "backfill"
    windows = list(_run_windows(context))
    present = window_of(stream, now, now=now)
    if config.kind is RunKind.live or not windows or (config.kind is RunKind.auto and windows == [present]):
        return (), "live"
    return ranges_of_windows(stream, windows, metadata, sink, now=now), "backfill"


def _check_selection(config: PlanConfig, selection: Selection) -> None:
    """What times or offsets may not stand beside."""
    if config.ranges:
        raise ConfigError("ranges: give exact ranges, or times, or offsets; not several of them")
    if config.kind is RunKind.live:
        raise ConfigError("kind is live: a live run takes exact ranges or none; for times or offsets it is backfill")
    if selection.partitions and selection == Selection(partitions=selection.partitions):
        raise ConfigError("partitions: give time_from, time_to, offset_from or offset_to too")


def _run_windows(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> tuple[str, ...]:
    """The windows the run was launched for; none where it was launched without."""
    return tuple(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else ()


class _BackfillProgress:
    """Says how far a backfill is: in the run's progress tag, and now and then in its log."""

    def __init__(self, context: dg.AssetExecutionContext, batch: Batch, first: LoadResult) -> None:
        self._context = context
        self._meter = PaceMeter(batch.size, done=_offsets(first))
        self._logged = self._tagged = time.monotonic()
        self._tag()

    def add(self, result: LoadResult) -> None:
        self._meter.add(offsets=_offsets(result), rows=result.total("rows"))
        now = time.monotonic()
        if now - self._tagged >= PROGRESS_SECONDS:
            self._tagged = now
            self._tag()
        if now - self._logged >= EVENT_SECONDS:
            self._logged = now
            self._context.log.info(str(self._meter.look()))

    def end(self) -> None:
        self._tag()

    def _tag(self) -> None:
        self._context.instance.add_run_tags(self._context.run.run_id, {PROGRESS_TAG: self._meter.look().tag})


def _offsets(result: LoadResult) -> int:
    return sum(c.range.size for c in result.counts)


def _events(
    context: dg.AssetExecutionContext,
    stream: Stream,
    ingestion: Ingestion,
    recent: Progress,
    topics: TopicObserver,
) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    state = ingestion.look()
    lag = state.lag
    context.log.info(
        f"{recent.totals['rows']} rows, {recent.totals['dead_letters']} dead letters in {recent.slices} slices; lag {lag}"
    )
    yield from topics.observations(state)
    yield from _materializations(stream, recent, lag, leave_out=())


def _materializations(
    stream: Stream, progress: Progress, lag: int, *, leave_out: Sequence[str]
) -> Iterator[dg.AssetMaterialization]:
    """One per asset and window that got messages. The numbers are the run's since the last report, not the window's."""
    for window in progress.windows:
        if window in leave_out:
            continue
        extra = {"messages_of_window": progress.windows[window]}
        for target in stream.targets:
            metadata = progress.table_metadata(target, lag) | extra
            yield dg.AssetMaterialization(table_key(stream, target), partition=window, metadata=metadata)
        metadata = progress.dead_letter_metadata(stream, lag) | extra
        yield dg.AssetMaterialization(dead_letters_key(stream), partition=window, metadata=metadata)


def _ancestors(context: dg.AssetExecutionContext) -> list[str]:
    """The runs this one re-executes: their files were kept for it."""
    run = context.run
    return [run_id for run_id in (run.parent_run_id, run.root_run_id) if run_id]
