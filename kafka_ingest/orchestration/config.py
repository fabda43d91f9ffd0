"""What a person may ask of a run: the launchpad's fields of its plan op, and the ranges they come to."""

# No `from __future__ import annotations` here: Dagster reads the annotations as they stand.
import datetime as dt
from collections.abc import Sequence
from enum import Enum

import dagster as dg
from pydantic import Field

from kafka_ingest.backfill.selection import MAX_OFFSET, MAX_PARTITION, TIME_EXAMPLE, Selection, ranges_of_selection
from kafka_ingest.backfill.window_ranges import ranges_of_windows
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import BatchKind, OffsetRange
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_of


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


def offset_ranges(ranges: Sequence[RangeConfig]) -> tuple[OffsetRange, ...]:
    """The ranges that run config names."""
    return tuple(OffsetRange(r.topic, r.partition, r.start, r.end) for r in ranges)


def requested(
    context: dg.OpExecutionContext, config: PlanConfig, stream: Stream, metadata: KafkaMetadata, sink: Sink
) -> tuple[tuple[OffsetRange, ...], BatchKind]:
    """The ranges that config or windows ask for, and how they are meant; live without ranges is whatever waits."""
    ranges = offset_ranges(config.ranges)
    selection = Selection(
        config.time_from, config.time_to, config.offset_from, config.offset_to, tuple(config.partitions)
    )
    now = dt.datetime.now(dt.timezone.utc)
    if not selection.is_empty:
        _check_selection(config, selection)
        return ranges_of_selection(stream, selection, metadata, sink, now=now), "backfill"
    if ranges:
        return ranges, "live" if config.kind is RunKind.live else "backfill"
    windows = list(run_windows(context))
    present = window_of(stream, now, now=now)
    if config.kind is RunKind.live or not windows or (config.kind is RunKind.auto and windows == [present]):
        return (), "live"
    return ranges_of_windows(stream, windows, metadata, sink, now=now), "backfill"


def _check_selection(config: PlanConfig, selection: Selection) -> None:
    """What times or offsets may not stand beside."""
    if config.ranges:
        raise ConfigError("ranges: give exact ranges, or times, or offsets; not several of them", setting="ranges")
    if config.kind is RunKind.live:
        raise ConfigError(
            "kind is live: a live run takes exact ranges or none; for times or offsets it is backfill", setting="kind"
        )
    if selection.partitions and selection == Selection(partitions=selection.partitions):
        raise ConfigError("partitions: give time_from, time_to, offset_from or offset_to too", setting="partitions")


def run_windows(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> tuple[str, ...]:
    """The windows the run was launched for; none where it was launched without."""
    return tuple(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else ()
