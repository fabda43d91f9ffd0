"""Reads exact offset ranges, slice by slice, without joining a consumer group."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import is_, methodcaller
from typing import TypedDict

import numpy as np
from confluent_kafka import KafkaError
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.errors import DataLoss, LogCut, RangeReadTimeout
from kafka_ingest.kafka.client_protocols import AssigningConsumer, KafkaMessage
from kafka_ingest.kafka.consumer import PREFETCH_KBYTES, QUEUED_MESSAGES
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.kafka.metadata import LOGGER
from kafka_ingest.kafka.partition_batch import PartitionBatch, by_partition
from kafka_ingest.slices import LeaderEpoch, LogIdentity, OffsetRange, RawSlice, TopicPartition, ranges_text

_error = methodcaller("error")

# Longest silence from the broker, while messages are due, before the read gives up.
SILENCE_SECONDS = 60.0
_POLL_SECONDS = 0.25
# What one call takes out of librdkafka's queue: so many messages, or about so many bytes by the size of those before. The client
# copies them, so a call that emptied the queue of large messages would hold all of it a second time.
_CONSUME_AT_ONCE = 2_000
_CONSUME_BYTES = 4 * 1024 * 1024
_FIRST_CONSUME = 64
# What a partition that is done may hold beyond its range's end, for when the range grows, before it is paused.
_HELD_MESSAGES = 2_000
_HELD_BYTES = 4 * 1024 * 1024
# librdkafka tells of a log that was cut under the code of any other reset, and where it was cut in words only.
_RESETS = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION)
_CUT = KafkaError(KafkaError._LOG_TRUNCATION).str()
_CUT_AT = re.compile(r"at offset (\d+) .*: broker end offset is (-?\d+)")


class _Epoch(TypedDict, total=False):
    """What is left out where no epoch is known."""

    leader_epoch: int


@dataclass(slots=True)
class _Partition:
    """Reading state of one partition: `position` is the next offset to deliver, `end` where the range ends."""

    position: int
    end: int
    assigned: int
    """Where the consumer began: at `position`, or behind the last message whose leader epoch is known."""
    pending: list[PartitionBatch] = field(default_factory=list)
    """Messages fetched and not yet delivered, in offset order."""
    delivered_to: int = 0
    """Every message below this offset has been fetched: the offset of the last end-of-partition event."""
    leader_epoch: LeaderEpoch | None = None
    """Of the last message delivered."""
    is_paused: bool = False

    @property
    def held_to(self) -> int:
        """The offset behind the last message that was fetched and not yet delivered; 0 where none was."""
        return int(self.pending[-1].offsets[-1]) + 1 if self.pending else 0

    @property
    def is_done(self) -> bool:
        """Whether all messages of the range have been delivered."""
        return self.position >= self.end


class RangeReader:
    """Delivers the messages of ranges in slices bounded by rows and bytes; ranges may be added while it reads.

    Each slice says exactly which part of the ranges it covers; successive slices tile them in order. A range ends
    where the consumer's position passes its end, or at the end of the log, never on a count, as offsets are not dense
    (compaction, aborted transactions, markers). The caller closes it.
    """

    def __init__(
        self,
        consumer: AssigningConsumer,
        *,
        reopen: Callable[[int], AssigningConsumer] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """reopen: opens a consumer that holds at most so many messages of a partition, for messages whose keys and headers
        are large; without it, none is opened."""
        self._reading = consumer
        self._reopen = reopen
        self._queued_messages = QUEUED_MESSAGES
        self._clock = clock
        self._partitions: dict[TopicPartition, _Partition] = {}
        self._at_once = _FIRST_CONSUME

    def read_to(
        self, ranges: Iterable[OffsetRange], leader_epochs: Mapping[TopicPartition, LeaderEpoch | None] | None = None
    ) -> None:
        """Read these ranges from now on. A range that continues where the reader stands only moves the end, and keeps
        what has been fetched already; any other one starts the partition anew.

        leader_epochs: of the last message before a range, where one is known; the broker is asked whether its log still
        holds that message (OffsetForLeaderEpoch, KIP-320), and `read_slice` raises LogCut where it does not.
        """
        for wanted in ranges:
            state = self._partitions.get(wanted.topic_partition)
            if state is not None and state.position == wanted.start:
                state.end = wanted.end
                if state.is_paused and state.position < state.end:
                    with kafka_errors(f"reading {wanted}"):
                        self._reading.resume([KafkaTopicPartition(wanted.topic, wanted.partition)])
                    state.is_paused = False
                continue
            if state is not None:
                self._leave(wanted.topic_partition)
            self._assign(wanted, (leader_epochs or {}).get(wanted.topic_partition))

    def _assign(self, wanted: OffsetRange, known: LeaderEpoch | None) -> None:
        # Between the last message and the range's start lie markers, perhaps of a later epoch: what is asked is whether
        # the log holds the epoch up to the message.
        start = wanted.start if known is None else min(wanted.start, known.offset + 1)
        epoch: _Epoch = {} if known is None else {"leader_epoch": known.epoch}
        self._partitions[wanted.topic_partition] = _Partition(wanted.start, wanted.end, start)
        with kafka_errors(f"reading {wanted}"):
            self._reading.incremental_assign([KafkaTopicPartition(wanted.topic, wanted.partition, start, **epoch)])

    def restart(
        self, ranges: Iterable[OffsetRange], leader_epochs: Mapping[TopicPartition, LeaderEpoch | None] | None = None
    ) -> None:
        """Forget everything and read these ranges. Where the reader already stands at a range's start, it keeps what it
        has fetched. leader_epochs: as in `read_to`."""
        wanted = {r.topic_partition: r for r in ranges}
        for tp in [tp for tp in self._partitions if tp not in wanted]:
            self._leave(tp)
        self.read_to(wanted.values(), leader_epochs)

    def _leave(self, tp: TopicPartition) -> None:
        state = self._partitions.pop(tp)
        with kafka_errors(f"leaving {tp}"):
            if state.is_paused:  # it may be assigned again
                self._reading.resume([KafkaTopicPartition(*tp)])
            self._reading.incremental_unassign([KafkaTopicPartition(*tp)])

    def positions(self) -> dict[TopicPartition, int]:
        """Next offset to deliver of each partition being read."""
        return {tp: state.position for tp, state in sorted(self._partitions.items())}

    def follow(self, seconds: float) -> None:
        """Move the ranges' ends to the last messages that have come, and to the log's where the broker has told them. Where
        nothing of the ranges remains, wait for the first to come, at most so long.

        Raises as `read_slice` does, but for the silence.
        """
        is_waiting = all(state.is_done for state in self._partitions.values())
        self._fetch(self._at_once, seconds if is_waiting else 0.0, is_first_enough=True)
        known = {tp: max(s.end, s.held_to, s.delivered_to) for tp, s in self._partitions.items()}
        self.read_to(OffsetRange(*tp, s.position, max(s.position, known[tp])) for tp, s in self._partitions.items())

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
        Raises RangeReadTimeout after SILENCE_SECONDS without progress, DataLoss, LogCut, KafkaUnavailable, AccessDenied.
        """
        starts = {tp: state.position for tp, state in sorted(self._partitions.items()) if not state.is_done}
        taken: dict[TopicPartition, list[PartitionBatch]] = {tp: [] for tp in starts}
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
            if rows > before or self._fetch(min(self._at_once, max_rows)):
                deadline = self._clock() + SILENCE_SECONDS
            elif self._clock() > deadline:
                raise RangeReadTimeout(
                    f"nothing came for {SILENCE_SECONDS:.0f} s while reading {ranges_text(self.remaining())}; "
                    "is the broker (or the partition's leader) up? It is retried.",
                    ranges=self.remaining(),
                    seconds=SILENCE_SECONDS,
                )
        return self._slice(starts, taken)

    def _take(
        self, tp: TopicPartition, into: list[PartitionBatch], rows: int, size: int, max_rows: int, max_bytes: int
    ) -> tuple[int, int, bool]:
        """Move pending messages of one partition into the slice. The last value says that the slice is full."""
        state = self._partitions[tp]
        is_full = False
        while state.pending:
            first = state.pending[0]
            wanted = int(np.searchsorted(first.offsets, state.end))
            fitting = min(wanted, max_rows - rows)
            if fitting and size + int(first.sizes[:fitting].sum()) > max_bytes:
                fitting = int(np.searchsorted(np.cumsum(first.sizes[:fitting]), max_bytes - size, side="right"))
                if not rows:
                    fitting = max(1, fitting)  # a message larger than the bound comes alone
            if fitting:
                part, rest = first.split(fitting)
                into.append(part)
                rows += fitting
                size += int(part.sizes.sum())
                state.position = int(part.offsets[-1]) + 1
                epoch = part.leader_epoch
                state.leader_epoch = None if epoch is None else LeaderEpoch(epoch, int(part.offsets[-1]))
                state.pending[:1] = [rest] if len(rest) else []
            if fitting < len(first):
                is_full = fitting < wanted
                break
        # The offsets up to the next message, or to the end of the log, hold nothing for us.
        if state.pending:
            state.position = max(state.position, min(int(state.pending[0].offsets[0]), state.end))
        else:
            state.position = max(state.position, min(state.delivered_to, state.end))
        return rows, size, is_full

    def _fetch(self, count: int, seconds: float = _POLL_SECONDS, *, is_first_enough: bool = False) -> bool:
        """Get messages from librdkafka's queue into the pending lists; is_first_enough: not waiting for others once one has come.
        False where nothing came that is still to be read: neither errors nor what lies beyond the ranges count against the
        silence of a partition that is due."""
        with kafka_errors("reading messages"):
            messages = list(self._reading.consume(1 if is_first_enough else count, seconds))
            if is_first_enough and messages and count > 1:
                messages += self._reading.consume(count - 1, 0.0)
        errors = list(map(_error, messages))
        has_progress = False
        if not all(map(is_, errors, repeat(None))):  # not by ==, which a KafkaError does not bear
            failed = [message for message, error in zip(messages, errors, strict=True) if error is not None]
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
            for message in failed:
                has_progress = self._is_progress(message) or has_progress
        done: set[TopicPartition] = set()
        size = 0
        for tp, part in by_partition(messages):
            size += int(part.sizes.sum())
            state = self._partitions.get(tp)
            if state is not None and part.offsets[0] < state.position:  # a range may begin behind its known epoch
                part = part.split(int(np.searchsorted(part.offsets, state.position)))[1]
            if state is None or not len(part):
                continue
            state.pending.append(part)
            has_progress = has_progress or not state.is_done
            if state.is_done:
                done.add(tp)
        if messages:
            self._at_once = max(1, min(_CONSUME_AT_ONCE, _CONSUME_BYTES * len(messages) // max(1, size)))
            self._queue_fewer(size, messages)
        for tp in done:
            self._pause_if_ahead(tp)
        return has_progress

    def _is_progress(self, failed: KafkaMessage) -> bool:
        """What comes in a message's place: the end of a partition, or an error. Raises what does not pass by itself."""
        error = failed.error()
        assert error is not None  # noqa: S101  what has none is a message
        if error.code() == KafkaError._PARTITION_EOF:
            # The end of what a read_committed consumer may see. It may lie below a range's end, where the range was
            # planned from a newer end than this fetch saw: then more is to come.
            state = self._partitions.get(_partition_of(failed))
            offset = failed.offset()
            assert offset is not None  # noqa: S101  the end is one
            if state is None or offset <= state.delivered_to:
                return False
            state.delivered_to = offset
            return not state.is_done
        if error.code() in _RESETS:
            tp = _partition_of(failed)
            if _CUT in error.str():
                raise _log_cut(tp, error)
            state = self._partitions.get(tp)
            if state is not None and state.assigned < state.position:
                # The log holds the known epoch, and retention deleted what lies behind it, up to the range or beyond.
                wanted = OffsetRange(*tp, state.position, state.end)
                self._leave(tp)
                self._assign(wanted, None)
                return False
            raise DataLoss(
                f"{failed.topic()}[{failed.partition()}]: Kafka deleted offsets of {ranges_text(self.remaining())} while "
                f"they were read ({error.str()}). Run again: the plan says how many are gone and what to do.",
                ranges=self.remaining(),
            )
        if not error.retriable():
            raise kafka_error(error, f"reading {failed.topic()}[{failed.partition()}]@{failed.offset()}")
        return False

    def _pause_if_ahead(self, tp: TopicPartition) -> None:
        """Keep a partition whose range is done from filling the memory with what lies beyond, while others are read."""
        state = self._partitions[tp]
        count, held = sum(map(len, state.pending)), sum(int(part.sizes.sum()) for part in state.pending)
        if not state.is_paused and (count >= _HELD_MESSAGES or held >= _HELD_BYTES):
            with kafka_errors(f"pausing {tp}"):
                self._reading.pause([KafkaTopicPartition(*tp)])
            state.is_paused = True

    def _queue_fewer(self, size: int, messages: Sequence[KafkaMessage]) -> None:
        """Where keys and headers are large, go on by a consumer that holds fewer messages."""
        most = PREFETCH_KBYTES * 1024
        if self._reopen is None or size * self._queued_messages <= most * len(messages):
            return
        uncounted = (size - sum(map(len, messages))) // len(messages)
        fitting = max(1, most // max(1, uncounted))
        if 2 * fitting > self._queued_messages:
            return
        self._queued_messages = fitting
        LOGGER.info("keys and headers of %s bytes a message: the client holds %s messages of them", uncounted, fitting)
        before, self._reading = self._reading, self._reopen(fitting)
        with kafka_errors("reading by another consumer"):
            before.incremental_unassign([KafkaTopicPartition(*tp) for tp in self._partitions])
            before.close()
            for tp, state in self._partitions.items():
                last = state.pending[-1] if state.pending else None
                state.assigned = state.position if last is None else int(last.offsets[-1]) + 1
                epoch: _Epoch = {} if last is None or last.leader_epoch is None else {"leader_epoch": last.leader_epoch}
                self._reading.incremental_assign([KafkaTopicPartition(*tp, state.assigned, **epoch)])
                if state.is_paused:
                    self._reading.pause([KafkaTopicPartition(*tp)])

    def _slice(self, starts: dict[TopicPartition, int], taken: dict[TopicPartition, list[PartitionBatch]]) -> RawSlice:
        ranges = tuple(OffsetRange(*tp, start, self._partitions[tp].position) for tp, start in starts.items())
        counts = [sum(map(len, taken[tp])) for tp in starts]
        parts = [part for tp in starts for part in taken[tp]]
        kept = [i for i, r in enumerate(ranges) if r.size]
        index = np.repeat(np.cumsum([1 if r.size else 0 for r in ranges], dtype=np.int32) - 1, counts)
        empty = np.empty(0, dtype=np.int64)
        return RawSlice(
            ranges=tuple(ranges[i] for i in kept),
            range_index=index.astype(np.int32),
            offsets=np.concatenate([empty, *(part.offsets for part in parts)]),
            timestamps_ms=np.concatenate([empty, *(part.timestamps_ms for part in parts)]),
            keys=list(chain.from_iterable(part.keys for part in parts)),
            values=list(chain.from_iterable(part.values for part in parts)),
            headers=list(chain.from_iterable(part.headers for part in parts)),
            absent=tuple(ranges[i].size - counts[i] for i in kept),
            logs=tuple(LogIdentity(leader_epoch=self._last_epoch(taken, ranges[i])) for i in kept),
        )

    def _last_epoch(
        self, taken: Mapping[TopicPartition, list[PartitionBatch]], covered: OffsetRange
    ) -> LeaderEpoch | None:
        return self._partitions[covered.topic_partition].leader_epoch if taken[covered.topic_partition] else None

    def close(self) -> None:
        """Release the consumer. Idempotent."""
        self._reading.close()


def _partition_of(event: KafkaMessage) -> TopicPartition:
    """Of an event that is about one partition."""
    topic, partition = event.topic(), event.partition()
    assert topic is not None  # noqa: S101  librdkafka names it
    assert partition is not None  # noqa: S101
    return TopicPartition(topic, partition)


def _log_cut(tp: TopicPartition, error: KafkaError) -> LogCut:
    found = _CUT_AT.search(error.str())
    position, end = (0, -1) if found is None else (int(found[1]), int(found[2]))
    return LogCut(
        f"{tp}: the log was cut below offset {position}, from which it is to be read ({error.str()})",
        topic=tp.topic,
        partition=tp.partition,
        position=position,
        end=None if end < 0 else end,
    )
