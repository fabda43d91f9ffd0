"""Shards: the Kafka partitions of one stream divided among runs that load side by side."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from kafka_ingest.slices import TopicPartition

_TEXT = re.compile(r"(?P<number>[0-9]{1,4})/(?P<count>[0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class Shard:
    """Number `number` (from 0) of `count` shards. Written `0/4`."""

    number: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """The shard a text names; the whole stream where it names none."""
        found = _TEXT.fullmatch(text or "")
        number, count = (0, 1) if found is None else (int(found["number"]), int(found["count"]))
        return cls(number, count) if number < count else cls()

    @classmethod
    def all(cls, count: int) -> list[Shard]:
        """A stream's shards, which have each of its partitions once."""
        return [cls(number, count) for number in range(count)]

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole stream."""
        return self.count == 1

    def has(self, tp: TopicPartition) -> bool:
        """Whether the partition is this shard's: neighbours of a topic go to different ones. A partition that is added moves no
        other."""
        return (zlib.crc32(tp.topic.encode()) + tp.partition) % self.count == self.number

    def of(self, partitions: Iterable[TopicPartition]) -> tuple[TopicPartition, ...]:
        """Those of these partitions that are this shard's, in their order."""
        return tuple(tp for tp in partitions if self.has(tp))


WHOLE = Shard()
"""The whole stream."""
