"""Ranges split over lanes, and lanes run side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.engine.lanes import run_lanes, split_evenly
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.records import LoadResult, OffsetRange
from kafka_ingest.sinks.sqlite import SQLiteSink
from kafka_ingest_tests.support.world import World, first_five


def result(messages: int) -> LoadResult:
    return LoadResult(
        counts=(),
        rows_by_table={"t": messages},
        next_offsets={},
        messages_by_window={},
        skipped=0,
        load_seconds=0.0,
        latency_p50_seconds=None,
        latency_p95_seconds=None,
    )


def ranges(*sizes: int) -> list[OffsetRange]:
    return [OffsetRange("t", number, 10, 10 + size) for number, size in enumerate(sizes)]


@given(st.lists(st.integers(0, 1_000), max_size=20), st.integers(1, 6))
def test_every_range_with_something_in_it_is_in_exactly_one_lane(sizes: list[int], lanes: int) -> None:
    groups = split_evenly(ranges(*sizes), lanes)
    assert sorted(r for group in groups for r in group) == [r for r in ranges(*sizes) if r.size]
    assert len(groups) <= lanes
    assert all(groups)


@given(st.lists(st.integers(1, 1_000), min_size=1, max_size=20), st.integers(1, 6))
def test_no_lane_has_more_than_its_share_and_the_largest_range(sizes: list[int], lanes: int) -> None:
    largest = max(sum(r.size for r in group) for group in split_evenly(ranges(*sizes), lanes))
    assert largest <= sum(sizes) / lanes + max(sizes)


def test_lanes_run_at_the_same_time_and_all_results_come() -> None:
    together = threading.Barrier(2, timeout=30)

    def load(number: int, _ranges: tuple[OffsetRange, ...]) -> Iterator[LoadResult]:
        together.wait()
        yield result(number)
        yield result(10 + number)

    groups = split_evenly(ranges(5, 5), 2)
    found = [r.rows_by_table["t"] for r in run_lanes(groups, load, threading.Event())]
    assert sorted(found) == [0, 1, 10, 11]
    assert found.index(0) < found.index(10)


def test_where_a_lane_fails_the_others_stop_and_what_they_loaded_is_still_told() -> None:
    stopping = threading.Event()

    def load(number: int, _ranges: tuple[OffsetRange, ...]) -> Iterator[LoadResult]:
        if number == 0:
            raise DatabaseUnavailable("gone")
        assert stopping.wait(30)
        yield result(7)

    found = run_lanes(split_evenly(ranges(5, 5), 2), load, stopping)
    assert next(found).rows_by_table == {"t": 7}
    with pytest.raises(DatabaseUnavailable, match="gone"):
        next(found)


def test_lanes_end_where_nobody_takes_their_results_any_more() -> None:
    stopping = threading.Event()

    def load(_number: int, _ranges: tuple[OffsetRange, ...]) -> Iterator[LoadResult]:
        while not stopping.is_set():
            yield result(1)

    results = run_lanes(split_evenly(ranges(5, 5), 2), load, stopping)
    assert next(results).rows_by_table == {"t": 1}
    assert isinstance(results, Iterator)
    results.close()  # type: ignore[attr-defined]
    assert stopping.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("lane")]


def test_a_run_far_behind_opens_a_reader_for_each_loader_and_a_run_that_is_not_opens_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SQLiteSink, "loads_in_parallel", True)
    world = World(tmp_path, monkeypatch)
    run = world.run()
    batch = first_five(run)
    list(run.drain(batch))
    assert len(world.consumers) == 2
    run.close()
    caught_up = world.run()
    list(caught_up.drain(first_five(caught_up)))
    caught_up.close()
    assert len(world.consumers) == 3


def test_a_run_whose_time_is_nearly_up_ends_when_another_has_loaded_its_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, monkeypatch)
    run = world.run()
    batch = first_five(run)
    slices = run.drain(batch)
    next(slices)
    other = world.run()  # loads everything meanwhile
    list(other.drain(first_five(other)))
    other.close()
    run.started -= run.stream.batch.max_run_seconds - run.stream.batch.handover_seconds + 1
    rest = list(slices)
    assert sum(r.skipped for r in rest) > 0
    run.close()
    assert world.names() == world.all_names()
