"""A message has the same order however it comes to be read: live, inside an entry of the ledger, where nobody has loaded yet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.engine.orders import MessageOrders
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.ledger.positions import ledger_fences, pin_positions
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.slices import NO_ORDER, OffsetRange, RawSlice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, FakeMetadata, Log
from kafka_ingest_tests.support.loads import P0

pytestmark = pytest.mark.slow


class Case:
    """A log whose messages have these timestamps, and a ledger that begins at `start`."""

    def __init__(self, stamps: Sequence[int], start: int = 0) -> None:
        body = b'{"type": "account", "id": "k", "balance": 1}'
        messages = {n: FakeMessage(P0, n, body, stamp) for n, stamp in enumerate(stamps)}
        self.logs = {P0: Log(messages, len(stamps))}
        self.metadata = FakeMetadata(self.logs)
        self.target = Target(MIXED)
        orders = self.metadata.largest_timestamps_below({P0: start} if start else {})
        with self.target.sink.engine.begin() as connection:
            pin_positions(connection, "mixed", {P0: start}, {}, run_id="pin", now=NOW, orders=orders)

    def reader(self) -> RangeReader:
        return RangeReader(FakeConsumer(self.logs))

    def orders(self) -> MessageOrders:
        """As a new run has them."""
        return MessageOrders(MIXED, self.target.sink, self.metadata, self.reader)

    def read(self, start: int, end: int) -> RawSlice:
        reader = self.reader()
        reader.restart([OffsetRange(*P0, start, end)])
        return reader.read_slice(max_rows=1_000, max_bytes=1 << 20)

    def expected(self, start: int, end: int) -> list[int]:
        stamps = [self.logs[P0].messages[n].stamp for n in range(end)]
        return [max(stamps[: n + 1]) for n in range(start, end)]


STAMPS = [5, 3, 9, 1, 7, 9, 12, 2, 2, 20]


@pytest.mark.parametrize(("start", "end"), [(0, 3), (2, 5), (3, 4), (4, 8), (6, 10)])
def test_a_backfill_has_the_orders_of_the_live_load(start: int, end: int) -> None:
    case = Case(STAMPS)
    orders = case.orders()
    for at, to in ((0, 4), (4, 6), (6, 10)):
        case.target.load(orders.count(case.read(at, to)))
    assert case.orders().count(case.read(start, end)).orders.tolist() == case.expected(start, end)


def test_slices_of_one_run_go_on_from_each_other_without_a_look_at_the_ledger() -> None:
    case = Case(STAMPS)
    orders = case.orders()
    assert orders.count(case.read(0, 4)).orders.tolist() == case.expected(0, 4)
    case.target.sink.close()
    assert orders.count(case.read(4, 7)).orders.tolist() == case.expected(4, 7)


def test_where_a_stream_starts_late_the_messages_before_count_all_the_same() -> None:
    case = Case(STAMPS, start=4)
    assert case.orders().count(case.read(4, 6)).orders.tolist() == [9, 9]
    assert case.orders().count(case.read(1, 4)).orders.tolist() == case.expected(1, 4)


def test_before_the_ledger_is_made_a_dry_run_asks_kafka() -> None:
    case = Case(STAMPS)
    with case.target.sink.engine.begin() as connection:
        METADATA.drop_all(connection)
    assert case.orders().count(case.read(3, 6)).orders.tolist() == case.expected(3, 6)


@given(
    stamps=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    cuts=st.sets(st.integers(1, 11), max_size=4),
    start=st.integers(0, 11),
    size=st.integers(1, 6),
    pinned=st.integers(0, 3),
)
@settings(max_examples=60)
def test_orders_do_not_depend_on_slices_or_on_who_loads(
    stamps: list[int], cuts: set[int], start: int, size: int, pinned: int
) -> None:
    pinned = min(pinned, len(stamps))
    case = Case(stamps, pinned)
    orders = case.orders()
    bounds = [pinned, *sorted(c for c in cuts if pinned < c < len(stamps)), len(stamps)]
    for at, to in pairwise(bounds):
        if at < to:
            raw = orders.count(case.read(at, to))
            assert raw.orders.tolist() == case.expected(at, to)
            case.target.load(raw)
    start, end = min(start, len(stamps) - 1), min(start + size, len(stamps))
    if start < end:
        raw = case.orders().count(case.read(start, end))
        assert raw.orders.tolist() == case.expected(start, end)
        case.target.load(raw, "backfill")
        again = case.orders().count(case.read(start, end))
        assert again.orders.tolist() == case.expected(start, end)
    with case.target.sink.engine.connect() as connection:
        expected = max(stamps, default=NO_ORDER)
        assert ledger_fences(connection, "mixed", [P0])[P0].order == expected
