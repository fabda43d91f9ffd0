"""Looks end in time, are not multiplied by those who ask, and never give what is old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from kafka_ingest.checks.metric_families import LAG, UP, Sample
from kafka_ingest.cli.bounded_looks import LOOKS_AT_A_TIME, BoundedLooks, Subject
from kafka_ingest.errors import DatabaseUnavailable


class Thing:
    """Something to look at: counts the looks, and does in one what it is told."""

    def __init__(self, name: str = "s", act: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.act = act
        self.looks = 0

    def look(self) -> list[Sample]:
        self.looks += 1
        self.act()
        return [LAG.sample(self.name, value=self.looks)]

    def subject(self) -> Subject:
        return Subject(self.name, self.look, lambda value: UP.sample(self.name, value=value))


def bounded(*things: Thing, within: float = 30.0, keep: float = 0.0, said: list[str] | None = None) -> BoundedLooks:
    return BoundedLooks(
        [t.subject() for t in things],
        within_seconds=within,
        keep_seconds=keep,
        say=(said if said is not None else []).append,
    )


def values(samples: list[Sample]) -> dict[tuple[str, str], float]:
    return {(s.family.name.removeprefix("kafka_ingest_"), s.labels[0]): s.value for s in samples}


def fail(text: str) -> None:
    raise DatabaseUnavailable(text)


@contextmanager
def blocked() -> Iterator[threading.Event]:
    """An event that is set at the end, whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def test_what_was_just_found_is_given_again_and_what_is_older_is_not() -> None:
    thing = Thing()
    kept, fresh = bounded(thing, keep=60.0), bounded(thing)
    assert values(kept.samples()) == values(kept.samples()) == {("up", "s"): 1, ("lag_offsets", "s"): 1}
    assert values(fresh.samples())["lag_offsets", "s"] == 2
    assert values(fresh.samples())["lag_offsets", "s"] == 3


def test_several_who_ask_at_once_share_one_look() -> None:
    thing = Thing(act=lambda: time.sleep(0.05))
    looks = bounded(thing, keep=60.0)
    with ThreadPoolExecutor(8) as pool:
        found = [values(f.result(30)) for f in [pool.submit(looks.samples) for _ in range(8)]]
    assert found == [{("up", "s"): 1, ("lag_offsets", "s"): 1}] * 8
    assert thing.looks == 1


def test_a_failed_look_is_down_and_nothing_else_while_others_are_as_they_are() -> None:
    bad, good, said = Thing("bad"), Thing("good"), list[str]()
    looks = bounded(bad, good, said=said)
    assert values(looks.samples())["lag_offsets", "bad"] == 1
    assert not looks.has_failed()
    bad.act = partial(fail, "gone")
    for _ in range(3):
        assert values(looks.samples()) == {("up", "bad"): 0, ("up", "good"): 1, ("lag_offsets", "good"): good.looks}
    assert looks.has_failed()
    bad.act = partial(fail, "gone for good")
    looks.samples()
    bad.act = lambda: None
    assert values(looks.samples())["up", "bad"] == 1
    assert said == ["bad: DatabaseUnavailable: gone", "bad: DatabaseUnavailable: gone for good", "bad: answers again"]


def test_a_look_that_is_late_is_down_and_is_not_begun_twice() -> None:
    said: list[str] = []
    with blocked() as go:
        slow, good = Thing("slow", lambda: go.wait(30)), Thing("good")
        looks = bounded(slow, good, within=0.3, said=said)
        begun = time.monotonic()
        for _ in range(2):
            found = values(looks.samples())
            assert (found["up", "slow"], found["up", "good"]) == (0, 1)
        assert time.monotonic() - begun < 10
        assert slow.looks == 1
        go.set()
        deadline = time.monotonic() + 10
        while values(looks.samples())["up", "slow"] != 1:
            assert time.monotonic() < deadline
    assert said[0] == (
        "slow: LookUnanswered: not answered within 0.3 s; the look goes on, and the next scrape asks for it again"
    )


def test_looks_at_one_thing_never_overlap_whoever_asks() -> None:
    running = threading.Lock()

    def act() -> None:
        assert running.acquire(blocking=False)
        time.sleep(0.02)
        running.release()

    def slow_clock() -> float:
        time.sleep(0.01)
        return time.monotonic()

    thing = Thing(act=act)
    looks = BoundedLooks(
        [thing.subject()], within_seconds=30.0, keep_seconds=0.0, say=list[str]().append, clock=slow_clock
    )
    looks.samples()
    with ThreadPoolExecutor(8) as pool:
        found = [f.result(30) for f in [pool.submit(looks.samples) for _ in range(8)]]
    assert [values(each)["up", "s"] for each in found] == [1] * 8
    assert thing.looks == 9


def test_so_many_are_looked_at_together_and_no_more() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def act() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1

    found = bounded(*(Thing(f"s{n}", act) for n in range(12))).samples()
    assert len(found) == 24
    assert most == LOOKS_AT_A_TIME


def test_a_bug_is_not_dressed_up_as_a_stream_that_is_down() -> None:
    with pytest.raises(ZeroDivisionError):
        bounded(Thing(act=lambda: 1 / 0)).samples()
