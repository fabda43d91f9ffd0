"""Several streams in one run: each gets its turn, keeps its lease, and is alone with its trouble."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.engine import group_run, lease_keeper
from kafka_ingest.engine.backoff import Trouble
from kafka_ingest.engine.group_run import GroupRun
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import WHOLE
from kafka_ingest.errors import AccessDenied, DatabaseUnavailable, KafkaUnavailable, LeaseLost
from kafka_ingest.ledger.leases import IN_GROUP, leases_of, revoke_lease
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.support.grouped import GroupWorld, drained, small_stream

NAMES = ("a", "b", "c")
ALL = list(range(7))
LINGERING = BatchPolicy(max_wait_seconds=0, linger_seconds=600)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GroupWorld:
    return GroupWorld(tmp_path, monkeypatch, *map(small_stream, NAMES))


@pytest.fixture
def lingering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GroupWorld:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(group_run, "RENEW_SECONDS", 0.05)
    return GroupWorld(tmp_path, monkeypatch, *(small_stream(name, batch=LINGERING) for name in NAMES))


def test_a_run_reads_all_of_its_streams_by_one_consumer_and_commits_for_them_by_another(world: GroupWorld) -> None:
    run = world.run()
    assert sorted(set(drained(run))) == list(NAMES)
    assert {name: world.rows(name) for name in NAMES} == dict.fromkeys(NAMES, ALL)
    assert world.metadata.committed == {TopicPartition(name, 0): 7 for name in NAMES}
    assert len(world.consumers) == 2
    assert all(consumer.is_closed for consumer in world.consumers)
    assert run.failures == {}


def test_streams_of_other_consumer_groups_are_committed_by_consumers_of_those(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = GroupWorld(tmp_path, monkeypatch, small_stream("a"), small_stream("b", group_id="others"))
    drained(world.run())
    committed = [list(c.committed[-1]) for c in world.consumers if c.committed]
    assert sorted(committed) == [["a[0]"], ["b[0]"]]
    assert len(world.consumers) == 4


def test_a_stream_with_much_to_read_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_run, "TURN_SECONDS", 0.0)
    large = small_stream("large", batch=BatchPolicy(max_rows=5, max_wait_seconds=0, linger_seconds=0))
    world = GroupWorld(tmp_path, monkeypatch, large, *map(small_stream, NAMES))
    world.grow("large", 60)
    order = drained(world.run())
    assert world.rows("large") == list(range(60))
    last_of_others = max(order.index(name) for name in NAMES)
    assert order[:last_of_others].count("large") < 8
    assert order.count("large") == 12


def test_a_stream_whose_table_cannot_be_loaded_is_left_alone_and_the_others_go_on(
    lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Ingestion.load

    def broken(self: Ingestion, *arguments: Any) -> Any:
        if self.stream.name == "b":
            raise DatabaseUnavailable("b: the table is gone")
        return load(self, *arguments)

    monkeypatch.setattr(Ingestion, "load", broken)
    run = lingering.run()
    order = drained(run, lambda: "b" in run.failures and lingering.rows("a") == lingering.rows("c") == ALL)
    assert "b" not in order
    assert lingering.rows("b") == []
    assert {name: str(error) for name, error in run.failures.items()} == {"b": "b: the table is gone"}
    assert run.troubles["b"].failures == 1


def test_a_streams_own_code_that_fails_is_that_streams_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*_arguments: object) -> Any:
        raise ValueError("a bug")

    world = GroupWorld(tmp_path, monkeypatch, small_stream("a"), small_stream("b", steps=(step,)))
    run = world.run()
    drained(run)
    assert world.rows("a") == ALL
    assert set(run.failures) == {"b"}


def test_a_stream_that_failed_is_tried_again_and_then_is_no_trouble_any_more(
    lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.engine.backoff.FIRST_BACKOFF_SECONDS", 0.05)
    load = Ingestion.load
    tries: list[float] = []

    def broken_twice(self: Ingestion, *arguments: Any) -> Any:
        if self.stream.name == "b" and len(tries) < 2:
            tries.append(time.monotonic())
            raise DatabaseUnavailable("b: once more")
        return load(self, *arguments)

    monkeypatch.setattr(Ingestion, "load", broken_twice)
    run = lingering.run()
    drained(run, lambda: lingering.rows("b") == ALL and not run.troubles)
    assert len(tries) == 2
    assert run.failures == {}


def test_a_run_ends_though_a_stream_is_waited_for(world: GroupWorld) -> None:
    """The sensor launches the next one when it may be tried again."""
    run = world.run(troubles={"b": Trouble(3, time.time())})
    drained(run)
    assert (world.rows("a"), world.rows("b")) == (ALL, [])
    assert run.troubles["b"].failures == 3
    assert run.failures == {}  # it was not tried


def test_a_topic_that_is_refused_is_that_streams_trouble(world: GroupWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = world.metadata.ends

    def refused(partitions: Any) -> Any:
        wanted = list(partitions)
        if any(tp.topic == "b" for tp in wanted):
            raise AccessDenied("b is not ours")
        return ends(wanted)

    monkeypatch.setattr(world.metadata, "ends", refused)
    run = world.run()
    drained(run)
    assert (world.rows("a"), world.rows("b"), world.rows("c")) == (ALL, [], ALL)
    assert set(run.failures) == {"b"}


def test_where_no_stream_can_be_looked_at_the_run_fails(world: GroupWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(_partitions: Any) -> Any:
        raise KafkaUnavailable("no broker")

    monkeypatch.setattr(world.metadata, "ends", down)
    with pytest.raises(KafkaUnavailable, match="no broker"):
        drained(world.run())


def test_a_topic_that_does_not_exist_yet_is_waited_for(lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_run, "TOPICS_SECONDS", 0.05)
    late = TopicPartition("b", 0), lingering.logs.pop(TopicPartition("b", 0))
    run = lingering.run()

    def appears() -> bool:
        if lingering.rows("a") == ALL and late[0] not in lingering.logs:
            lingering.logs[late[0]] = late[1]
        return lingering.rows("b") == ALL

    drained(run, appears)
    assert run.failures == {}


def test_a_run_has_a_lease_of_each_stream_and_gives_all_up(lingering: GroupWorld) -> None:
    run = lingering.run()
    seen: list[str] = []

    def held() -> bool:
        if not lingering.rows("a") == lingering.rows("b") == lingering.rows("c") == ALL:
            return False
        with lingering.sink.engine.connect() as connection:
            seen[:] = sorted(f"{lease.stream} {lease.shard}" for lease in leases_of(connection, NAMES))
        return True

    drained(run, held)
    assert seen == [f"{name} 0/1 group" for name in NAMES]
    lingering.streams = tuple(map(small_stream, NAMES))
    drained(lingering.run("ends"))
    with lingering.sink.engine.connect() as connection:
        assert [lease.run_id for lease in leases_of(connection, NAMES)] == ["run"] * 3  # it was killed; the other ended


def test_a_run_whose_leases_were_revoked_loads_nothing_more_of_any_stream(lingering: GroupWorld) -> None:
    run = lingering.run()

    def revoked() -> bool:
        if lingering.rows("a") == lingering.rows("b") == lingering.rows("c") == ALL:
            with lingering.sink.engine.begin() as connection:
                for lease in leases_of(connection, NAMES):
                    revoke_lease(connection, lease)
            lingering.grow("a", 9)
        return False

    with pytest.raises(LeaseLost):
        drained(run, revoked)
    run.close()
    assert lingering.rows("a") == ALL


def test_a_stream_is_left_to_a_run_of_its_own_that_is_newer_while_that_lives(lingering: GroupWorld) -> None:
    """As where it was taken out of the group; a person's run that ends gives it back."""
    run, own = lingering.run(), None
    steps: list[str] = []

    def course() -> bool:
        nonlocal own
        loaded = {name: len(lingering.rows(name)) for name in NAMES}
        if not steps and loaded == dict.fromkeys(NAMES, 7):
            own = Ingestion(small_stream("b", group=None), lingering.settings, run_id="own")
            own.plan((), "live")
            own.keep_lease()
            steps.append("taken")
            lingering.began = time.monotonic()  # type: ignore[attr-defined]
        elif steps == ["taken"] and time.monotonic() - lingering.began > 0.3:  # type: ignore[attr-defined]
            for name in NAMES:
                lingering.grow(name, 9)
            steps.append("grown")
        elif steps == ["taken", "grown"] and loaded == {"a": 9, "b": 7, "c": 9}:
            assert own is not None
            own.close()
            own = Ingestion(small_stream("b", group=None), lingering.settings, run_id="own")
            own.keep_lease()
            own.release_lease()
            steps.append("given back")
        return loaded == dict.fromkeys(NAMES, 9)

    drained(run, course)
    assert own is not None
    own.close()
    assert steps == ["taken", "grown", "given back"]


