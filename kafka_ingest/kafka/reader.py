"""Reads exact offset ranges, slice by slice, without joining a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.errors import DataLoss, RangeReadTimeout
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.kafka.metadata import LOGGER
from kafka_ingest.records import OffsetRange, RawSlice, TopicPartition, ranges_text
from kafka_ingest.settings import Settings

# Longest silence from the broker, while messages are due, before the read gives up.
SILENCE_SECONDS = 60.0
_POLL_SECONDS = 0.25
_CONSUME_AT_ONCE = 2_000
# What a partition that is done may hold beyond its range's end, for when the range grows, before it is paused.
_HELD_MESSAGES = 2_000
_HELD_BYTES = 4 * 1024 * 1024
# What librdkafka may hold beyond the slice in the making, all partitions together.
_PREFETCH_KBYTES = 96 * 1024


@dataclass(slots=True)
class _Partition:
    """Reading state of one partition: `position` is the next offset to deliver, `end` where the range ends."""

    position: int
    end: int
    pending: list[Any] = field(default_factory=list)
    """Messages fetched and not yet delivered, in offset order."""
    delivered_to: int = 0
    """Every message below this offset has been fetched: the offset of the last end-of-partition event."""
    is_paused: bool = False

    @property
    def is_done(self) -> bool:
        return self.position >= self.end


def open_consumer(settings: Settings, group_id: str, *, partitions: int) -> Consumer:
    """A consumer that only assigns: it never subscribes, joins, rebalances or commits by itself.

    partitions: how many it is going to read; they share the memory for fetched messages.
    """
    ours = {
        "group.id": group_id,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "enable.partition.eof": "true",
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "allow.auto.create.topics": "false",
        # Per partition; librdkafka's default is 64 MiB for each.
        "queued.max.messages.kbytes": str(max(1024, _PREFETCH_KBYTES // max(1, partitions))),
    }
    with kafka_errors("configuring the Kafka client"):
        return Consumer(dict(settings.kafka) | ours | {"logger": LOGGER})


class RangeReader:
    """Delivers the messages of ranges in slices bounded by rows and bytes; ranges may be added while it reads.

    Each slice says exactly which part of the ranges it covers; successive slices tile them in order. A range ends
    where the consumer's position passes its end, or at the end of the log, never on a count, as offsets are not dense
    (compaction, aborted transactions, markers). The caller closes it.
    """

    def __init__(self, consumer: Consumer, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._consumer = consumer
        self._clock = clock
        self._partitions: dict[TopicPartition, _Partition] = {}

    def read_to(self, ranges: Iterable[OffsetRange]) -> None:
        """Read these ranges from now on. A range that continues where the reader stands only moves the end, and keeps
        what has been fetched already; any other one starts the partition anew."""
        for wanted in ranges:
            state = self._partitions.get(wanted.topic_partition)
            if state is not None and state.position == wanted.start:
                state.end = wanted.end
                if state.is_paused and state.position < state.end:
                    with kafka_errors(f"reading {wanted}"):
                        self._consumer.resume([KafkaTopicPartition(wanted.topic, wanted.partition)])
                    state.is_paused = False
                continue
            if state is not None:
                self._leave(wanted.topic_partition)
            self._partitions[wanted.topic_partition] = _Partition(wanted.start, wanted.end)
            with kafka_errors(f"reading {wanted}"):
                self._consumer.incremental_assign([KafkaTopicPartition(wanted.topic, wanted.partition, wanted.start)])

    def restart(self, ranges: Iterable[OffsetRange]) -> None:
        """Forget everything and read these ranges. Where the reader already stands at a range's start, it keeps what it
        has fetched."""
        wanted = {r.topic_partition: r for r in ranges}
        for tp in [tp for tp in self._partitions if tp not in wanted]:
            self._leave(tp)
        self.read_to(wanted.values())

    def _leave(self, tp: TopicPartition) -> None:
        state = self._partitions.pop(tp)
        with kafka_errors(f"leaving {tp}"):
            if state.is_paused:  # it may be assigned again
                self._consumer.resume([KafkaTopicPartition(*tp)])
            self._consumer.incremental_unassign([KafkaTopicPartition(*tp)])

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to deliver of each partition being read."""
        return {tp: state.position for tp, state in sorted(self._partitions.items())}

    def remaining(self) -> tuple[OffsetRange, ...]:
        """What the next slices will cover."""
        return tuple(
            OffsetRange(*tp, state.position, state.end)
            for tp, state in sorted(self._partitions.items())
            if not state.is_done
        )

    def read_slice(self, *, max_rows: int, max_bytes: int) -> RawSlice:
        """The next messages of the ranges: all that remain, or as many as the bounds allow.

        A message larger than `max_bytes` comes alone. Empty only when nothing remained.
        Raises RangeReadTimeout after SILENCE_SECONDS without progress, KafkaUnavailable, AccessDenied.
        """
        starts = {tp: state.position for tp, state in sorted(self._partitions.items()) if not state.is_done}
        taken: dict[TopicPartition, list[Any]] = {tp: [] for tp in starts}
        rows = size = 0
        deadline = self._clock() + SILENCE_SECONDS
        while starts:
            before = rows
            for tp in starts:
                rows, size, is_full = self._take(tp, taken[tp], rows, size, max_rows, max_bytes)
                if is_full:
                    return self._slice(starts, taken)
            if all(self._partitions[tp].is_done for tp in starts):
                break
            if rows > before or self._fetch(min(_CONSUME_AT_ONCE, max_rows)):
                deadline = self._clock() + SILENCE_SECONDS
            elif self._clock() > deadline:
                raise RangeReadTimeout(
                    f"nothing came for {SILENCE_SECONDS:.0f} s while reading {ranges_text(self.remaining())}; "
                    "is the broker (or the partition's leader) up? It is retried."
                )
        return self._slice(starts, taken)

    def _take(
        self, tp: TopicPartition, into: list[Any], rows: int, size: int, max_rows: int, max_bytes: int
    ) -> tuple[int, int, bool]:
        """Move pending messages of one partition into the slice. The last value says that the slice is full."""
        state = self._partitions[tp]
        pending = state.pending
        count = 0
        is_full = False
        for message in pending:
            if message.offset() >= state.end:
                break
            weight = len(message)
            if rows >= max_rows or (rows and size + weight > max_bytes):
                is_full = True
                break
            rows += 1
            size += weight
            count += 1
        into.extend(pending[:count])
        del pending[:count]
        if count:
            state.position = into[-1].offset() + 1
        # The offsets up to the next message, or to the end of the log, hold nothing for us.
        if pending:
            state.position = max(state.position, min(pending[0].offset(), state.end))
        else:
            state.position = max(state.position, min(state.delivered_to, state.end))
        return rows, size, is_full

    def _fetch(self, count: int) -> bool:
        """Get messages from librdkafka's queue into the pending lists. False where nothing came that is still to be read:
        neither errors nor what lies beyond the ranges count against the silence of a partition that is due."""
        with kafka_errors("reading messages"):
            messages = self._consumer.consume(count, _POLL_SECONDS)
        has_progress = False
        done: set[TopicPartition] = set()
        for message in messages:
            error = message.error()
            tp = TopicPartition(message.topic(), message.partition())
            state = self._partitions.get(tp)
            if error is None:
                if state is not None:
                    state.pending.append(message)
                    has_progress = has_progress or not state.is_done
                    if state.is_done:
                        done.add(tp)
            elif error.code() == KafkaError._PARTITION_EOF:
                # The end of what a read_committed consumer may see. It may lie below a range's end, where the range was
                # planned from a newer end than this fetch saw: then more is to come.
                if state is not None and message.offset() > state.delivered_to:
                    state.delivered_to = message.offset()
                    has_progress = has_progress or not state.is_done
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                raise DataLoss(
                    f"{message.topic()}[{message.partition()}]: Kafka deleted offsets of {ranges_text(self.remaining())} while "
                    f"they were read ({error.str()}). Run again: the plan says how many are gone and what to do."
                )
            elif not error.retriable():
                raise kafka_error(error, f"reading {message.topic()}[{message.partition()}]@{message.offset()}")
        for tp in done:
            self._pause_if_ahead(tp)
        return has_progress

    def _pause_if_ahead(self, tp: TopicPartition) -> None:
        """Keep a partition whose range is done from filling the memory with what lies beyond, while others are read."""
        state = self._partitions[tp]
        held = sum(len(message) for message in state.pending)
        if not state.is_paused and (len(state.pending) >= _HELD_MESSAGES or held >= _HELD_BYTES):
            with kafka_errors(f"pausing {tp}"):
                self._consumer.pause([KafkaTopicPartition(*tp)])
            state.is_paused = True

    def _slice(self, starts: dict[TopicPartition, int], taken: dict[TopicPartition, list[Any]]) -> RawSlice:
        ranges = tuple(OffsetRange(*tp, start, self._partitions[tp].position) for tp, start in starts.items())
        counts = [len(taken[tp]) for tp in starts]
        messages = [message for tp in starts for message in taken[tp]]
        kept = [i for i, r in enumerate(ranges) if r.size]
        index = np.repeat(np.cumsum([1 if r.size else 0 for r in ranges], dtype=np.int32) - 1, counts)
        return RawSlice(
            ranges=tuple(ranges[i] for i in kept),
            range_index=index.astype(np.int32),
            offsets=np.fromiter((m.offset() for m in messages), dtype=np.int64, count=len(messages)),
            timestamps_ms=np.fromiter((m.timestamp()[1] for m in messages), dtype=np.int64, count=len(messages)),
            keys=[m.key() for m in messages],
            values=[m.value() for m in messages],
            headers=[m.headers() for m in messages],
            absent=tuple(ranges[i].size - counts[i] for i in kept),
        )

    def close(self) -> None:
        """Release the consumer. Idempotent."""
        self._consumer.close()
