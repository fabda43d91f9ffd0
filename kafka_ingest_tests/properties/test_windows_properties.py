"""Windows that the sensor reports are those that are over, wholly loaded and unknown to Dagster, by a log's messages alone."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.kafka.metadata import TopicState, Watermarks
from kafka_ingest.ledger.positions import LedgerPosition
from kafka_ingest.orchestration import window_reports
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.stream_look import StreamLook
from kafka_ingest.orchestration.window_reports import Through, window_events
from kafka_ingest.slices import NO_ORDER, TopicPartition
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.cluster import SETTINGS, FakeMessage, FakeMetadata, Log
from kafka_ingest_tests.support.placed import placed

pytestmark = pytest.mark.slow

P = (TopicPartition("mixed", 0), TopicPartition("mixed", 1))
START = dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc)
HOURS = 14
NOW = START + dt.timedelta(hours=HOURS, minutes=30)
HOUR_MS = 3_600_000
ZERO_MS = int(START.timestamp() * 1000)


@dataclass(frozen=True)
class Part:
    """One Kafka partition: minutes of its messages after START, how many are deleted, and how many are loaded."""

    minutes: tuple[int, ...]
    deleted: int
    loaded: int

    @property
    def orders(self) -> list[int]:
        """Milliseconds by the order of messages, which is how windows share out a log."""
        return [ZERO_MS + minute * 60_000 for minute in accumulate(self.minutes, max)]


@st.composite
def parts(draw: st.DrawFn) -> Part:
    minutes = draw(st.lists(st.integers(0, HOURS * 60 + 29), max_size=6))
    deleted = draw(st.integers(0, len(minutes))) if draw(st.booleans()) else 0
    if deleted:  # of a log whose clocks are wrong, what was deleted may have been anything
        minutes.sort()
    return Part(tuple(minutes), deleted, draw(st.integers(deleted, len(minutes))))


@dataclass(frozen=True)
class Case:
    parts: tuple[Part, ...]
    known: frozenset[int]
    """Windows that Dagster knows as materialized, by their hours after START."""
    may_rest: bool

    def reported(self) -> dict[int, int]:
        """The oracle: hour → messages."""
        every = [order for part in self.parts for order in part.orders]
        loaded = [order for part in self.parts for order in part.orders[: part.loaded]]
        left = [order for part in self.parts for order in part.orders[part.deleted :]]
        waiting = [order for part in self.parts for order in part.orders[part.loaded :]]
        if not loaded and not (self.may_rest and left):
            return {}
        end = min([NOW.timestamp() * 1000 if self.may_rest else max(loaded), *waiting])
        begin = min(left) if left else max(loaded)
        hours = range((begin - ZERO_MS) // HOUR_MS, int(end - ZERO_MS) // HOUR_MS)
        found = {hour: sum((order - ZERO_MS) // HOUR_MS == hour for order in every) for hour in hours}
        return {h: n for h, n in found.items() if h not in self.known and all(_is_told(p, h) for p in self.parts)}


def _is_told(part: Part, hour: int) -> bool:
    """Whether the log or the ledger says that nothing of the window was deleted."""
    start, left, loaded = ZERO_MS + hour * HOUR_MS, part.orders[part.deleted :], part.orders[: part.loaded]
    return not part.deleted or any(order < start for order in left) or max(loaded, default=0) < start


class Known:
    """Dagster's storage, as far as it is asked."""

    def __init__(self, keys: set[str]) -> None:
        self.keys = keys
        self.event_log_storage = self

    def get_latest_storage_id_by_partition(self, _asset: Any, _kind: Any, partitions: set[str]) -> Mapping[str, int]:
        return dict.fromkeys(self.keys & partitions, 1)


def key_of(hour: int) -> str:
    return (START + dt.timedelta(hours=hour)).strftime("%Y-%m-%d-%H:%M")


def look_at(case: Case, instance: Known) -> StreamLook:
    stream = dataclasses.replace(MIXED, window_start=START, fresh_fail=None if case.may_rest else MIXED.fresh_fail)
    logs, positions = {}, {}
    for tp, part in zip(P, case.parts, strict=True):
        stamps = {n: ZERO_MS + minute * 60_000 for n, minute in enumerate(part.minutes)}
        messages = {n: FakeMessage(tp, n, stamp=stamp) for n, stamp in stamps.items() if n >= part.deleted}
        logs[tp] = Log(messages, len(stamps), part.deleted)
        order = max(part.orders[: part.loaded], default=NO_ORDER)
        positions[tp] = LedgerPosition(part.loaded, "id", NOW, order=order)
    marks = {tp: Watermarks(log.start, log.end) for tp, log in logs.items()}
    state = StreamState(TopicState(P, {"mixed": "id"}, ()), marks, positions, dict.fromkeys(P, 0))
    clients = Clients(SETTINGS, FakeMetadata(logs), None)  # type: ignore[arg-type]
    return StreamLook(placed(stream), instance, clients, state, NOW)  # type: ignore[arg-type]


def ticks(look: StreamLook) -> Iterator[tuple[str, str, int]]:
    """(asset, window, offsets) of every report, until there is nothing more to say."""
    through: Through | None = None
    for _ in range(2 * HOURS):
        events, through = window_events(look, through, is_loading=False)
        assert len(events) <= max(window_reports.MOST_EVENTS, 3)
        for event in events:
            value = event.metadata.get("offsets_of_window") or event.metadata["rows"]
            yield event.asset_key.to_user_string(), str(event.partition), int(value.value)  # type: ignore[arg-type]


@given(
    st.builds(
        Case, st.tuples(parts(), parts()), st.frozensets(st.integers(0, HOURS - 1), max_size=HOURS), st.booleans()
    ),
    st.sampled_from([3, 7, 100]),
)
@settings(max_examples=400, deadline=None)
def test_windows_that_are_over_wholly_loaded_and_unknown_are_reported_once_and_no_others(case: Case, most: int) -> None:
    look = look_at(case, Known({key_of(hour) for hour in case.known}))
    with (
        patch.object(window_reports, "MOST_EVENTS", most),
        patch.object(window_reports, "_live_from", lambda _look: dict.fromkeys(P, 0)),
    ):
        found = list(ticks(look))
    keys = [spec.key.to_user_string() for spec in look.placed.loaded]
    expected = [(asset, key_of(hour), count) for hour, count in case.reported().items() for asset in keys]
    assert sorted(found) == sorted(expected)