def test_a_run_of_a_stream_alone_ends_as_its_group_loads_it(lingering: GroupWorld) -> None:
    """As where it was moved into the group: it sees it where it finds that another run has loaded what it has read."""
    lingering.grow("b", 60)
    alone = small_stream("b", group=None, batch=BatchPolicy(max_rows=5, max_wait_seconds=0, linger_seconds=600))
    own = Ingestion(alone, lingering.settings, run_id="own")
    batch = own.plan((), "live")
    own.keep_lease()
    results = own.drain(batch)
    next(results)
    drained(lingering.run(), lambda: len(lingering.rows("b")) == 60)
    list(results)  # ends, though it would linger for ten minutes
    own.close()
    assert lingering.rows("b") == list(range(60))


def test_a_run_that_has_caught_up_gives_its_slot_away_and_loads_first_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_run, "FIRST_SLOT_SECONDS", 0.0)
    monkeypatch.setattr(group_run, "SLOT_SECONDS", 0.0)
    slow = BatchPolicy(min_messages=100, max_wait_seconds=600)
    world = GroupWorld(tmp_path, monkeypatch, *(small_stream(name, batch=slow) for name in NAMES))
    asked: list[bool] = []

    def is_wanted() -> bool:
        asked.append(True)
        return len(asked) > 20

    drained(world.run(is_slot_wanted=is_wanted))
    assert {name: world.rows(name) for name in NAMES} == dict.fromkeys(NAMES, ALL)


