"""When the next slice of a drain is due: as long as a range lasts, or as messages come."""

from __future__ import annotations

import time
from threading import Event
from typing import Protocol

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream

# While a run stays alive: how often it asks for new messages, and the least time from slice to slice, which bounds the
# ledger's growth (two rows a second per Kafka partition at most) and costs half of it in freshness.
POLL_SECONDS = 0.1
SLICE_SECONDS = 0.5
# How often a live run looks whether the stream's topics and partitions have changed.
TOPICS_SECONDS = 30.0


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
    """Follows the ends of the log, and says when a slice is due: `take(min_messages, within=max_wait_seconds)`."""

    def __init__(
        self,
        stream: Stream,
        metadata: KafkaMetadata,
        reader: RangeReader,
        stopping: Event,
        time_up: float,
    ) -> None:
        self._stream = stream
        self._metadata = metadata
        self._reader = reader
        self._stopping = stopping
        self._time_up = time_up
        self._partitions = tuple(reader.positions())
        now = time.monotonic()
        self._last_slice = now - SLICE_SECONDS
        self._topics_seen = now

    def wait_until_due(self) -> bool:
        """As `Trigger`. False when the run's time is up, the stream's partitions have changed, or nothing has come for
        as long as it lingers."""
        policy = self._stream.batch
        idle_since = time.monotonic()
        waiting_since: float | None = None
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= self._time_up or self._partitions_changed(now):
                return False
            waiting = self._follow_ends()
            if waiting is None:
                return False  # its topic was deleted; the next run reads the others
            if waiting:
                waiting_since = now if waiting_since is None else waiting_since
                is_paced = now - self._last_slice >= SLICE_SECONDS or waiting >= policy.max_rows
                if is_paced and (waiting >= policy.min_messages or now - waiting_since >= policy.max_wait_seconds):
                    self._last_slice = now
                    return True
            elif now - idle_since >= policy.linger:
                return False
            self._stopping.wait(POLL_SECONDS)
        return False

    def _follow_ends(self) -> int | None:
        """Move the ranges' ends to the log's; how many offsets wait. None where a partition is gone."""
        ends = self._metadata.ends(self._partitions)
        if len(ends) < len(self._partitions):
            return None
        positions = self._reader.positions()
        self._reader.read_to(OffsetRange(*tp, position, max(position, ends[tp])) for tp, position in positions.items())
        return sum(r.size for r in self._reader.remaining())

    def _partitions_changed(self, now: float) -> bool:
        if now - self._topics_seen < TOPICS_SECONDS:
            return False
        self._topics_seen = now
        return self._metadata.topics(self._stream).partitions != self._partitions
