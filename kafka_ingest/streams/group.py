"""Groups: streams whose live loads are one run's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kafka_ingest.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class StreamGroup:
    """Streams that share a sensor and a live run: those that name one group, or a stream of its own."""

    name: str
    """The group's, or the stream's."""
    streams: tuple[Stream, ...]

    @property
    def is_shared(self) -> bool:
        """Whether it is a named group, however many streams name it."""
        return self.streams[0].group is not None

    @property
    def max_run_seconds(self) -> float:
        """The least of its streams', which all are to have met."""
        return min(stream.batch.max_run_seconds for stream in self.streams)

    @property
    def handover_seconds(self) -> float:
        """How long before the run's time is up the next one may be launched."""
        return min(stream.batch.handover_seconds for stream in self.streams)

    @property
    def linger(self) -> float:
        """How long nothing may wait in any of its streams before the run ends: the most of theirs."""
        return max(stream.batch.linger for stream in self.streams)


def groups_of(streams: Iterable[Stream]) -> list[StreamGroup]:
    """Each stream in one, in the order of the first of each."""
    found: dict[str, list[Stream]] = {}
    for stream in streams:
        found.setdefault(stream.group or stream.name, []).append(stream)
    return [StreamGroup(name, tuple(members)) for name, members in found.items()]
