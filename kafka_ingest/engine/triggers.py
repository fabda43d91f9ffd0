"""When the next slice of a drain is due: as long as a range lasts, or as messages come."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

from kafka_ingest.engine.shards import Shard
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream

# While a run stays alive: how long it waits for messages before it looks whether it is to end, how often it looks for more where
# they are too few, and the least time from slice to slice, which bounds the ledger's growth (five rows a second per Kafka
# partition at most) and costs half of it in freshness.
WAIT_SECONDS = 0.25
POLL_SECONDS = 0.05
SLICE_SECONDS = 0.2
# Until the time of a slice there is nothing to look for, unless so many wait that one look would not take what comes until then.
MANY_MESSAGES = 1_000
# How often it asks for the log's ends, which tell of partitions that are gone and of messages that do not come.
ENDS_SECONDS = 2.0
# How often a live run looks whether the stream's topics and partitions have changed.
TOPICS_SECONDS = 30.0
# A live run that has caught up asks this often whether others need its slot, and not before it has been worth its start.
SLOT_SECONDS = 5.0
FIRST_SLOT_SECONDS = 15.0


class Trigger(Protocol):
    """What a drain asks before each slice."""

    def wait_until_due(self) -> bool:
        """True when a slice is due, False when there will be none."""


class RangeTrigger:
    """Due as long as something of the ranges remains."""

    def __init__(self, reader: RangeReader, stopping: Event) -> None:
        self._reader = reader
        self._stopping = stopping

    def wait_until_due(self) -> bool:
        return not self._stopping.is_set() and bool(self._reader.remaining())


class LiveTrigger:
    """Follows the log as messages come, and says when a slice is due: `take(min_messages, within=max_wait_seconds)`."""

    def __init__(
        self,
        stream: Stream,
        shard: Shard,
        metadata: KafkaMetadata,
        reader: RangeReader,
        stopping: Event,
        time_up: float,
        is_slot_wanted: Callable[[], bool],
    ) -> None:
        """is_slot_wanted: whether another run waits for this one to end. Asked by the thread that reads."""
        self._stream = stream
        self._shard = shard
        self._metadata = metadata
        self._reader = reader
        self._stopping = stopping
        self._time_up = time_up
        self._partitions = tuple(reader.positions())
        now = time.monotonic()
        self._last_slice = now - SLICE_SECONDS
        self._ends_asked = now - ENDS_SECONDS
        self._topics_seen = now
        self._is_slot_wanted = is_slot_wanted
        self._slot_asked = now + FIRST_SLOT_SECONDS - SLOT_SECONDS
        self._gives_way = False

    def wait_until_due(self) -> bool:
        """As `Trigger`. False when the run's time is up, the stream's partitions have changed, nothing has come for as long as
        it lingers, or it has caught up and another run waits for its slot: then it loads first what waits, however little."""
        policy = self._stream.batch
        idle_since = time.monotonic()
        waiting_since: float | None = None
        while not self._stopping.is_set():
            now = time.monotonic()
            if self._gives_way or now >= self._time_up or self._partitions_changed(now):
                return False
            if not self._follow(now):
                return False  # its topic was deleted; the next run reads the others
            waiting = sum(r.size for r in self._reader.remaining())
            if waiting < policy.min_messages and self._is_asked_to_end(now):
                self._gives_way = True
                return waiting > 0
            if waiting:
                waiting_since = now if waiting_since is None else waiting_since
                is_paced = now - self._last_slice >= SLICE_SECONDS or waiting >= policy.max_rows
                if is_paced and (waiting >= policy.min_messages or now - waiting_since >= policy.max_wait_seconds):
                    self._last_slice = now
                    return True
            elif now - idle_since >= policy.linger:
                return False
            if waiting:
                until_slice = 0.0 if waiting >= MANY_MESSAGES else self._last_slice + SLICE_SECONDS - time.monotonic()
                self._stopping.wait(max(POLL_SECONDS, until_slice))
        return False

    def _follow(self, now: float) -> bool:
        """Move the ranges' ends to what has come, waiting a little where nothing has, and now and then to the log's; False where
        a partition is gone."""
        self._reader.follow(WAIT_SECONDS)
        if now - self._ends_asked < ENDS_SECONDS:
            return True
        self._ends_asked = now
        ends = self._metadata.ends(self._partitions)
        if len(ends) < len(self._partitions):
            return False
        positions = self._reader.positions()
        self._reader.read_to(OffsetRange(*tp, position, max(position, ends[tp])) for tp, position in positions.items())
        return True

    def _is_asked_to_end(self, now: float) -> bool:
        if now - self._slot_asked < SLOT_SECONDS:
            return False
        self._slot_asked = now
        return self._is_slot_wanted()

    def _partitions_changed(self, now: float) -> bool:
        if now - self._topics_seen < TOPICS_SECONDS:
            return False
        self._topics_seen = now
        return self._shard.of(self._metadata.topics(self._stream).partitions) != self._partitions
