"""A sample of a topic: messages of every partition, from the first, the last and in between. Joins no group, commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.settings import Settings
from kafka_ingest.slices import OffsetRange, RawSlice, TopicPartition

DEFAULT_SAMPLE = 10_000
MAX_SAMPLE = 100_000
MAX_BYTES = 64 * 1024 * 1024
"""Of values, keys and headers that a sample holds."""
MAX_SECONDS = 60.0
"""After this long no further messages are asked for."""

# Places of a partition's log that a sample is taken from: its begin, its end, and others evenly between.
_MOST_PLACES, _FEWEST_PLACES = 6, 3
# What is read first of each place: it tells how large messages are, and how many offsets hold one.
_PROBE = 20
# librdkafka fetches ahead, here of what is mostly not read: of the rest of the log behind each place.
_QUEUED = 500

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """Messages of one topic or several, and what they were taken from."""

    raw: RawSlice
    logs: Mapping[TopicPartition, Watermarks]
    cut_by: str | None = None
    """What ended it before it had as many messages as were asked for, though the log has more."""

    @property
    def offsets(self) -> int:
        """How many offsets the log holds."""
        return sum(log.high - log.low for log in self.logs.values())


@dataclass(slots=True)
class _Place:
    """A stretch of one partition's log, of which the first messages are taken; of the last one the last."""

    tp: TopicPartition
    start: int
    end: int
    is_last: bool

    @property
    def unread(self) -> int:
        return self.end - self.start

    def take(self, offsets: int) -> OffsetRange:
        """The next offsets to read, at most so many, which then are read."""
        if self.is_last:
            end, self.end = self.end, max(self.start, self.end - offsets)
            return OffsetRange(*self.tp, self.end, end)
        start, self.start = self.start, min(self.end, self.start + offsets)
        return OffsetRange(*self.tp, start, self.start)


def take_sample(
    partitions: Iterable[TopicPartition],
    count: int,
    *,
    metadata: KafkaMetadata,
    settings: Settings,
    on_progress: Progress = lambda _done, _total: None,
    clock: Callable[[], float] = time.monotonic,
) -> Sample:
    """About `count` committed messages of these partitions; all of them where they hold no more.

    Bounded by MAX_BYTES and MAX_SECONDS. Raises what broken infrastructure raises.
    """
    logs = metadata.watermarks(partitions)
    rounds = _places(logs, count)
    if not rounds:
        return Sample(_joined([]), logs)
    consumer = open_consumer(settings, settings.group_id, queued_messages=_QUEUED)
    with closing(RangeReader(consumer)) as reader:
        taken = _Taking(reader, count, on_progress, clock)
        taken.run(rounds)
    return Sample(_joined(taken.slices), logs, taken.cut_by)


def topic_partitions(metadata: KafkaMetadata, topic: str, settings: Settings) -> tuple[TopicPartition, ...]:
    """The partitions of a topic. Raises ConfigError where it does not exist."""
    found = metadata.partitions(topic)
    if not found:
        raise ConfigError(
            f"topic {topic!r} does not exist at {settings.bootstrap_servers}; check its name and KAFKA_BOOTSTRAP_SERVERS",
            setting="topic",
        )
    return found


