"""What is decided before the lock is only a proposal: positions, ranges, the log's identity and the ledger's version."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import AccountingError, DataLoss, DeadLetterLimit, SchemaMismatch
from kafka_ingest.ledger.entries import loaded_since
from kafka_ingest.ledger.positions import Advance, Fence, advance_positions, ledger_fences, lock_fences
from kafka_ingest.ledger.tables import OFFSETS
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import LeaderEpoch, LogIdentity
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.loads import P0, P1, account, event, events, names

pytestmark = pytest.mark.slow

# Yesterday's code: it had no rows for what is an event today.
YESTERDAY = Stream(name="mixed", topics=MIXED.topics, routes={"account": MIXED.routes["account"]}, unrouted="ignore")


def fence(target: Target) -> Fence:
    with target.sink.engine.connect() as connection:
        return ledger_fences(connection, "mixed", [P0])[P0]


def test_a_backfill_ahead_of_the_position_is_emptied_by_each_slice_that_reaches_into_it(target: Target) -> None:
    target.load(events("c", "d", "e", start=2), "backfill")
    target.load(raw_slice(Part([event("a"), event("b"), Msg(b"no row"), Msg(b"no row")])))
    target.load(raw_slice(Part([Msg(b"no row any more")], start=4)))
    assert names(target) == ["a", "b"]


def test_a_range_loaded_again_after_a_backfill_has_emptied_it_is_emptied_once_more(target: Target) -> None:
    """Two backfills of one range with two versions of the code, one of them written ahead."""
    target.load(events("a", "b"))
    other_rows = raw_slice(Part([account("k", 1), account("m", 1)]))

    def another_run_comes(step: str) -> None:
        if step == LoadStep.LOCK and not done:
            done.append(step)
            target.load(events("A", "B"), "backfill", run_id="other")

    done: list[str] = []
    # SQLite has one writer at a time: the other run comes where this one has rolled back or not begun.
    target.load(
        other_rows,
        "backfill",
        at_step=lambda step: another_run_comes(LoadStep.LOCK) if step == LoadStep.STAGE else None,
    )
    assert names(target) == []
    assert done


def test_loads_of_ranges_since_a_revision_are_told_from_those_before_and_beside_them(target: Target) -> None:
    target.load(events("a", "b", "c", "d"))
    before = {P0: fence(target).revision}
    target.load(events("B", "C", start=1), "backfill")

    def since(start: int, end: int) -> bool:
        with target.sink.engine.connect() as connection:
            (each,) = events("x", start=start, end=end).ranges
            return loaded_since(connection, "mixed", [each], before)

    assert [since(0, 1), since(0, 2), since(1, 2), since(2, 4), since(3, 4)] == [False, True, True, True, False]


def test_a_slice_of_another_log_is_refused_under_the_lock(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.execute(sa.update(OFFSETS).values(topic_id="old"))
    before = target.state()
    raw = replace(events("a"), logs=(LogIdentity(topic_id="new"),))
    for load in (target.load, target.load_ahead):
        with pytest.raises(DataLoss, match="topic mixed was deleted and created again"):
            load(raw)
    assert target.state() == before
    target.load(replace(raw, logs=(LogIdentity("old", LeaderEpoch(4, 0)),)))
    assert (names(target), fence(target).leader_epoch) == (["a"], LeaderEpoch(4, 0))


def test_a_position_never_goes_back(target: Target) -> None:
    target.load(events("a", "b"))
    with target.sink.engine.begin() as connection:
        locked = lock_fences(connection, "mixed", [P0])[P0]
        back = {P0: replace(Advance.nowhere(locked), next_offset=1)}
        with pytest.raises(AccountingError, match="would go back from 2 to 1"):
            advance_positions(connection, "mixed", back, run_id="r", now=NOW)
    assert target.offsets()["mixed[0]"] == 2


def test_a_position_that_is_not_as_it_was_locked_is_not_moved(target: Target) -> None:
    stale = fence(target)
    target.load(events("a", "b"))
    move = {P0: replace(Advance.nowhere(stale), next_offset=5, loaded_to=5)}
    with target.sink.engine.begin() as connection, pytest.raises(AccountingError, match="not where they were locked"):
        advance_positions(connection, "mixed", move, run_id="r", now=NOW)
    assert target.offsets()["mixed[0]"] == 2


def test_orders_go_on_from_the_ledgers_where_a_slice_was_read_with_others(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1, timestamp_ms=9_000)])))
    target.load(raw_slice(Part([account("k", 2, timestamp_ms=1_000)], start=1)).with_order_starts({P0: 77}))
    assert target.all("SELECT balance, _kafka_order FROM t_account") == [(2, 9_000)]
    assert fence(target).order == 9_000
    assert target.all("SELECT order_start FROM kafka_ingest_batches ORDER BY id") == [(-1,), (9_000,)]


@pytest.mark.parametrize("size", [1, 7, 10, 99])
def test_a_trickle_of_bad_messages_stops_the_stream_after_about_a_hundred(target: Target, size: int) -> None:
    loaded = 0
    error: DeadLetterLimit | None = None
    while error is None:
        try:
            target.load(raw_slice(Part([Msg(b"bad")] * size, start=loaded)))
            loaded += size
        except DeadLetterLimit as found:
            error = found
    assert "loaded before them" in str(error)
    assert 99 - size < loaded < 100 + size
    # With the fault mended the stream goes on.
    target.load(raw_slice(Part([event("a"), event("b")], start=loaded)))
    assert names(target) == ["a", "b"]


def test_a_trickle_that_is_half_bad_goes_on(target: Target) -> None:
    for start in range(0, 300, 2):
        target.load(raw_slice(Part([Msg(b"bad"), event("a")], start=start)))
    assert target.offsets()["mixed[0]"] == 300


def test_a_newer_ledger_is_refused_before_anything_is_changed(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_ledger SET version = 99")
    with pytest.raises(SchemaMismatch, match=r"the ledger has version 99.*a newer one has used this database"):
        prepare_tables(target.sink, MIXED)


def test_an_older_ledger_is_brought_up_to_date_and_goes_on_where_it_stood(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1, timestamp_ms=9_000), event("b", timestamp_ms=5_000)])))
    target.load(events("x", start=7), "backfill")
    for table, column in [
        ("kafka_ingest_offsets", "leader_epoch"),
        ("kafka_ingest_offsets", "leader_epoch_offset"),
        ("kafka_ingest_offsets", "kafka_order"),
        ("kafka_ingest_offsets", "loaded_to"),
        ("kafka_ingest_offsets", "revision"),
        ("kafka_ingest_batches", "order_start"),
        ("kafka_ingest_dead_letters", "kafka_order"),
        ("t_account", "_kafka_order"),
        ("t_account_tombstones", "_kafka_order"),
    ]:
        with target.sink.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX kafka_ingest_batches_revision")
        connection.exec_driver_sql("ALTER TABLE kafka_ingest_batches DROP COLUMN revision")
        connection.exec_driver_sql("DROP TABLE kafka_ingest_ledger")
    prepare_tables(target.sink, MIXED)
    found = fence(target)
    assert (found.next_offset, found.loaded_to, found.revision) == (2, 8, 0)
    assert found.order >= 9_000
    # The timestamp stands for the order that the row has not: it is that of another partition's message that decides.
    target.load(raw_slice(Part([account("k", 3, timestamp_ms=8_999)], partition=1)))
    assert target.all("SELECT balance, _kafka_order FROM t_account") == [(1, None)]
    target.load(raw_slice(Part([account("k", 2, timestamp_ms=1_000)], start=2)))
    assert target.all("SELECT balance, _kafka_order >= 9000 FROM t_account") == [(2, 1)]


@pytest.mark.parametrize(("stamp", "expected"), [(8_999, 1), (9_001, 3)])
def test_a_row_of_an_older_version_stands_where_its_timestamp_says(target: Target, stamp: int, expected: int) -> None:
    target.load(raw_slice(Part([event("a", timestamp_ms=9_500), account("k", 1, timestamp_ms=9_000)])))
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE t_account SET _kafka_order = NULL")
    # Of the same partition: the offset says it, as it does where there is an order.
    target.load(raw_slice(Part([account("k", 2, timestamp_ms=9_500)])), "backfill")
    assert target.all("SELECT balance FROM t_account") == [(1,)]
    target.load(raw_slice(Part([account("k", 3, timestamp_ms=stamp)], partition=1)))
    assert target.all("SELECT balance FROM t_account") == [(expected,)]


def test_an_older_version_that_goes_on_after_the_ledger_was_brought_up_to_date_is_noticed(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_offsets SET next_offset = 5")
    before = target.all("SELECT version, ledger_id FROM kafka_ingest_ledger")
    with pytest.raises(SchemaMismatch, match=r"mixed\[0\].*was written by an older version") as caught:
        target.load(events("a", start=5))
    with target.sink.engine.begin() as connection:
        for statement in caught.value.statements:
            connection.exec_driver_sql(statement)
    prepare_tables(target.sink, MIXED)
    assert target.all("SELECT version, ledger_id FROM kafka_ingest_ledger") == before
    target.load(events("a", start=5))
    assert names(target) == ["a"]
    assert target.rows(Event, "name") == [("a",)]


def test_a_partition_without_messages_keeps_its_order(target: Target) -> None:
    target.load(raw_slice(Part([account("k", 1, timestamp_ms=9_000)]), Part([], partition=1, end=3)))
    target.load(raw_slice(Part([], start=1, end=4)))
    assert fence(target).order == 9_000
    with target.sink.engine.connect() as connection:
        assert ledger_fences(connection, "mixed", [P1])[P1].order == -1
