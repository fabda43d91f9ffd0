"""A whole run over a fake cluster and a real database: stages repeated, loads failing, topics growing under way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kafka_ingest.engine import ingestion, triggers
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest_tests.support.world import P0, P1, STREAM, World, events, first_five


@pytest.fixture(params=["one loader", "two loaders"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(SQLiteSink, "loads_in_parallel", request.param == "two loaders")
    return World(tmp_path, monkeypatch)


def live_ranges_tile(world: World) -> bool:
    reached = {"mixed[0]": 0, "mixed[1]": 0}
    for text, kind, *_ in world.target.batches():
        name, _, bounds = text.partition("@")
        start, end = map(int, bounds[1:-1].split(","))
        if kind == "live":
            if reached[name] != start:
                return False
            reached[name] = end
    return reached == {"mixed[0]": 12, "mixed[1]": 8}


def test_a_run_loads_everything_that_waits_and_commits_after_each_slice(world: World) -> None:
    run = world.run()
    batch = first_five(run)
    assert str(batch) == "mixed[0]@[0,3), mixed[1]@[0,2)"
    results = list(run.drain(batch))
    run.close()
    assert world.names() == world.all_names()
    assert world.target.offsets() == {"mixed[0]": 12, "mixed[1]": 8}
    assert live_ranges_tile(world)
    assert sum(r.messages for r in results) == 15
    assert world.consumers[1].committed[0] == {"mixed[0]": 3, "mixed[1]": 2}
    last: dict[str, int] = {}
    for consumer in world.consumers:
        for committed in consumer.committed:
            last |= committed
    assert last == world.target.offsets()
    assert all(consumer.is_closed for consumer in world.consumers)


def test_slices_begin_small_and_double(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "FIRST_SLICE_ROWS", 1)
    run = world.run()
    batch = run.plan((), "live")
    first = run.load(run.apply_steps(run.read(batch)), "live")
    sizes = [r.messages for r in run.drain(batch)]
    run.close()
    assert (first.messages, sizes[:2]) == (1, [2, 4])
    assert max(sizes) == 5  # the stream's max_rows
    assert world.names() == world.all_names()


def test_the_stages_may_each_be_repeated(world: World) -> None:
    run = world.run()
    batch = run.plan((), "live")
    run.read(batch)
    parsed = run.apply_steps(run.read(batch))
    run.load(parsed, "live")
    assert run.load(parsed, "live").counts == ()
    assert run.plan(batch.ranges, "live").ranges == ()
    list(run.drain(batch))
    run.close()
    assert world.names() == world.all_names()
    assert live_ranges_tile(world)


class FailsOnce:
    """The database goes away before one of the steps, the n-th time it is reached."""

    def __init__(self, step: str, time: int) -> None:
        self.step, self.left = step, time

    def __call__(self, step: str) -> None:
        if step == self.step:
            self.left -= 1
            if not self.left:
                raise DatabaseUnavailable("the database went away")


@pytest.mark.parametrize("time", [2, 3])
@pytest.mark.parametrize("step", [LoadStep.LOCK, LoadStep.RECORD, LoadStep.DONE, "commit_offsets"])
@pytest.mark.parametrize("kind", ["live", "backfill"])
def test_a_drain_that_is_tried_again_goes_on_from_what_was_loaded_not_from_what_was_read(
    world: World, kind: str, step: str, time: int
) -> None:
    if kind == "backfill":
        run = world.run()
        list(run.drain(first_five(run)))
        run.close()
        with world.target.sink.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM t_event")
    run = world.run(FailsOnce(step, time))
    requested = (OffsetRange("mixed", 0, 1, 12), OffsetRange("mixed", 1, 0, 7)) if kind == "backfill" else ()
    batch = first_five(run, requested, kind)
    with pytest.raises(DatabaseUnavailable):
        list(run.drain(batch))
    list(run.drain(batch))
    run.close()
    expected = [n for n in world.all_names() if kind == "live" or n not in ("0-0", "1-7")]
    assert world.names() == expected
    assert live_ranges_tile(world)


def test_a_backfill_goes_on_in_another_process_behind_what_the_run_has_loaded(world: World) -> None:
    """Under an executor that gives every op a process of its own."""
    run = world.run()
    list(run.drain(first_five(run)))
    run.close()
    requested = (OffsetRange("mixed", 0, 1, 12), OffsetRange("mixed", 1, 0, 7))
    first, second = world.run(), world.run()
    batch = first.plan(requested, "backfill")
    loaded = first.load(first.apply_steps(first.read(batch)), batch.kind)
    first.close()
    second.resume(loaded)
    messages = loaded.messages + sum(result.messages for result in second.drain(batch))
    second.close()
    assert messages == 18
    assert world.names() == world.all_names()


def test_a_backfill_goes_on_in_another_process_and_converges(world: World) -> None:
    run = world.run()
    list(run.drain(first_five(run)))
    run.close()
    requested = (OffsetRange("mixed", 0, 1, 12), OffsetRange("mixed", 1, 0, 7))
    first = world.run()
    batch = first_five(first, requested, "backfill")
    first.close()
    second = world.run()
    list(second.drain(batch))
    second.close()
    assert world.names() == world.all_names()
    assert world.target.offsets() == {"mixed[0]": 12, "mixed[1]": 8}


def test_a_partition_added_under_way_is_left_to_the_next_run(world: World) -> None:
    run = world.run()
    batch = first_five(run)
    added = TopicPartition("mixed", 2)
    world.logs[added] = events(added, 4)
    list(run.drain(batch))
    run.close()
    assert [n for n in world.names() if str(n).startswith("2-")] == []
    assert "mixed[2]" not in world.target.offsets()
    following = world.run()
    list(following.drain(first_five(following)))
    following.close()
    assert world.names() == world.all_names()


def test_messages_that_come_while_the_run_lives_are_loaded_by_it(world: World) -> None:
    run = world.run()
    drained = run.drain(first_five(run))
    next(drained)
    world.logs[P0] = world.metadata.logs[P0] = events(P0, 40)
    for consumer in world.consumers:
        consumer.logs = world.logs
    list(drained)
    run.close()
    assert world.names() == world.all_names()


def test_a_run_gives_its_slot_to_another_when_it_has_caught_up_and_loads_first_what_waits(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "FIRST_SLOT_SECONDS", 0)
    stream = dataclasses.replace(STREAM, batch=dataclasses.replace(STREAM.batch, min_messages=7, linger_seconds=3_600))
    run = world.run(stream=stream)
    asked: list[int] = []

    def is_slot_wanted() -> bool:
        asked.append(len(world.names()))
        return True

    results = list(run.drain(first_five(run), is_slot_wanted=is_slot_wanted))
    run.close()
    assert world.names() == world.all_names()
    assert len(asked) == 1
    assert asked[0] < 20, "it was asked before the last few were loaded"
    assert results[-1].messages < 7


def test_a_run_is_not_asked_for_its_slot_before_it_was_worth_its_start(world: World) -> None:
    run = world.run()

    def never() -> bool:
        raise AssertionError("asked")

    list(run.drain(first_five(run), is_slot_wanted=never))
    run.close()
    assert world.names() == world.all_names()


def test_a_run_until_caught_up_ends_at_the_ends_it_found_however_busy_the_topic(world: World) -> None:
    run = world.run()
    before = world.all_names()
    drained = run.drain(dataclasses.replace(first_five(run), until_caught_up=True))
    next(drained)
    world.logs[P0] = world.metadata.logs[P0] = events(P0, 40)
    for consumer in world.consumers:
        consumer.logs = world.logs
    list(drained)
    run.close()
    assert world.names() == before


def test_a_commit_an_earlier_run_did_not_get_to_is_repaired(world: World) -> None:
    run = world.run()
    parsed = run.apply_steps(run.read(run.plan((), "live")))
    run.load(parsed, "live")
    run.close()
    world.metadata.committed = {P0: 3}
    later = world.run()
    later.commit({})
    later.close()
    assert world.consumers[-1].committed == [{"mixed[1]": 2}]


def test_an_empty_batch_runs_through_and_leaves_no_trace_in_the_ledger(world: World) -> None:
    world.logs.clear()
    world.logs |= {P0: events(P0, 0), P1: events(P1, 0)}
    run = world.run()
    batch = first_five(run)
    assert list(run.drain(batch)) == []
    assert run.look().lag == 0
    run.close()
    assert world.target.batches() == []
    assert world.target.offsets() == {"mixed[0]": 0, "mixed[1]": 0}