class _Taking:
    """Reads place after place, in passes: a few messages of each, then as many more as are wanting."""

    def __init__(self, reader: RangeReader, count: int, on_progress: Progress, clock: Callable[[], float]) -> None:
        self.slices: list[RawSlice] = []
        self.cut_by: str | None = None
        self._reader = reader
        self._count = count
        self._on_progress = on_progress
        self._clock = clock
        self._deadline = clock() + MAX_SECONDS
        self._messages = self._offsets = self._bytes = 0

    def run(self, rounds: Sequence[Sequence[_Place]]) -> None:
        """rounds: places that are read together, one of each partition at most."""
        places = [place for some in rounds for place in some]
        step = max(1, min(_PROBE, -(-self._count // len(places))))
        steps = {id(place): step for place in places}
        while self._messages < self._count and self.cut_by is None and any(place.unread for place in places):
            for some in rounds:
                if self.cut_by is None:
                    self._read([(place, steps[id(place)]) for place in some if place.unread])
            steps = self._next_steps(places)

    def _read(self, wanted: Sequence[tuple[_Place, int]]) -> None:
        self._reader.restart([found for place, step in wanted if (found := place.take(step)).size])
        while self._reader.remaining() and self.cut_by is None:
            raw = self._reader.read_slice(max_rows=MAX_SAMPLE, max_bytes=max(1, MAX_BYTES - self._bytes))
            self.slices.append(raw)
            self._messages += len(raw)
            self._offsets += sum(r.size for r in raw.ranges)
            self._bytes += sum(
                len(value or b"") + len(key or b"") for key, value in zip(raw.keys, raw.values, strict=True)
            )
            if self._bytes >= MAX_BYTES:
                self.cut_by = f"it holds {MAX_BYTES >> 20} MiB"
            elif self._clock() > self._deadline:
                self.cut_by = f"it took {MAX_SECONDS:.0f} s"
            self._on_progress(min(self._messages, self._count), self._count)

    def _next_steps(self, places: Sequence[_Place]) -> dict[int, int]:
        """Offsets to read of each place next, by what the messages so far have come to."""
        left = self._count - self._messages
        if self._messages:
            average = max(1, self._bytes // self._messages)
            left = min(left, max(1, (MAX_BYTES - self._bytes) // average))
        per_message = self._offsets / self._messages if self._messages else 100.0
        unread = sum(place.unread for place in places) or 1
        return {id(place): -(-int(left * per_message * place.unread) // unread) for place in places}


def _places(logs: Mapping[TopicPartition, Watermarks], count: int) -> list[list[_Place]]:
    """What is read, in rounds: of each partition with messages one place a round."""
    sizes = {tp: log.high - log.low for tp, log in sorted(logs.items()) if log.high > log.low}
    total = sum(sizes.values())
    most = max(_FEWEST_PLACES, min(_MOST_PLACES, count // (_PROBE * max(1, len(sizes)))))
    rounds: list[list[_Place]] = [[] for _ in range(most)]
    for tp, size in sizes.items():
        own = 1 if count >= total else min(most, size)
        bounds = [logs[tp].low + size * at // own for at in range(own + 1)]
        for at, (start, end) in enumerate(pairwise(bounds)):
            rounds[at].append(_Place(tp, start, end, is_last=0 < at == own - 1))
    return [some for some in rounds if some]


def _joined(slices: Sequence[RawSlice]) -> RawSlice:
    """The slices as one, range after range. Ranges that meet stay apart."""
    parts = []
    for raw in slices:
        bounds = np.searchsorted(raw.range_index, np.arange(len(raw.ranges) + 1)).tolist()
        parts += [(raw.ranges[at], raw.absent[at], raw, slice(*bounds[at : at + 2])) for at in range(len(raw.ranges))]
    parts.sort(key=lambda part: part[0])
    empty = np.empty(0, dtype=np.int64)
    return RawSlice(
        ranges=tuple(part[0] for part in parts),
        range_index=np.repeat(np.arange(len(parts), dtype=np.int32), [p[3].stop - p[3].start for p in parts]),
        offsets=np.concatenate([empty, *(raw.offsets[own] for *_, raw, own in parts)]),
        timestamps_ms=np.concatenate([empty, *(raw.timestamps_ms[own] for *_, raw, own in parts)]),
        keys=[key for *_, raw, own in parts for key in raw.keys[own]],
        values=[value for *_, raw, own in parts for value in raw.values[own]],
        headers=[headers for *_, raw, own in parts for headers in raw.headers[own]],
        absent=tuple(part[1] for part in parts),
    )


def chosen(raw: RawSlice, numbers: Sequence[int]) -> RawSlice:
    """The messages of these numbers alone, in their order; the ranges stay as they are."""
    at = np.array(numbers, dtype=np.int64)
    return replace(
        raw,
        range_index=raw.range_index[at],
        offsets=raw.offsets[at],
        timestamps_ms=raw.timestamps_ms[at],
        keys=[raw.keys[n] for n in numbers],
        values=[raw.values[n] for n in numbers],
        headers=[raw.headers[n] for n in numbers],
        orders=raw.orders[at],
    )
