"""Loading disjoint Kafka partitions at the same time: order holds within a partition, so partitions are what can be split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

from kafka_ingest.records import LoadResult, OffsetRange


def split_evenly(ranges: Iterable[OffsetRange], lanes: int) -> list[tuple[OffsetRange, ...]]:
    """At most `lanes` groups of whole ranges, of about the same size; empty ranges and groups are left out.

    The largest range first, each to the group that has least (Graham's longest-processing-time rule).
    """
    groups: list[list[OffsetRange]] = [[] for _ in range(lanes)]
    for each in sorted((r for r in ranges if r.size), key=lambda r: (-r.size, r)):
        min(groups, key=lambda group: sum(r.size for r in group)).append(each)
    return [tuple(sorted(group)) for group in groups if group]


def run_lanes(
    groups: Sequence[tuple[OffsetRange, ...]],
    load: Callable[[int, tuple[OffsetRange, ...]], Iterator[LoadResult]],
    stopping: Event,
) -> Iterator[LoadResult]:
    """Each group in a thread of its own; results as they come.

    load: number and ranges of a lane → its slices' results, each loaded and committed when it is yielded; ends soon after
    `stopping` is set. Where a lane fails the others stop too, and the first error is raised after their results.
    """
    results: SimpleQueue[LoadResult | None] = SimpleQueue()

    def run(number: int, ranges: tuple[OffsetRange, ...]) -> None:
        try:
            for result in load(number, ranges):
                results.put(result)
        except BaseException:
            stopping.set()
            raise
        finally:
            results.put(None)

    with ThreadPoolExecutor(len(groups), thread_name_prefix="lane") as pool:
        lanes = [pool.submit(run, number, ranges) for number, ranges in enumerate(groups)]
        try:
            running = len(lanes)
            while running:
                result = results.get()
                if result is None:
                    running -= 1
                else:
                    yield result
        except BaseException:
            stopping.set()  # so that leaving this block takes no longer than the slices in flight
            raise
    for lane in lanes:
        lane.result()
