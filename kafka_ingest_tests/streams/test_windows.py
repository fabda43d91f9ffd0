"""Windows: what a Kafka timestamp belongs to, and the offsets a window stands for."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from kafka_ingest.backfill.window_ranges import ranges_of_windows
from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import OffsetRange, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import count_by_window, window_bounds, window_of
from kafka_ingest.testing.models import Event
from kafka_ingest_tests.support.cluster import FakeMessage, FakeMetadata, Log

pytestmark = pytest.mark.slow

UTC = dt.timezone.utc
START = dt.datetime(2026, 1, 1, tzinfo=UTC)
NOW = dt.datetime(2026, 1, 2, 12, 30, tzinfo=UTC)


def stream(window: Literal["hourly", "daily"] = "hourly", start: dt.datetime = START) -> Stream:
    return Stream(name="s", topics="t", routes={"e": Event}, window=window, window_start=start)


@pytest.mark.parametrize(
    ("window", "instant", "key"),
    [
        ("hourly", dt.datetime(2026, 1, 1, 5, 59, 59, 999_999, tzinfo=UTC), "2026-01-01-05:00"),
        ("hourly", dt.datetime(2026, 1, 1, 6, tzinfo=UTC), "2026-01-01-06:00"),
        (
            "hourly",
            dt.datetime(2026, 1, 1, 6, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
            "2026-01-01-00:00",
        ),
        ("daily", dt.datetime(2026, 1, 1, 23, 59, tzinfo=UTC), "2026-01-01"),
        ("hourly", dt.datetime(1999, 1, 1, tzinfo=UTC), "2026-01-01-00:00"),
        ("hourly", dt.datetime(2999, 1, 1, tzinfo=UTC), "2026-01-02-12:00"),
        ("daily", dt.datetime(2999, 1, 1, tzinfo=UTC), "2026-01-02"),
    ],
)
def test_an_instant_belongs_to_its_window_and_wrong_clocks_to_the_first_or_the_present_one(
    window: Literal["hourly", "daily"], instant: dt.datetime, key: str
) -> None:
    assert window_of(stream(window), instant, now=NOW) == key


@given(st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2, 11, 59), timezones=st.just(UTC)))
def test_a_window_holds_the_instants_that_belong_to_it(instant: dt.datetime) -> None:
    start, end = window_bounds(stream(), window_of(stream(), instant, now=NOW))
    assert start <= instant < end
    assert window_of(stream(), end, now=NOW) != window_of(stream(), start, now=NOW)


def test_a_key_of_another_format_is_refused() -> None:
    with pytest.raises(ConfigError, match="'2026-01-01' is no hourly window"):
        window_bounds(stream(), "2026-01-01")


def test_messages_are_counted_per_window_whatever_their_timestamps() -> None:
    hour = 3_600_000
    first = int(START.timestamp() * 1000)
    stamps = [first + 5 * hour, first + 5 * hour + 1, -1, 0, 2**62, first + hour - 1, first + hour]
    counts = count_by_window(stream(), np.array(stamps, dtype=np.int64), now=NOW)
    assert dict(counts) == {
        "2026-01-01-00:00": 2,
        "2026-01-01-01:00": 1,
        "2026-01-01-05:00": 2,
        "2026-01-02-12:00": 2,
    }
    assert list(counts) == sorted(counts)
    assert count_by_window(stream(), np.empty(0, dtype=np.int64), now=NOW) == {}


@given(st.lists(st.integers(-1, 2**63 - 1), max_size=30))
def test_every_message_is_counted_once(stamps: list[int]) -> None:
    counts = count_by_window(stream(), np.array(stamps, dtype=np.int64), now=NOW)
    assert sum(counts.values()) == len(stamps)


P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
SINK = SQLiteSink(sa.make_url("sqlite://"))  # empty: nothing was ever loaded


def hours(tp: TopicPartition, *hour_of_each: float, start: int = 0, end: int | None = None) -> Log:
    first = START.timestamp() * 1000
    messages = {
        start + i: FakeMessage(tp, start + i, stamp=int(first + h * 3_600_000)) for i, h in enumerate(hour_of_each)
    }
    return Log(messages, start + len(hour_of_each) if end is None else end, start)


def key(hour: int) -> str:
    return (START + dt.timedelta(hours=hour)).strftime("%Y-%m-%d-%H:%M")


def test_a_window_is_the_offsets_from_the_first_message_in_it_to_the_first_one_after() -> None:
    metadata = FakeMetadata({P0: hours(P0, 1.0, 1.5, 2.0, 2.5, 4.0), P1: hours(P1, 3.0)})
    assert ranges_of_windows(stream(), [key(2)], metadata, SINK, now=NOW) == (OffsetRange("t", 0, 2, 4),)
    assert ranges_of_windows(stream(), [key(2), key(3)], metadata, SINK, now=NOW) == (
        OffsetRange("t", 0, 2, 4),
        OffsetRange("t", 1, 0, 1),
    )


def test_a_window_without_messages_is_no_range() -> None:
    metadata = FakeMetadata({P0: hours(P0, 1.0, 4.0)})
    assert ranges_of_windows(stream(), [key(2)], metadata, SINK, now=NOW) == ()


def test_a_window_that_retention_has_deleted_is_refused() -> None:
    metadata = FakeMetadata({P0: hours(P0, 5.0, 6.0, start=100)})
    with pytest.raises(
        ConfigError, match=r"retention has deleted what the window from 2026-01-01 02:00 .*t\[0\] at offset 100"
    ):
        ranges_of_windows(stream(), [key(2)], metadata, SINK, now=NOW)


@given(st.lists(st.floats(-3, 40), max_size=15), st.lists(st.floats(-3, 40), max_size=15))
def test_all_windows_together_are_the_whole_log_once_even_with_clocks_that_jump(
    one: list[float], other: list[float]
) -> None:
    logs = {P0: hours(P0, *one), P1: hours(P1, *other)}
    metadata = FakeMetadata(logs)
    present = window_of(stream(), NOW, now=NOW)
    found: list[OffsetRange] = []
    for hour in range(48):
        found += ranges_of_windows(stream(), [key(hour)], metadata, SINK, now=NOW)
        if key(hour) == present:
            break
    for tp, log in logs.items():
        covered = [offset for r in found if r.topic_partition == tp for offset in range(r.start, r.end)]
        assert covered == list(range(log.end))
