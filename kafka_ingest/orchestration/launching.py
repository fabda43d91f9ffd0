"""What a run of a stream's job is launched with: its config and its tags.

Dagster is not imported: the command line launches runs over GraphQL, and importing Dagster takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kafka_ingest.backfill.selection import Selection
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.orchestration.names import KIND_TAG, LIVE_TAG, RANGES_TAG, SHARD_TAG, STREAM_TAG, Names
from kafka_ingest.slices import OffsetRange, ranges_text
from kafka_ingest.streams.stream import Stream

# Dagster's own: the window, or the first and the last of several, that a run is of.
PARTITION_TAG = "dagster/partition"
PARTITION_RANGE_START_TAG = "dagster/asset_partition_range_start"
PARTITION_RANGE_END_TAG = "dagster/asset_partition_range_end"
_SHOWN_RANGES = 4


def ranges_config(
    names: Names, stream: Stream, ranges: Sequence[OffsetRange], kind: str, **options: object
) -> dict[str, object]:
    """Config of a run over exact ranges; `options` are further fields of the plan's config."""
    each = [{"topic": r.topic, "partition": r.partition, "start": r.start, "end": r.end} for r in ranges]
    return _config(names, stream, {"kind": kind, "ranges": each} | options)


def ranges_tags(
    names: Names, stream: Stream, ranges: Sequence[OffsetRange], kind: str, shard: Shard = WHOLE
) -> dict[str, str]:
    """Tags of a run over exact ranges of a shard. A live one's keep the queue from starting another beside it."""
    tags = {STREAM_TAG: names.tag(stream.name), KIND_TAG: kind, RANGES_TAG: ranges_text(ranges, limit=_SHOWN_RANGES)}
    if kind == "live":
        tags[LIVE_TAG] = names.live_tag(stream.name, shard)
    return tags if shard.is_whole else tags | {SHARD_TAG: str(shard)}


def backfill_config(names: Names, stream: Stream, selection: Selection) -> dict[str, object]:
    """Config of a backfill: the selection as it stands; the run makes offsets of it."""
    chosen: dict[str, object] = {
        name: value
        for name in ("time_from", "time_to", "offset_from", "offset_to")
        if (value := getattr(selection, name)) is not None
    }
    if selection.partitions:
        chosen["partitions"] = list(selection.partitions)
    return _config(names, stream, {"kind": "backfill"} | chosen)


def backfill_tags(names: Names, stream: Stream, keys: Sequence[str]) -> dict[str, str]:
    """Tags of a backfill; of `keys`, its first and last window or its only one, as Dagster gives them."""
    tags = {STREAM_TAG: names.tag(stream.name), KIND_TAG: "backfill"}
    if len(keys) == 2:
        tags |= {PARTITION_RANGE_START_TAG: keys[0], PARTITION_RANGE_END_TAG: keys[1]}
    elif keys:
        tags[PARTITION_TAG] = keys[0]
    return tags


def _config(names: Names, stream: Stream, plan: Mapping[str, object]) -> dict[str, object]:
    """The stream's graph holds the op `plan`, which alone is configured."""
    return {"ops": {names.of(stream.name): {"ops": {"plan": {"config": dict(plan)}}}}}
