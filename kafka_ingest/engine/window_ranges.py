"""Windows as offset ranges: `[offset_for(t0), offset_for(t1))` per partition."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.records import OffsetRange
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import window_bounds, window_of


def ranges_of_windows(
    stream: Stream, keys: Sequence[str], metadata: KafkaMetadata, *, now: dt.datetime
) -> tuple[OffsetRange, ...]:
    """The ranges from the first to the last of these windows, empty ones left out.

    The first window of the stream also holds everything older, the present one everything newer, as `window_of` counts
    them; so all windows together are the whole log.

    Raises ConfigError where retention has deleted messages of the windows: the log no longer starts before them.
    """
    bounds = sorted(window_bounds(stream, key) for key in keys)
    start, end = bounds[0][0], bounds[-1][1]
    partitions = metadata.topics(stream).partitions
    marks = metadata.watermarks(partitions)
    is_first = start <= window_bounds(stream, window_of(stream, stream.window_start, now=now))[0]
    low = metadata.offsets_for_time(partitions, start)
    high = metadata.offsets_for_time(partitions, end)
    ranges = []
    for tp in partitions:
        log = marks[tp]
        first = log.low if is_first else (log.high if low[tp] < 0 else low[tp])
        last = log.high if high[tp] < 0 or end > now else high[tp]
        if 0 < log.low >= last and last <= first:
            raise ConfigError(
                f"stream {stream.name}: retention has deleted {tp} up to offset {log.low}, so the windows "
                f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC cannot be loaded again from it"
            )
        if first < last:
            ranges.append(OffsetRange(*tp, first, last))
    return tuple(ranges)
