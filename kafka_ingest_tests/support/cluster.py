"""A fake cluster in memory: logs with gaps, a consumer and metadata over them."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from kafka_ingest.kafka.metadata import KafkaMetadata, TopicState, Watermarks
from kafka_ingest.settings import Settings
from kafka_ingest.slices import NO_ORDER, TopicPartition
from kafka_ingest.streams.stream import Stream

SETTINGS: Settings = Settings.from_environment({})


@dataclass(frozen=True)
class FakeMessage:
    """confluent_kafka.Message, as far as the reader looks."""

    at: TopicPartition
    number: int
    body: bytes | None = b"{}"
    stamp: int = 0
    failure: Any = None
    name: bytes | None = None
    epoch: int | None = None

    def topic(self) -> str:
        return self.at.topic

    def partition(self) -> int:
        return self.at.partition

    def offset(self) -> int:
        return self.number

    def value(self) -> bytes | None:
        return self.body

    def key(self) -> bytes | None:
        return self.name

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return (1, self.stamp)

    def leader_epoch(self) -> int | None:
        return self.epoch

    def error(self) -> Any:
        return self.failure

    def __len__(self) -> int:
        return len(self.body or b"")


@dataclass
class Log:
    """One partition: the offsets below `end` that hold a message. All others are compacted or markers."""

    messages: dict[int, FakeMessage]
    end: int
    start: int = 0

    def following(self, offset: int, count: int) -> list[FakeMessage]:
        return [self.messages[o] for o in sorted(self.messages) if offset <= o < self.end][:count]


def log(tp: TopicPartition, offsets: Iterable[int], end: int, *, size: int = 10, start: int = 0) -> Log:
    """A log with messages of `size` bytes at these offsets."""
    found = {o: FakeMessage(tp, o, f"{o}".encode().ljust(size, b" "), 1_000 * o) for o in offsets}
    return Log(found, end, start)


@dataclass
class FakeConsumer:
    """Delivers what is assigned, a few messages of some partition at a time, and the end-of-partition events.

    As librdkafka does it: an end is told once until the log grows, what was fetched for a partition that is no longer
    assigned is not delivered, and a paused partition is silent.
    """

    logs: Mapping[TopicPartition, Log]
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    silent: bool = False
    trouble: list[FakeMessage] = field(default_factory=list)
    """Delivered before anything else, one by one."""
    tick: Callable[[], None] = lambda: None
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    told_end: dict[TopicPartition, int] = field(default_factory=dict)
    paused: set[TopicPartition] = field(default_factory=set)
    asked: list[int] = field(default_factory=list)
    is_closed: bool = False
    committed: list[dict[str, int]] = field(default_factory=list)
    group: dict[TopicPartition, int] = field(default_factory=dict)
    """The consumer group's offsets, where somebody wants to see them."""

    def incremental_assign(self, wanted: list[Any]) -> None:
        for each in wanted:
            tp = TopicPartition(each.topic, each.partition)
            assert tp not in self.positions, "assigned twice: librdkafka refuses that"
            self.positions[tp] = each.offset
            self.told_end.pop(tp, None)

    def incremental_unassign(self, wanted: list[Any]) -> None:
        for each in wanted:
            del self.positions[TopicPartition(each.topic, each.partition)]

    def pause(self, wanted: list[Any]) -> None:
        self.paused |= {TopicPartition(each.topic, each.partition) for each in wanted}

    def resume(self, wanted: list[Any]) -> None:
        self.paused -= {TopicPartition(each.topic, each.partition) for each in wanted}

    def consume(self, count: int, _timeout: float) -> list[FakeMessage]:
        self.asked.append(count)
        assert len(self.asked) < 20_000, "the reader asks for ever"
        self.tick()
        if self.trouble:
            return [self.trouble.pop(0)]
        if self.silent:
            return []
        found: list[FakeMessage] = []
        order = sorted(set(self.positions) - self.paused)
        self.chance.shuffle(order)
        for tp in order:
            piece = self.logs[tp].following(self.positions[tp], min(count - len(found), self.chance.randint(0, 4)))
            if piece:
                self.positions[tp] = piece[-1].number + 1
            found += piece
            if len(found) < count and not self.logs[tp].following(self.positions[tp], 1):
                found += self._end_event(tp)
        return found

    def _end_event(self, tp: TopicPartition) -> list[FakeMessage]:
        end = max(self.logs[tp].end, self.positions[tp])
        if self.told_end.get(tp) == end or self.chance.random() < 0.3:  # told once, and maybe later
            return []
        self.told_end[tp] = self.positions[tp] = end
        return [FakeMessage(tp, end, failure=KafkaError(KafkaError._PARTITION_EOF))]

    def commit(self, *, offsets: list[Any], asynchronous: bool) -> list[Any]:
        assert not asynchronous
        self.committed.append({f"{o.topic}[{o.partition}]": o.offset for o in offsets})
        self.group |= {TopicPartition(o.topic, o.partition): o.offset for o in offsets}
        return offsets

    def close(self) -> None:
        self.is_closed = True


