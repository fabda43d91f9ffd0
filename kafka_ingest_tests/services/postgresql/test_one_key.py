"""Writers of one key in any order, on a real PostgreSQL: what is later stays."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.postgresql.steps import at, pin, t
from kafka_ingest_tests.support.loads import account, balances, gone

pytestmark = pytest.mark.services

SECONDS = 20.0


class Held:
    """A load in a thread of its own that stops before a step until it is let go."""

    def __init__(self, target: Target, raw: RawSlice, step: LoadStep) -> None:
        self._step = step
        self._reached, self._go = threading.Event(), threading.Event()
        self.result = ThreadPoolExecutor(1).submit(target.load, raw, run_id="held", at_step=self._at)
        assert self._reached.wait(SECONDS)

    def _at(self, step: str) -> None:
        if step == self._step:
            self._reached.set()
            assert self._go.wait(SECONDS)

    def let_go(self) -> None:
        self._go.set()
        self.result.result(SECONDS)


def both(target: Target, first: RawSlice, second: RawSlice) -> None:
    """`first` has written all its rows and is not committed as `second` comes, which has to wait for it."""
    held = Held(target, first, LoadStep.DEAD_LETTERS)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, second, run_id="other")
        wait_for_a_lock(target)
        assert not other.done()
        held.let_go()
        other.result(SECONDS)


def wait_for_a_lock(target: Target) -> None:
    deadline = time.monotonic() + SECONDS
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while target.all(query) == [(0,)]:
        assert time.monotonic() < deadline, "the second load does not wait for the first one"
        time.sleep(0.02)


@pytest.mark.parametrize("row_is_first", [True, False])
@pytest.mark.parametrize("is_deleted", [True, False])
@pytest.mark.parametrize("before", ["nothing", "a row", "a tombstone"])
def test_a_row_and_a_tombstone_of_one_key_leave_what_is_later(
    target: Target, row_is_first: bool, is_deleted: bool, before: str
) -> None:
    """Each order of arrival, each order of messages, whatever stands there before: neither is committed as the other comes."""
    if before != "nothing":
        target.load(at(0, account("k", 0, timestamp_ms=t(0)) if before == "a row" else gone("k", timestamp_ms=t(0))))
    start = 0 if before == "nothing" else 1
    row = at(0, account("k", 1, timestamp_ms=t(100)), start=start)
    tombstone = at(1, gone("k", timestamp_ms=t(200 if is_deleted else 50)))
    both(target, *((row, tombstone) if row_is_first else (tombstone, row)))
    assert balances(target) == ({} if is_deleted else {"k": 1})
    assert target.all("SELECT id, _kafka_offset FROM t_account_tombstones") == [("k", 0)]  # no claim is left


@pytest.mark.parametrize("first_is_later", [True, False])
def test_a_new_key_of_two_partitions_keeps_the_later_message(target: Target, first_is_later: bool) -> None:
    one_time, other_time = (t(200), t(100)) if first_is_later else (t(100), t(200))
    both(target, at(0, account("k", 1, timestamp_ms=one_time)), at(1, account("k", 2, timestamp_ms=other_time)))
    assert balances(target) == {"k": 1 if first_is_later else 2}
    assert target.dead_letters() == []


def test_many_keys_written_from_both_sides_at_once_keep_the_later_messages(target: Target) -> None:
    keys = [f"k{number}" for number in range(300)]
    rounds = 6

    def side(partition: int) -> None:
        order = keys if partition else keys[::-1]
        for number in range(rounds):
            stamp = t(10 * number + (partition + number) % 2)
            rows = [account(key, 100 * partition + number, timestamp_ms=stamp) for key in order]
            deletes = [gone(key, timestamp_ms=t(10 * number + 2)) for key in keys[number::7]]
            start = 400 * number
            part = Part([*rows, *deletes], partition=partition, start=start, end=start + 400)
            target.load(raw_slice(part), run_id=f"p{partition}")

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(side, 0), pool.submit(side, 1)]:
            each.result(120)
    # In the last round, which has an odd number, partition 0's rows are later, and both sides' tombstones later still.
    assert balances(target) == {key: rounds - 1 for key in keys if key not in keys[rounds - 1 :: 7]}
    assert target.all("SELECT count(*) FROM t_account_tombstones WHERE _kafka_offset < 0") == [(0,)]


@pytest.mark.parametrize("order", [("a", "B"), ("B", "a")])
def test_topics_of_one_time_are_compared_by_code_point(url: sa.URL, order: tuple[str, str]) -> None:
    """In English `a` comes before `B`; by code point, as pandas compares, after it."""
    stream = Stream(name="mixed", topics=("a", "B"), routes=dict(MIXED.routes), route_by=MIXED.route_by)
    target = Target(stream, PostgreSQLSink(url))
    assert target.all("SELECT 'a' < 'B'") == [(True,)], "this server would not tell the difference"
    pin(target, *(TopicPartition(topic, 0) for topic in order))
    for topic in order:
        target.load(raw_slice(Part([account("k", ord(topic), timestamp_ms=t(1))], topic=topic)))
    assert balances(target) == {"k": ord("a")}
    target.sink.close()
