"""A backfill's ranges divided among runs that load side by side, whole Kafka partitions each."""

from __future__ import annotations

from collections.abc import Sequence

from kafka_ingest.slices import OffsetRange

Ranges = tuple[OffsetRange, ...]


def divide(ranges: Sequence[OffsetRange], most: int, *, least_offsets: int) -> list[Ranges]:
    """The ranges in at most `most` parts of nearly the same number of offsets, the largest part first: each range, from the
    largest on, goes to the part that is smallest so far. Fewer parts where they would have less than `least_offsets` each; one at
    least.

    Deterministic. A backfill knows its ranges, so they are divided by size; the shards of live runs, whose load nobody knows
    beforehand, by the partitions' numbers.
    """
    held = sorted((r for r in ranges if r.size), key=lambda r: (-r.size, r))
    count = max(1, min(most, len(held), sum(r.size for r in held) // max(1, least_offsets)))
    parts: list[list[OffsetRange]] = [[] for _ in range(count)]
    sizes = [0] * count
    for each in held:
        smallest = sizes.index(min(sizes))
        parts[smallest].append(each)
        sizes[smallest] += each.size
    return sorted((tuple(sorted(part)) for part in parts), key=lambda part: -size_of(part))


def size_of(ranges: Sequence[OffsetRange]) -> int:
    """Number of offsets."""
    return sum(r.size for r in ranges)
