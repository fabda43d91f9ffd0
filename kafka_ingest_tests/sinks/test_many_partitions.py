"""Slices of more Kafka partitions than one statement is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import AccountingError
from kafka_ingest.ledger.entries import loaded_since
from kafka_ingest.ledger.positions import Advance, advance_positions, ledger_fences, lock_fences
from kafka_ingest.ledger.range_sql import OR_TERMS, in_terms
from kafka_ingest.slices import LeaderEpoch, OffsetRange, RawSlice, TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.loads import event

# Two whole statements and a part of one.
COUNT = 2 * OR_TERMS + 37
PARTITIONS = [TopicPartition("mixed", number) for number in range(COUNT)]


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin(dict.fromkeys(PARTITIONS, 0))
    return found


def slice_of(length: int, start: int = 0, *, bad_in: int | None = None, count: int = COUNT) -> RawSlice:
    """So many events of each partition, named by their place; the last one of a partition is no event where asked."""
    return raw_slice(
        *(
            Part(
                [
                    Msg(b"bad") if p == bad_in and offset == start + length - 1 else event(f"{p}-{offset}")
                    for offset in range(start, start + length)
                ],
                partition=p,
                start=start,
            )
            for p in range(count)
        )
    )


def names(lengths: Iterator[int]) -> list[tuple[str]]:
    return [(f"{p}-{offset}",) for p, length in enumerate(lengths) for offset in range(length)]


def test_each_partition_has_its_rows_its_entry_and_its_position(target: Target) -> None:
    result = target.load(slice_of(3, bad_in=230))
    expected = [row for row in names(3 for _ in PARTITIONS) if row != ("230-2",)]
    assert target.rows(Event, "name") == expected
    assert target.offsets() == {str(tp): 3 for tp in PARTITIONS}
    assert target.batches() == [
        (f"mixed[{p}]@[0,3)", "live", 2 if p == 230 else 3, 0, 1 if p == 230 else 0, 0, 0) for p in range(COUNT)
    ]
    assert [position for position, *_ in target.dead_letters()] == ["mixed[230]@2"]
    assert result.next_offsets == dict.fromkeys(PARTITIONS, 3)


def test_what_one_partition_has_already_is_left_out_of_it_alone(target: Target) -> None:
    target.load(raw_slice(Part([event("150-0"), event("150-1")], partition=150)))
    result = target.load(slice_of(3))
    assert result.skipped == 2
    assert target.rows(Event, "name") == names(3 for _ in PARTITIONS)
    assert [batch[0] for batch in target.batches() if batch[0].startswith("mixed[150]")] == [
        "mixed[150]@[0,2)",
        "mixed[150]@[2,3)",
    ]


def test_a_backfill_replaces_all_rows_and_moves_only_the_positions_it_goes_on_from(target: Target) -> None:
    target.load(slice_of(2, bad_in=236))
    target.load(raw_slice(Part([event("7-2")], partition=7, start=2)))
    before = target.all("SELECT kafka_partition, run_id FROM kafka_ingest_offsets ORDER BY 1")
    target.load(slice_of(3), "backfill", run_id="other")
    assert target.rows(Event, "name") == names(3 for _ in PARTITIONS)
    assert target.offsets() == {str(tp): 3 for tp in PARTITIONS}
    assert target.dead_letters() == []
    runs = target.all("SELECT kafka_partition, run_id FROM kafka_ingest_offsets ORDER BY 1")
    # A backfill below the position is no progress of the live run there.
    assert runs == [(p, "run" if p == 7 else "other") for p, _ in before]
    revisions = target.all("SELECT kafka_partition, revision FROM kafka_ingest_offsets ORDER BY 1")
    assert revisions == [(p, 3 if p == 7 else 2) for p in range(COUNT)]


def test_rows_written_ahead_are_those_of_a_load_in_order(target: Target) -> None:
    other = Target(MIXED)
    other.pin(dict.fromkeys(PARTITIONS, 0))
    for start in (0, 3):
        target.load(slice_of(3, start))
        other.load_ahead(slice_of(3, start))
    assert other.state() == target.state()


def test_fences_are_those_of_the_partitions_asked_for_whatever_their_number(target: Target) -> None:
    target.pin({TopicPartition("mixed", COUNT): 5, TopicPartition("other", 0): 5})
    for asked in (PARTITIONS[:1], PARTITIONS[:3], PARTITIONS[5:104], PARTITIONS):
        with target.sink.engine.begin() as connection:
            assert set(ledger_fences(connection, "mixed", asked)) == set(asked)
            assert list(lock_fences(connection, "mixed", asked)) == asked
            assert lock_fences(connection, "another", asked) == {}


@pytest.mark.parametrize("moved", [0, 99, 100, 236])
def test_a_position_that_is_not_where_it_was_locked_is_refused(target: Target, moved: int) -> None:
    with target.sink.engine.begin() as connection:
        fences = lock_fences(connection, "mixed", PARTITIONS)
        connection.exec_driver_sql(
            f"UPDATE kafka_ingest_offsets SET next_offset = 1, loaded_to = 1 WHERE kafka_partition = {moved}"
        )
        moves = {tp: Advance(fence, 9, 9, 7, LeaderEpoch(3, 8)) for tp, fence in fences.items()}
        with pytest.raises(AccountingError, match=r"1 of [0-9]+ positions are not where they were locked"):
            advance_positions(connection, "mixed", moves, run_id="run", now=NOW)


def test_each_partition_gets_its_own_values(target: Target) -> None:
    with target.sink.engine.begin() as connection:
        fences = lock_fences(connection, "mixed", PARTITIONS)
        moves = {
            tp: Advance(fence, n % 3, 10 + n, 20 + n, None if n % 2 else LeaderEpoch(30 + n, 40 + n))
            for n, (tp, fence) in enumerate(fences.items())
        }
        advance_positions(connection, "mixed", moves, run_id="run", now=NOW)
        found = ledger_fences(connection, "mixed", PARTITIONS)
    assert {tp: (f.next_offset, f.loaded_to, f.order, f.leader_epoch) for tp, f in found.items()} == {
        tp: (m.next_offset, m.loaded_to, m.order, m.leader_epoch) for tp, m in moves.items()
    }


@pytest.mark.parametrize("loaded", [0, 99, 100, 200, 236])
def test_a_load_of_one_of_many_ranges_is_seen(target: Target, loaded: int) -> None:
    ranges = [OffsetRange(*tp, 0, 3) for tp in PARTITIONS]
    before = dict.fromkeys(PARTITIONS, 0)

    def is_loaded() -> bool:
        with target.sink.engine.connect() as connection:
            return loaded_since(connection, "mixed", ranges, before)

    assert not is_loaded()
    target.load(raw_slice(Part([event("one")], partition=loaded)))
    assert is_loaded()


def test_statements_have_one_of_few_numbers_of_terms_and_name_each_value() -> None:
    for count in range(3 * OR_TERMS):
        parts = list(in_terms(range(count)))
        assert {len(part) for part in parts} <= {1, 2, 4, 8, 16, 32, 64, OR_TERMS}
        assert list(dict.fromkeys(value for part in parts for value in part)) == list(range(count))


def test_a_slice_of_a_few_partitions_less_compiles_no_statement_about_them(target: Target) -> None:
    """Which partitions have messages differs from slice to slice, and to make a statement costs more than to run it."""
    target.load(slice_of(2))
    compiled: list[str] = []

    def note(
        _connection: object, _cursor: object, statement: str, _parameters: object, context: object, _many: bool
    ) -> None:
        if " OR " in statement and context.cache_hit.name != "CACHE_HIT":  # type: ignore[attr-defined]
            compiled.append(statement)

    sa.event.listen(target.sink.engine, "before_cursor_execute", note)
    target.load(slice_of(2, 2, count=COUNT - 3))
    assert compiled == []
