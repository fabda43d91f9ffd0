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

EARLIEST = dt.datetime(2016, 1, 1, tzinfo=dt.timezone.utc)
"""No window begins before this unless a person says so: messages carry timestamps since Kafka 0.10, of 2016, and one with a
timestamp of 1970 must not make half a million windows. Where the first message is not known, it is the first window."""


def window_format(stream: Stream) -> str:
    """strftime format of the stream's window keys."""
    return _FORMATS[stream.window]


def window_size(stream: Stream) -> dt.timedelta:
    """How long a window is."""
    return dt.timedelta(milliseconds=_MILLISECONDS[stream.window])


def first_window_start(stream: Stream) -> dt.datetime:
    """Start of the stream's first window: that of `window_start`, or EARLIEST where the stream has none."""
    return _instant(_floor(stream, EARLIEST if stream.window_start is None else stream.window_start))


def start_of_window(stream: Stream, instant: dt.datetime) -> dt.datetime:
    """Start of the window that holds `instant`, whether the stream has one so early or not."""
    return _instant(_floor(stream, instant))


def window_of(stream: Stream, instant: dt.datetime, *, now: dt.datetime) -> str:
    """Key of the window `instant` falls in.

    An instant before the stream's first window counts to the first one, one in the future to the present one: clocks of
    producers may be wrong, and a run must not fail for it.
    """
    first = _floor(stream, first_window_start(stream))
    start = min(max(_floor(stream, instant), first), max(_floor(stream, now), first))
    return window_key(stream, _instant(start))


def window_key(stream: Stream, start: dt.datetime) -> str:
    """Key of the window that begins at `start`."""
    return start.strftime(window_format(stream))


def window_bounds(stream: Stream, key: str) -> tuple[dt.datetime, dt.datetime]:
    """`[start, end)` of a window. Raises ConfigError for a key of another format."""
    try:
        start = dt.datetime.strptime(key, window_format(stream)).replace(tzinfo=dt.timezone.utc)
    except ValueError as error:
        raise ConfigError(
            f"stream {stream.name}: {key!r} is no {stream.window} window: {error}", stream=stream.name
        ) from error
    return start, start + window_size(stream)


def count_by_window(stream: Stream, timestamps_ms: npt.NDArray[np.int64], *, now: dt.datetime) -> Mapping[str, int]:
    """Messages per window key, in order of time. Messages without a timestamp (-1) count to the present window."""
    size = _MILLISECONDS[stream.window]
    present = int(now.timestamp() * 1000)
    starts, counts = np.unique(np.where(timestamps_ms < 0, present, timestamps_ms) // size * size, return_counts=True)
    found: dict[str, int] = {}
    for start, count in zip(starts.tolist(), counts.tolist(), strict=True):
        # A timestamp no datetime can hold is as far in the future as one may be.
        key = window_of(stream, _instant(min(start, present)), now=now)
        found[key] = found.get(key, 0) + count
    return found


def _floor(stream: Stream, instant: dt.datetime) -> int:
    size = _MILLISECONDS[stream.window]
    return int(instant.timestamp() * 1000) // size * size


def _instant(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)