def test_a_run_begins_no_turn_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = BatchPolicy(max_wait_seconds=0, linger_seconds=600, max_run_seconds=1)
    world = GroupWorld(tmp_path, monkeypatch, *(small_stream(name, batch=short) for name in NAMES))
    began = time.monotonic()
    drained(world.run())
    assert 1 <= time.monotonic() - began < 10
    with world.sink.engine.connect() as connection:
        assert leases_of(connection, NAMES) == []


def test_a_run_whose_time_is_up_goes_on_with_what_no_newer_run_has_taken_over(
    lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its successor has a process to start and a hundred streams to make ready; messages would wait for all of that."""
    short = replace(LINGERING, max_run_seconds=1)
    lingering.streams = tuple(replace(stream, batch=short) for stream in lingering.streams)
    began, counts = time.monotonic(), dict.fromkeys(NAMES, 7)
    keeper = lease_keeper.LeaseKeeper(lingering.sink, "next")
    loaded_late: set[str] = set()

    def goes_on() -> bool:
        for name in NAMES:
            counts[name] += 1
            lingering.grow(name, counts[name])
            if time.monotonic() - began > 2 and len(lingering.rows(name)) > late.setdefault(
                name, len(lingering.rows(name))
            ):
                loaded_late.add(name)
        for name in sorted(loaded_late - taken):
            keeper.acquire(name, f"{WHOLE}{IN_GROUP}", lambda: None)
            taken.add(name)
        return False

    late: dict[str, int] = {}
    taken: set[str] = set()
    drained(lingering.run(), goes_on)
    keeper.close()
    assert taken == set(NAMES), "each was loaded after the run's time was up"
    assert time.monotonic() - began < group_run.TAKEOVER_SECONDS / 2, "it ended as all were taken over"


def test_a_run_whose_time_is_up_does_not_wait_for_a_successor_for_ever(
    lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_run, "TAKEOVER_SECONDS", 1.0)
    short = replace(LINGERING, max_run_seconds=1)
    lingering.streams = tuple(replace(stream, batch=short) for stream in lingering.streams)
    began, count = time.monotonic(), 7

    def goes_on() -> bool:
        nonlocal count
        count += 1
        lingering.grow("a", count)
        return False

    drained(lingering.run(), goes_on)
    assert 2 <= time.monotonic() - began < 30


def test_a_stream_has_its_turn_before_the_next_one_is_made_ready(
    lingering: GroupWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that this one succeeds leaves a stream as soon as it is made ready."""
    steps: list[tuple[str, str]] = []
    make_ready, turn = GroupRun._make_ready, GroupRun._turn
    for name, work in (("ready", make_ready), ("turn", turn)):

        def noted(run: GroupRun, member: Any, name: str = name, work: Any = work) -> bool:
            steps.append((name, member.name))
            return bool(work(run, member))

        monkeypatch.setattr(GroupRun, f"_{'make_ready' if name == 'ready' else 'turn'}", noted)
    drained(lingering.run(), lambda: len(steps) >= 6)
    assert steps[:6] == [(what, name) for name in NAMES for what in ("ready", "turn")]


@pytest.mark.parametrize(
    ("ready", "begun"),
    [
        ("", ["a _make_ready", "b _make_ready"]),
        ("ef", ["e _turn", "f _turn", "a _make_ready", "b _make_ready"]),
        ("cdef", ["c _turn", "d _turn", "e _turn", "a _make_ready"]),
        ("abcdef", ["a _turn", "b _turn", "c _turn", "d _turn"]),
    ],
)
def test_streams_that_are_ready_come_first_and_one_turn_of_four_is_kept_for_making_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: str, begun: list[str]
) -> None:
    """A run that is succeeded still loads those that are not ready here."""
    world = GroupWorld(tmp_path, monkeypatch, *map(small_stream, "abcdef"))
    run, found = world.run(), []

    class Pool(ThreadPoolExecutor):
        def submit(self, _do: Any, member: Any, work: Any) -> Any:  # type: ignore[override]
            found.append(f"{member.name} {work.__name__}")

    for name in ready:
        member = run._members[name]
        member.is_ready, member.due_since = True, time.monotonic() + 1
    run._begin(Pool(), 4)
    run._begin(Pool(), 4)
    run.close()
    assert found == begun


def test_what_was_not_said_of_a_table_stays_with_its_stream(world: GroupWorld) -> None:
    drained(world.run())
    with world.sink.engine.connect() as connection:
        found = connection.execute(sa.text("SELECT DISTINCT stream, run_id, kind FROM kafka_ingest_batches ORDER BY 1"))
        assert [tuple(row) for row in found] == [(name, "run", "live") for name in NAMES]
