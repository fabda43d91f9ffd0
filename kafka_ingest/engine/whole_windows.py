"""Windows that are over and wholly loaded, and the offsets that each holds: by metadata alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from itertools import pairwise

from kafka_ingest.engine.stream_state import StreamState, oldest_window
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.slices import NO_ORDER, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import start_of_window, window_bounds, window_size

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def whole_until(state: StreamState, stream: Stream, metadata: KafkaMetadata, *, now: dt.datetime) -> dt.datetime:
    """End of the windows that are over and of whose messages none waits. One request, or a few where older ones wait."""
    return window_bounds(stream, oldest_window(state, stream, metadata, now=now))[0]


def last_loaded(state: StreamState) -> dt.datetime | None:
    """Kafka timestamp of the latest message loaded, by the order of messages; None where none is known.

    A producer's clock may be ahead: a message is no later than its load.
    """
    known = [p for p in state.ledger.values() if p.order != NO_ORDER]
    times = [min(_EPOCH + dt.timedelta(milliseconds=p.order), p.updated_at) for p in known]
    return max(times, default=None)


def first_known(state: StreamState, stream: Stream, metadata: KafkaMetadata) -> dt.datetime | None:
    """Start of the first window of which something can be known: that of the log's first message. Where the log is empty, of the
    latest message loaded; None where there has been no message. Windows before it are nobody's: no message may have come yet."""
    first = metadata.first_timestamps([stream], _EPOCH).get(stream.name) or last_loaded(state)
    return None if first is None else start_of_window(stream, first)


def ranges_in_windows(
    state: StreamState, stream: Stream, metadata: KafkaMetadata, starts: Sequence[dt.datetime]
) -> dict[dt.datetime, tuple[OffsetRange, ...] | None]:
    """Of each of these windows of the past, by their starts in order, the offsets its messages lie in: none where it holds no
    message in any Kafka partition; None where retention may have deleted some.

    A row of windows without a message costs two requests, however long; others a bisection between them.
    """
    if not starts:
        return {}
    size = window_size(stream)
    bounds = sorted({each for start in starts for each in (start, start + size)})
    at = dict(zip(bounds, _offsets_at(state, metadata, bounds), strict=True))
    shortened = [tp for tp, marks in state.watermarks.items() if marks.low > 0]
    first = metadata.offsets_for_time(shortened, _EPOCH)

    def is_known(tp: TopicPartition, start: dt.datetime) -> bool:
        """Whether nothing of the window was deleted: an older message is still there, or all that was deleted is older."""
        position = state.ledger.get(tp)
        is_all_older = (
            position is not None
            and position.next_offset >= state.watermarks[tp].low
            and NO_ORDER < position.order < start.timestamp() * 1000
        )
        return is_all_older or 0 <= first[tp] < at[start][tp]

    found: dict[dt.datetime, tuple[OffsetRange, ...] | None] = {}
    for start in starts:
        ends = at[start + size]
        ranges = [OffsetRange(*tp, o, ends[tp]) for tp, o in sorted(at[start].items()) if o < ends[tp]]
        found[start] = tuple(ranges) if all(is_known(tp, start) for tp in shortened) else None
    return found


def _offsets_at(
    state: StreamState, metadata: KafkaMetadata, instants: Sequence[dt.datetime]
) -> list[Mapping[TopicPartition, int]]:
    """Per partition the first offset at or after each of these instants, which are in order; the log's end where there is none.
    Between two instants with the same offsets all have them, and are not asked for."""
    found: dict[int, dict[TopicPartition, int]] = {}
    wanted = {0, len(instants) - 1}
    while wanted:
        numbers = sorted(wanted)
        answers = metadata.offsets_for_instants(state.watermarks, *(instants[n] for n in numbers))
        for number, offsets in zip(numbers, answers, strict=True):
            ends = {tp: state.watermarks[tp].high for tp in offsets}
            found[number] = {tp: min(o, ends[tp]) if o >= 0 else ends[tp] for tp, o in offsets.items()}
        wanted = {(a + b) // 2 for a, b in pairwise(sorted(found)) if b - a > 1 and found[a] != found[b]}
    filled: list[Mapping[TopicPartition, int]] = []
    for number in range(len(instants)):
        filled.append(found.get(number, filled[-1] if filled else {}))
    return filled
