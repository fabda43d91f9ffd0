"""Is a batch due? A pure function of positions, ends, ages and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.stream import BatchPolicy


@dataclass(frozen=True, slots=True)
class PartitionState:
    """One partition as the sensor saw it.

    position: the ledger's next offset, or where the stream starts; None where the first run has yet to pin it.
    low, high: log start and last stable offset.
    aged: messages below this offset have waited so long that they would exceed `max_wait_seconds` by the next tick.
    """

    position: int | None
    low: int
    high: int
    aged: int


@dataclass(frozen=True, slots=True)
class Due:
    """Ranges to ingest now, and why."""

    ranges: tuple[OffsetRange, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class NotDue:
    """Why nothing is to be done now, in words for the tick list."""

    reason: str


def readiness(
    partitions: Mapping[TopicPartition, PartitionState],
    policy: BatchPolicy,
    *,
    in_flight: Mapping[TopicPartition, str] | None = None,
    backoff_seconds: float = 0.0,
    oldest_wait_seconds: Callable[[], float | None] = lambda: None,
) -> Due | NotDue:
    """Due ranges or a reason, never both, never an offset outside `[position, high)`.

    in_flight: partitions that a live run holds → that run's id; they are left alone.
    backoff_seconds: time to wait still after failed batches; 0 where there is none.
    oldest_wait_seconds: age of the oldest waiting message; asked only where it is part of the reason's text.

    A partition whose log start has passed its position (data loss) is due at once: the run reports it.
    """
    busy = dict(in_flight or {})
    free = {tp: s for tp, s in partitions.items() if tp not in busy}
    if not free:
        runs = sorted({run_id[:8] for run_id in busy.values()})
        return NotDue(f"run {', '.join(runs)} is loading this stream" if runs else "no partitions yet")
    waiting = {tp: _waiting(s) for tp, s in free.items()}
    total = sum(waiting.values())
    lost = [tp for tp, s in free.items() if s.position is not None and not s.low <= s.position <= s.high]
    unpinned = [tp for tp, s in free.items() if s.position is None]
    aged = sum(1 for tp, s in free.items() if waiting[tp] and s.position is not None and s.aged > s.position)
    if not (total or lost or unpinned):
        return NotDue("nothing waiting")
    if backoff_seconds > 0:
        return NotDue(f"backing off for {backoff_seconds:.0f} s more after a failed batch; {total} messages waiting")
    if lost:
        reason = f"offsets of {len(lost)} partition(s) are gone from Kafka"
    elif unpinned and not total:
        reason = f"first run: pins the start of {len(unpinned)} partition(s)"
    elif total >= policy.min_messages:
        reason = f"{total} messages waiting, {policy.min_messages} make a batch"
    elif aged:
        reason = f"{total} of {policy.min_messages} messages waiting, oldest about {policy.max_wait_seconds:g} s"
    else:
        oldest = oldest_wait_seconds()
        age = "" if oldest is None else f", oldest {oldest:.0f} s of {policy.max_wait_seconds:g} s"
        return NotDue(f"{total} of {policy.min_messages} messages waiting{age}")
    return Due(share_rows(free, policy.max_rows), reason)


def _waiting(state: PartitionState) -> int:
    if state.position is None:
        return 0
    return max(0, state.high - max(state.position, state.low))


def share_rows(partitions: Mapping[TopicPartition, PartitionState], max_rows: int) -> tuple[OffsetRange, ...]:
    """About `max_rows` offsets, shared fairly: a partition with few offsets waiting leaves the rest of its share to the others.

    Every waiting partition gets at least one offset, so none is left out for ever by busy ones; with more partitions
    than `max_rows` that is the whole batch.
    """
    left = max_rows
    ranges = []
    by_need = sorted(partitions.items(), key=lambda item: _waiting(item[1]))
    for done, (tp, state) in enumerate(by_need):
        share = min(_waiting(state), max(1, left // (len(by_need) - done)))
        start = state.high if state.position is None else state.position
        if state.position is not None and not state.low <= state.position <= state.high:
            # The run finds the loss itself; the range only has to name the partition.
            ranges.append(OffsetRange(*tp, start, start))
        elif share or state.position is None:
            ranges.append(OffsetRange(*tp, start, start + share))
        left -= share
    return tuple(sorted(ranges))
