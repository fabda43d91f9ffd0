"""Messages as they come from the client, turned into columns at once: nothing is done message by message in Python."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import chain, pairwise
from operator import itemgetter, methodcaller

import numpy as np
import numpy.typing as npt

from kafka_ingest.kafka.client_protocols import KafkaMessage
from kafka_ingest.slices import Headers, TopicPartition

_topic, _partition, _offset = methodcaller("topic"), methodcaller("partition"), methodcaller("offset")
_leader_epoch = methodcaller("leader_epoch")
_timestamp, _key, _value, _headers = (methodcaller(n) for n in ("timestamp", "key", "value", "headers"))

# Kafka's header names are bytes; the client makes text of them, and fails with a SystemError where they are no UTF-8.
UNREADABLE: Headers = (("(a header name is not UTF-8, so the client gives no headers)", None),)


@dataclass(frozen=True, slots=True)
class PartitionBatch:
    """Successive messages of one partition and one leader epoch, in offset order."""

    offsets: npt.NDArray[np.int64]
    timestamps_ms: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    """Bytes of each message: value, key, and the names and values of its headers."""
    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[Headers | None]
    leader_epoch: int | None = None
    """None where the broker says none."""

    def __len__(self) -> int:
        return len(self.values)

    def split(self, at: int) -> tuple[PartitionBatch, PartitionBatch]:
        """The first `at` messages, and the others."""
        return self._part(slice(at), self.leader_epoch), self._part(slice(at, None), self.leader_epoch)

    def _part(self, part: slice, leader_epoch: int | None) -> PartitionBatch:
        return PartitionBatch(
            self.offsets[part],
            self.timestamps_ms[part],
            self.sizes[part],
            self.keys[part],
            self.values[part],
            self.headers[part],
            leader_epoch,
        )


def by_partition(messages: Sequence[KafkaMessage]) -> Iterator[tuple[TopicPartition, PartitionBatch]]:
    """Messages of the client, none of them an error, in pieces of one partition and leader epoch each, in the order they
    came."""
    if not messages:
        return
    topics = list(map(_topic, messages))
    partitions = np.fromiter(map(_partition, messages), dtype=np.int64, count=len(messages))
    changes = partitions[1:] != partitions[:-1]
    if topics.count(topics[0]) != len(topics):
        numbers = {topic: number for number, topic in enumerate(set(topics))}
        codes = np.fromiter(map(numbers.__getitem__, topics), dtype=np.int64, count=len(topics))
        changes |= codes[1:] != codes[:-1]
    starts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(messages)]
    whole = _columns(messages)
    for start, end in pairwise(starts):
        tp = TopicPartition(topics[start], int(partitions[start]))
        for part, epoch in _by_epoch(messages, start, end):
            yield tp, whole._part(part, epoch)


def _by_epoch(messages: Sequence[KafkaMessage], start: int, end: int) -> Iterator[tuple[slice, int | None]]:
    """Pieces of one leader epoch. Epochs only rise along a log, so as a rule the first and the last message are asked."""
    first, last = _leader_epoch(messages[start]), _leader_epoch(messages[end - 1])
    if first == last:
        yield slice(start, end), first
        return
    epochs = list(map(_leader_epoch, messages[start:end]))
    changes = [i for i in range(1, len(epochs)) if epochs[i] != epochs[i - 1]]
    for a, b in pairwise([0, *changes, len(epochs)]):
        yield slice(start + a, start + b), epochs[a]


def _columns(messages: Sequence[KafkaMessage]) -> PartitionBatch:
    count = len(messages)
    keys, headers = list(map(_key, messages)), _all_headers(messages)
    return PartitionBatch(
        offsets=np.fromiter(map(_offset, messages), dtype=np.int64, count=count),
        timestamps_ms=np.fromiter(map(itemgetter(1), map(_timestamp, messages)), dtype=np.int64, count=count),
        sizes=_sizes(messages, keys, headers),
        keys=keys,
        values=list(map(_value, messages)),
        headers=headers,
    )


def _sizes(
    messages: Sequence[KafkaMessage], keys: Sequence[bytes | None], headers: Sequence[Headers | None]
) -> npt.NDArray[np.int64]:
    count = len(messages)
    sizes = _lengths(messages, count)
    if keys.count(None) < count:
        sizes += _lengths(keys, count)
    if headers.count(None) < count:
        listed = [each or () for each in headers]
        ends = 2 * np.cumsum(np.fromiter(map(len, listed), dtype=np.int64, count=count))  # a name and a value each
        up_to = np.append(0, np.cumsum(_lengths(list(chain.from_iterable(chain.from_iterable(listed))), int(ends[-1]))))
        sizes += np.diff(up_to[ends], prepend=0)
    return sizes


def _lengths(each: Sequence[Sized | None], count: int) -> npt.NDArray[np.int64]:
    """Of texts and bytes; 0 for None."""
    try:
        return np.fromiter(map(len, each), dtype=np.int64, count=count)  # type: ignore[arg-type]  # a None is a TypeError
    except TypeError:
        return np.fromiter((len(one) if one else 0 for one in each), dtype=np.int64, count=count)


def _all_headers(messages: Sequence[KafkaMessage]) -> list[Headers | None]:
    left, found = iter(messages), list[Headers | None]()
    while True:
        try:
            found.extend(map(_headers, left))
        except (SystemError, UnicodeDecodeError):
            # The message is not asked again: its second answer would be a list with a hole in it.
            found.append(UNREADABLE)
        else:
            return found
