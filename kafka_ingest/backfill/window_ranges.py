"""Windows as offset ranges: `[offset_for(t0), offset_for(t1))` per partition."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

from kafka_ingest.backfill.deleted_offsets import Span, check_not_deleted, first_offsets
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import first_window_start, window_bounds


def ranges_of_windows(
    stream: Stream, keys: Sequence[str], metadata: KafkaMetadata, sink: Sink, *, now: dt.datetime
) -> tuple[OffsetRange, ...]:
    """The ranges from the first to the last of these windows, empty ones left out.

    The first window of the stream also holds everything older, the present one everything newer, as `window_of` counts
    them; so all windows together are the whole log.

    Raises ConfigError where retention has deleted messages of the windows, all of them or a part.
    """
    bounds = sorted(window_bounds(stream, key) for key in keys)
    start, end = bounds[0][0], bounds[-1][1]
    partitions = metadata.topics(stream).partitions
    marks = metadata.watermarks(partitions)
    is_first = start <= first_window_start(stream)
    text = f"the window{'s' if len(keys) > 1 else ''} {_text(start, end)}"
    span = Span(None if is_first else start, None if end > now else end, text)
    is_known = check_not_deleted(stream, span, marks, metadata, sink)
    if not is_known:
        _check_begun(stream, bounds, marks, metadata)
    return ranges_of_span(span, marks, metadata)


def ranges_of_span(
    span: Span, marks: Mapping[TopicPartition, Watermarks], metadata: KafkaMetadata
) -> tuple[OffsetRange, ...]:
    """The span's part of each log, empty ones left out. An end without bound is the log's own."""
    low = {} if span.start is None else metadata.offsets_for_time(marks, span.start)
    high = {} if span.end is None else metadata.offsets_for_time(marks, span.end)
    ranges = []
    for tp, log in sorted(marks.items()):
        first = low.get(tp, log.low)
        last = high.get(tp, log.high)
        # The log may have grown or lost its beginning between the questions: never beyond what it was.
        first = log.high if first < 0 else min(max(first, log.low), log.high)
        last = log.high if last < 0 else min(last, log.high)
        if first < last:
            ranges.append(OffsetRange(*tp, first, last))
    return tuple(ranges)


def _check_begun(
    stream: Stream,
    bounds: Sequence[tuple[dt.datetime, dt.datetime]],
    marks: Mapping[TopicPartition, Watermarks],
    metadata: KafkaMetadata,
) -> None:
    """Refuse windows that end before the log begins, where it has lost its beginning: what they held is gone, if anything."""
    first = first_offsets(metadata, marks)

    def is_begun(end: dt.datetime) -> bool:
        found = metadata.offsets_for_time(marks, end)
        return any(first[tp] >= 0 and (found[tp] < 0 or found[tp] > first[tp]) for tp in marks)

    before, after = 0, len(bounds)  # the first `before` windows lie before the log, those from `after` on do not
    while before < after:
        middle = (before + after) // 2
        if is_begun(bounds[middle][1]):
            after = middle
        else:
            before = middle + 1
    if before:
        starts = ", ".join(f"{tp} at offset {m.low}" for tp, m in sorted(marks.items()) if m.low > 0)
        raise ConfigError(
            f"stream {stream.name}: Kafka's retention has deleted what the window{'s' if before > 1 else ''} "
            f"{_text(bounds[0][0], bounds[before - 1][1])} may have held: the log begins later ({starts}). "
            "The rows in the tables are left as they are. Choose later windows.",
            stream=stream.name,
        )


def _text(start: dt.datetime, end: dt.datetime) -> str:
    return f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
