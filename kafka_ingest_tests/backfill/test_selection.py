"""Times, offsets and Kafka partitions asked for, as exact ranges or as an error a person understands."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.selection import Selection, parse_time, ranges_of_selection
from kafka_ingest.backfill.window_ranges import ranges_of_windows
from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Event
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import FakeMessage, FakeMetadata, Log

UTC = dt.timezone.utc
START = dt.datetime(2026, 1, 1, tzinfo=UTC)
NOW = dt.datetime(2026, 1, 2, 12, 30, tzinfo=UTC)
STREAM = Stream(name="s", topics=("t", "u"), routes={"e": Event}, window_start=START)
T0, T1, U0 = TopicPartition("t", 0), TopicPartition("t", 1), TopicPartition("u", 0)


def log(tp: TopicPartition, *hours: float, start: int = 0) -> Log:
    """A log whose messages came at these hours after the start of the year."""
    stamps = [int((START.timestamp() + h * 3600) * 1000) for h in hours]
    messages = {start + i: FakeMessage(tp, start + i, stamp=s) for i, s in enumerate(stamps)}
    return Log(messages, start + len(hours), start)


LOGS = {T0: log(T0, 1, 2, 3, 4), T1: log(T1, 3), U0: log(U0, 2.5, 5)}
EMPTY = SQLiteSink(sa.make_url("sqlite://"))


def resolve(logs: dict[TopicPartition, Log] = LOGS, **fields: Any) -> list[str]:
    found = ranges_of_selection(STREAM, Selection(**fields), FakeMetadata(logs), EMPTY, now=NOW)
    return [str(r) for r in found]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"time_from": "2026-01-01 02:00", "time_to": "2026-01-01 04:00"}, ["t[0]@[1,3)", "t[1]@[0,1)", "u[0]@[0,1)"]),
        ({"time_from": "2026-01-01T12:00+09:00"}, ["t[0]@[2,4)", "t[1]@[0,1)", "u[0]@[1,2)"]),
        ({"time_to": "2026-01-01 02:00:00.001"}, ["t[0]@[0,2)"]),
        ({"time_from": "2026-01-01 02:00:00.000001", "partitions": ("t:0",)}, ["t[0]@[2,4)"]),
        ({"time_from": "2026-01-01 06:00"}, []),
        ({"offset_from": 1, "offset_to": 3}, ["t[0]@[1,3)", "u[0]@[1,2)"]),
        ({"offset_from": 3}, ["t[0]@[3,4)"]),
        ({"offset_to": 1, "partitions": ("0",)}, ["t[0]@[0,1)", "u[0]@[0,1)"]),
        ({"offset_from": 0, "partitions": ("1", "u:0")}, ["t[1]@[0,1)", "u[0]@[0,2)"]),
    ],
)
def test_a_selection_is_these_ranges(fields: dict[str, Any], expected: list[str]) -> None:
    assert resolve(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"time_from": "yesterday"}, r"time_from is 'yesterday'; it must be a time such as 2026-11-22 10:00"),
        ({"time_to": "2026-02-30"}, r"time_to is '2026-02-30', which is no time: day"),
        (
            {"time_from": "2026-01-01 03:00", "time_to": "2026-01-01T02:00Z"},
            r"not before time_to, 2026-01-01 02:00:00 UTC",
        ),
        (
            {"time_from": "2026-01-02 12:31"},
            r"time_from is 2026-01-02 12:31:00 UTC, in the future: it is 2026-01-02 12:30",
        ),
        ({"time_from": "2026-01-01", "offset_to": 3}, "give times or offsets, not both"),
        ({"offset_from": -1}, "offset_from is -1; an offset is from 0 to"),
        ({"offset_from": 3, "offset_to": 3}, "offset_from is 3, not below offset_to, 3"),
        ({"offset_from": 4}, r"offset_from is 4, and the log of t\[0\], t\[1\], u\[0\] ends at offset 4"),
        ({"offset_to": 2, "partitions": ("t:1",)}, r"offset_to is 2, and the log of t\[1\] ends at offset 1"),
        ({"offset_to": 2, "partitions": ("first",)}, "partitions has 'first'; write a Kafka partition's number"),
        ({"offset_to": 2, "partitions": ("7",)}, r"partitions has '7', .* does not read: t has 0 to 1; u has 0 to 0"),
    ],
)
def test_a_wrong_selection_names_field_value_and_bound(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        resolve(**fields)


def test_offsets_that_retention_has_deleted_are_named() -> None:
    logs = {T0: log(T0, 5, 6, start=100), T1: log(T1, 5)}
    with pytest.raises(ConfigError, match=r"retention has deleted t\[0\]@\[7,100\) .*Begin at offset 100"):
        resolve(logs, offset_from=7)
    assert resolve(logs, offset_to=101) == ["t[0]@[100,101)", "t[1]@[0,1)"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22", dt.datetime(2026, 11, 22, tzinfo=UTC)),
        (" 2026-11-22 10 ", dt.datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:01.5Z", dt.datetime(2026, 11, 22, 10, 0, 1, 500_000, UTC)),
        ("2026-11-22 10:00 -0130", dt.datetime(2026, 11, 22, 11, 30, tzinfo=UTC)),
    ],
)
def test_times_are_read_as_utc_unless_they_say_otherwise(text: str, expected: dt.datetime) -> None:
    assert parse_time("time_from", text) == expected


def loaded(*hours: float) -> Target:
    """A database that has loaded a partition whose messages came at these hours."""
    target = Target(STREAM, SQLiteSink(sa.make_url("sqlite://")))
    target.pin({T0: 0, T1: 0, U0: 0})
    stamps = [int((START.timestamp() + h * 3600) * 1000) for h in hours]
    messages = [Msg({"type": "e", "name": "x"}, timestamp_ms=s) for s in stamps]
    for offset, message in enumerate(messages):
        target.load(raw_slice(Part([message], topic="t", start=offset)))
    return target


def windows(sink: SQLiteSink, logs: dict[TopicPartition, Log], first: int, last: int) -> list[str]:
    keys = [(START + dt.timedelta(hours=h)).strftime("%Y-%m-%d-%H:%M") for h in range(first, last + 1)]
    return [str(r) for r in ranges_of_windows(STREAM, keys, FakeMetadata(logs), sink, now=NOW)]


def test_a_window_that_has_lost_a_part_is_refused_and_the_next_one_is_not() -> None:
    target = loaded(1.1, 2.1, 2.2, 2.3, 3.1)
    logs = {T0: log(T0, 2.3, 3.1, start=3), T1: Log({}, 0)}
    for first, last in ((1, 1), (2, 2), (1, 5), (0, 3)):
        with pytest.raises(ConfigError, match=r"retention has deleted messages of .*t\[0\] up to offset 3"):
            windows(target.sink, logs, first, last)  # type: ignore[arg-type]
    assert windows(target.sink, logs, 3, 4) == ["t[0]@[4,5)"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Choose later windows or times"):
        ranges_of_selection(STREAM, Selection(time_from="2026-01-01 02:00"), FakeMetadata(logs), target.sink, now=NOW)


def test_a_window_that_begins_where_the_log_now_begins_is_whole() -> None:
    target = loaded(1.1, 1.2, 2.1, 2.2)
    logs = {T0: log(T0, 2.1, 2.2, start=2), T1: Log({}, 0)}
    assert windows(target.sink, logs, 2, 2) == ["t[0]@[2,4)"]  # type: ignore[arg-type]


def test_a_quiet_partition_whose_log_is_all_gone_does_not_stand_in_the_way() -> None:
    target = loaded(1.1, 1.2)
    logs = {T0: Log({}, 2, 2), T1: log(T1, 5, 6)}
    assert windows(target.sink, logs, 5, 5) == ["t[1]@[0,1)"]  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"t\[0\] up to offset 2"):
        windows(target.sink, logs, 1, 5)  # type: ignore[arg-type]


def test_what_was_never_loaded_is_taken_from_where_the_log_begins() -> None:
    logs = {T0: log(T0, 5.5, 6, start=100)}
    assert windows(EMPTY, logs, 5, 6) == ["t[0]@[100,102)"]
    with pytest.raises(ConfigError, match=r"the window from 2026-01-01 04:00 to 2026-01-01 05:00 UTC may have held"):
        windows(EMPTY, logs, 4, 6)
