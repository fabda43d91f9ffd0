"""Time windows of a stream: which one a Kafka timestamp belongs to, and its bounds. Keys are Dagster's partition keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.stream import Stream

# Dagster's own formats (HourlyPartitionsDefinition, DailyPartitionsDefinition).
_FORMATS = {"hourly": "%Y-%m-%d-%H:%M", "daily": "%Y-%m-%d"}
_MILLISECONDS = {"hourly": 3_600_000, "daily": 86_400_000}


def window_format(stream: Stream) -> str:
    """strftime format of the stream's window keys."""
    return _FORMATS[stream.window]


def window_of(stream: Stream, instant: dt.datetime, *, now: dt.datetime) -> str:
    """Key of the window `instant` falls in.

    An instant before the stream's first window counts to the first one, one in the future to the present one: clocks of
    producers may be wrong, and a run must not fail for it.
    """
    size = _MILLISECONDS[stream.window]
    first = int(stream.window_start.timestamp() * 1000) // size * size
    current = int(now.timestamp() * 1000) // size * size
    start = min(max(int(instant.timestamp() * 1000) // size * size, first), max(current, first))
    return dt.datetime.fromtimestamp(start / 1000, dt.timezone.utc).strftime(window_format(stream))


def window_bounds(stream: Stream, key: str) -> tuple[dt.datetime, dt.datetime]:
    """`[start, end)` of a window. Raises ConfigError for a key of another format."""
    try:
        start = dt.datetime.strptime(key, window_format(stream)).replace(tzinfo=dt.timezone.utc)
    except ValueError as error:
        raise ConfigError(
            f"stream {stream.name}: {key!r} is no {stream.window} window: {error}", stream=stream.name
        ) from error
    return start, start + dt.timedelta(milliseconds=_MILLISECONDS[stream.window])


def count_by_window(stream: Stream, timestamps_ms: npt.NDArray[np.int64], *, now: dt.datetime) -> Mapping[str, int]:
    """Messages per window key, in order of time. Messages without a timestamp (-1) count to the present window."""
    size = _MILLISECONDS[stream.window]
    present = int(now.timestamp() * 1000)
    starts, counts = np.unique(np.where(timestamps_ms < 0, present, timestamps_ms) // size * size, return_counts=True)
    found: dict[str, int] = {}
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        # A timestamp no datetime can hold is as far in the future as one may be.
        instant = dt.datetime.fromtimestamp(min(start, present) / 1000, dt.timezone.utc)
        key = window_of(stream, instant, now=now)
        found[key] = found.get(key, 0) + count
    return found
