"""Streams in a code location whose live runs are launched together: a stream of its own, or those of a group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka_ingest.engine.shards import Shard
from kafka_ingest.orchestration.names import GROUP_TAG, KIND_TAG, LIVE_TAG, Names
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.streams.group import StreamGroup, groups_of


@dataclass(frozen=True, slots=True)
class LiveUnit:
    """Has one sensor. A group's live runs are of a job of its own; a stream's of the job that backfills it, too."""

    group: StreamGroup
    placed: tuple[PlacedStream, ...]
    names: Names

    @property
    def tag(self) -> str:
        """The name in tags of runs."""
        return self.names.tag(self.group.name)

    @property
    def shards(self) -> list[Shard]:
        """Each has a run of its own. A group has no more than the whole."""
        return Shard.all(max(stream.batch.shards for stream in self.group.streams))

    @property
    def live_tags(self) -> list[str]:
        """Values of LIVE_TAG of its live runs, and of those of its streams alone: nobody else looks whether they are there."""
        return list(dict.fromkeys(tag for stream in self.group.streams for tag in self.names.live_tags(stream)))

    @property
    def run_tags(self) -> dict[str, str]:
        """Of a live run of a group."""
        return {GROUP_TAG: self.tag, LIVE_TAG: self.tag, KIND_TAG: "live"}


def live_units(placed: Sequence[PlacedStream], names: Names) -> list[LiveUnit]:
    """Each stream in one of them."""
    by_name = {each.stream.name: each for each in placed}
    return [
        LiveUnit(group, tuple(by_name[stream.name] for stream in group.streams), names)
        for group in groups_of(each.stream for each in placed)
    ]
