"""When the next slice of a live run is due, by a clock of the test's own and messages that come at a rate."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafka_ingest.engine import triggers
from kafka_ingest.engine.shards import WHOLE
from kafka_ingest.engine.triggers import MANY_MESSAGES, POLL_SECONDS, SLICE_SECONDS, WAIT_SECONDS, LiveTrigger
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.support.world import STREAM

HOUR = 3_600.0
PARTITION = TopicPartition("events", 0)
AT_ONCE = 2_000  # what a look takes


class Log:
    """A partition into which `rate` messages come each second, its reader, the broker and the clock."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.now = 1_000.0
        self.began = self.now
        self.read = self.seen = 0
        self.looks: list[float] = []

    @property
    def end(self) -> int:
        return int((self.now - self.began) * self.rate + 1e-6)

    def positions(self) -> dict[TopicPartition, int]:
        return {PARTITION: self.read}

    def ends(self, _partitions: object) -> dict[TopicPartition, int]:
        return {PARTITION: self.end}

    def read_to(self, ranges: object) -> None:
        (wanted,) = cast("list[OffsetRange]", list(cast("Any", ranges)))
        self.seen = wanted.end

    def follow(self, seconds: float) -> None:
        self.looks.append(self.now)
        if self.end == self.read:
            until_next = (self.end + 1) / self.rate + self.began - self.now if self.rate else HOUR
            self.now += min(seconds, until_next)
        self.seen = max(self.seen, min(self.end, max(self.seen, self.read) + AT_ONCE))

    def remaining(self) -> tuple[OffsetRange, ...]:
        return (OffsetRange(*PARTITION, self.read, self.seen),) if self.seen > self.read else ()

    def is_set(self) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def topics(self, _stream: object) -> SimpleNamespace:
        return SimpleNamespace(partitions=(PARTITION,))


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Log, LiveTrigger]]:
    def make(rate: float, **policy: float) -> tuple[Log, LiveTrigger]:
        log = Log(rate)
        monkeypatch.setattr(triggers, "time", SimpleNamespace(monotonic=lambda: log.now))
        stream = dataclasses.replace(STREAM, batch=BatchPolicy(**cast("Any", policy)))
        like = cast("Any", log)
        return log, LiveTrigger(stream, WHOLE, like, like, like, log.now + HOUR, lambda: False)

    return make


def slices(log: Log, trigger: LiveTrigger, count: int) -> list[tuple[float, int]]:
    """When each of so many was due, and what was in it."""
    found = []
    for _ in range(count):
        assert trigger.wait_until_due()
        found.append((log.now, log.seen - log.read))
        log.read = log.seen
    return found


def pauses(found: list[tuple[float, int]]) -> list[float]:
    return [later - earlier for (earlier, _), (later, _) in itertools.pairwise(found)]


def test_a_steady_stream_is_loaded_slice_by_slice_with_few_looks_between(live: Any) -> None:
    log, trigger = live(100)
    found = pauses(slices(log, trigger, 20))
    assert min(found[1:]) >= SLICE_SECONDS
    assert max(found[1:]) < SLICE_SECONDS + POLL_SECONDS
    assert len(log.looks) <= 3 * 20


def test_a_busy_stream_is_looked_at_often_enough_to_keep_up(live: Any) -> None:
    log, trigger = live(15 * MANY_MESSAGES)
    found = slices(log, trigger, 30)
    assert min(pauses(found)) >= SLICE_SECONDS
    assert log.end - log.read <= 2 * AT_ONCE


def test_a_full_slice_does_not_wait_for_its_time(live: Any) -> None:
    log, trigger = live(30 * MANY_MESSAGES, max_rows=2 * AT_ONCE)
    found = slices(log, trigger, 5)
    assert min(pauses(found)) < SLICE_SECONDS
    assert max(count for _, count in found) >= 2 * AT_ONCE


def test_too_few_are_loaded_when_the_first_has_waited_long_enough(live: Any) -> None:
    log, trigger = live(0.5, min_messages=10, max_wait_seconds=4)
    ((due, count),) = slices(log, trigger, 1)
    assert due - log.began == pytest.approx(2 + 4, abs=WAIT_SECONDS + POLL_SECONDS)
    assert count == log.end


def test_a_run_ends_when_nothing_has_come_for_as_long_as_it_lingers(live: Any) -> None:
    log, trigger = live(0, linger_seconds=5)
    assert not trigger.wait_until_due()
    assert log.now - log.began == pytest.approx(5, abs=2 * WAIT_SECONDS)