class FakeMetadata(KafkaMetadata):
    """Metadata of logs in memory; a timestamp is 1000 times the offset unless a message says otherwise."""

    def __init__(self, logs: dict[TopicPartition, Log], *, topic_ids: dict[str, str] | None = None) -> None:
        self.logs = logs
        self.ids = topic_ids or {}
        self.committed: dict[TopicPartition, int] = {}
        self.requests = 0
        self.id: str | None = "a-cluster"

    def cluster_id(self) -> str | None:
        return self.id

    def topics(self, stream: Stream) -> TopicState:
        partitions = tuple(sorted(tp for tp in self.logs if stream.takes_topic(tp.topic)))
        names = {tp.topic for tp in partitions}
        missing = tuple(n for n in stream.topic_names if n not in names)
        return TopicState(partitions, {n: self.ids.get(n, f"id-of-{n}") for n in names}, missing)

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        return tuple(sorted(tp for tp in self.logs if tp.topic == topic))

    def first_timestamps(self, streams: Sequence[Stream], instant: dt.datetime) -> dict[str, dt.datetime]:
        self.requests += 2
        found = {}
        for stream in streams:
            at = {tp: self._first_at(tp, instant.timestamp() * 1000) for tp in self.topics(stream).partitions}
            stamps = [self.logs[tp].messages[offset].stamp for tp, offset in at.items() if offset >= 0]
            if stamps:
                found[stream.name] = dt.datetime.fromtimestamp(min(stamps) / 1000, dt.timezone.utc)
        return found

    def first_later(self, timestamps: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[int, int]]:
        self.requests += 1 if timestamps else 0
        found = {tp: self._first_at(tp, stamp + 1) for tp, stamp in timestamps.items()}
        return {tp: (o, self.logs[tp].messages[o].stamp if o >= 0 else -1) for tp, o in found.items()}

    def topic_ids(self, names: Collection[str]) -> dict[str, str]:
        existing = {tp.topic for tp in self.logs}
        return {n: self.ids.get(n, f"id-of-{n}") for n in names if n in existing}

    def watermarks(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        return {tp: Watermarks(self.logs[tp].start, self.logs[tp].end) for tp in partitions if tp in self.logs}

    def ends(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.logs[tp].end for tp in partitions if tp in self.logs}

    def offsets_for_instants(
        self, partitions: Iterable[TopicPartition], *instants: dt.datetime
    ) -> list[dict[TopicPartition, int]]:
        wanted = list(partitions)
        self.requests += len(instants) if wanted else 0
        return [{tp: self._first_at(tp, instant.timestamp() * 1000) for tp in wanted} for instant in instants]

    def _first_at(self, tp: TopicPartition, stamp: float) -> int:
        messages = self.logs[tp].messages
        return next((offset for offset in sorted(messages) if messages[offset].stamp >= stamp), -1)

    def largest_timestamps_below(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        return {
            tp: max((m.stamp for offset, m in self.logs[tp].messages.items() if offset < end), default=NO_ORDER)
            for tp, end in offsets.items()
        }

    def group_offsets(self, group_id: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.committed[tp] for tp in partitions if tp in self.committed}
