"""Messages that are several rows: loaded, loaded again, refused and replayed as a whole, on the database for trying out."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_ingest.checks.table_rows import audit_rows, check_run_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.exploded import BOTH, LINES, STOCK, Line, Stock, lines_of, order, stock
from kafka_ingest_tests.support.letters import became, run_replay

BAD = "CHECK constraint failed: x_no_thirteen"


def at(*messages: Msg, start: int = 0, topic: str = "lines") -> RawSlice:
    return raw_slice(Part(list(messages), topic=topic, start=start))


@pytest.fixture
def target() -> Target:
    found = Target(LINES)
    found.pin({TopicPartition("lines", 0): 0})
    return found


def rows(target: Target) -> list[tuple[Any, ...]]:
    return target.all("SELECT _kafka_offset, _kafka_index, sku, quantity FROM x_lines ORDER BY 1, 2")


def errors(target: Target) -> list[tuple[int, str, str]]:
    return target.all("SELECT kafka_offset, stage, error FROM kafka_ingest_dead_letters ORDER BY 1")


def proven(target: Target, run_id: str = "run") -> bool:
    """Whether the ledger and the tables agree, message by message and row by row."""
    stream = target.stream
    found = [audit_accounting(target.sink, stream), audit_tiling(target.sink, stream)]
    for table in stream.targets:
        if not table.is_upsert:
            found.append(audit_rows(target.sink, stream, table, seconds=60))
            found.append(check_run_rows(target.sink, stream, run_id, table))
    return not [fault for each in found for fault in each.faults]


def test_a_message_is_a_row_for_each_element_with_its_place(target: Target) -> None:
    result = target.load(at(order(1, ("a", 1), ("b", 2)), order(2, ("a", 3)), order(3), order(4, ("c", 4))))
    assert rows(target) == [(0, 0, "a", 1), (0, 1, "b", 2), (1, 0, "a", 3), (3, 0, "c", 4)]
    assert target.rows(Line, "order_id", "customer") == [(1, "c1"), (1, "c1"), (2, "c2"), (4, "c4")]
    assert target.batches() == [("lines[0]@[0,4)", "live", 3, 0, 0, 1, 0)], "messages: three are rows, one is ignored"
    assert result.total("rows") == 3
    assert result.rows_by_table == {"x_lines": 4}, "rows of the table"
    assert target.all("SELECT rows_by_table FROM kafka_ingest_batches") == [('{"x_lines": 4}',)]
    assert proven(target)


def test_a_range_that_is_loaded_again_in_other_slices_replaces_its_rows(target: Target) -> None:
    messages = [order(n, *((f"s{i}", n) for i in range(n % 4))) for n in range(12)]
    target.load(at(*messages))
    before = rows(target)
    assert before == lines_of(enumerate(messages))
    for start, end in ((0, 5), (5, 6), (3, 12)):
        target.load(at(*messages[start:end], start=start), "backfill", run_id=f"again{start}")
        assert rows(target) == before
        assert proven(target, f"again{start}")


def test_rows_are_written_ahead_and_stay(target: Target) -> None:
    target.load(at(order(1, ("a", 1), ("b", 2))))
    target.load_ahead(at(order(2, ("a", 1), ("b", 2)), start=1))
    assert rows(target) == [(0, 0, "a", 1), (0, 1, "b", 2), (1, 0, "a", 1), (1, 1, "b", 2)]


def test_code_that_makes_fewer_rows_leaves_none_of_the_old_ones(target: Target) -> None:
    target.load(at(order(1, ("a", 1), ("b", 2)), order(2, ("c", 3))))
    target.load(at(order(1, ("a", 1)), order(2), start=0), "backfill")
    assert rows(target) == [(0, 0, "a", 1)]
    assert proven(target)


def test_where_the_database_refuses_an_element_nothing_of_its_message_is_loaded(target: Target) -> None:
    messages = [order(n, ("a", n), ("b", n + 20), ("c", 30)) for n in range(40)]
    messages[7] = order(7, ("a", 7), ("b", 1), ("c", 13), ("d", 13))
    messages[8] = order(8, ("a", 13))
    messages[13] = order(13, ("a", 0))
    target.load(at(*messages))
    assert errors(target) == [
        (7, "database", f"order.lines[2]: {BAD}"),
        (8, "database", f"order.lines[0]: {BAD}"),
    ]
    assert rows(target) == lines_of((n, m) for n, m in enumerate(messages) if n not in (7, 8))
    assert target.dead_letters()[0][3] == messages[7].body
    assert target.batches() == [("lines[0]@[0,40)", "live", 38, 0, 2, 0, 0)]
    assert proven(target)


@pytest.mark.parametrize(
    ("bad", "stage", "error"),
    [
        ({"sku": "a", "quantity": "1"}, "decode", "Expected `int | null`, got `str` - at `$.order.lines[1].quantity`"),
        ({"quantity": 1}, "validate", "order.lines[1].sku: missing or null, and the column is NOT NULL"),
        ({"sku": "a", "price": {"amount": "1.234"}}, "validate", "order.lines[1].price: "),
        ("a", "decode", "Expected `object | null`, got `str` - at `$.order.lines[1]`"),
        (None, "validate", "order.lines[1].sku: missing or null, and the column is NOT NULL"),
        ([], "decode", "Expected `object | null`, got `array` - at `$.order.lines[1]`"),
    ],
)
def test_an_element_that_is_bad_makes_its_message_a_dead_letter_that_names_it(
    target: Target, bad: object, stage: str, error: str
) -> None:
    target.load(at(order(1, ("a", 1)), order(2, ("b", 2), bad, ("c", 3)), order(3, ("d", 4))))
    assert [row[2] for row in rows(target)] == ["a", "d"]
    ((offset, found, text),) = errors(target)
    assert (offset, found) == (1, stage)
    assert text.startswith(error)
    assert proven(target)


def test_a_fault_of_the_message_around_is_not_said_of_an_element(target: Target) -> None:
    target.load(at(Msg({"id": None, "order": {"lines": [{"sku": "a"}, {"sku": "b"}]}})))
    assert errors(target) == [(0, "validate", "order_id: missing or null, and the column is NOT NULL")]


def test_a_dead_letter_that_is_replayed_loads_all_of_its_rows(target: Target) -> None:
    messages = [order(1, ("a", 1)), order(2, ("b", 2), ("c", 13)), order(3, ("d", 13))]
    target.load(at(*messages))
    with target.sink.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
    assert set(became(run_replay(target, LINES, dry_run=True)).values()) == {"row"}
    assert len(rows(target)) == 1
    done = run_replay(target, LINES)
    assert set(became(done).values()) == {"row"}
    assert [list(each.changes_by_window.values()) for each in done] == [[{"2026-01-01-07:00": 3}]]
    assert rows(target) == [(0, 0, "a", 1), (1, 0, "b", 2), (1, 1, "c", 13), (2, 0, "d", 13)]
    assert proven(target)


@pytest.fixture
def shelves() -> Target:
    found = Target(STOCK)
    found.pin({TopicPartition("stock", 0): 0})
    return found


def held(target: Target) -> dict[str, tuple[int, str, int]]:
    query = "SELECT sku, quantity, place, _kafka_offset FROM x_stock"
    return {sku: (quantity, place, offset) for sku, quantity, place, offset in target.all(query)}


def test_of_two_elements_with_one_key_the_last_one_counts_however_often_it_is_loaded(shelves: Target) -> None:
    messages = [stock("p", ("a", 1), ("b", 2), ("a", 3)), stock("q", ("b", 4), ("c", 5), ("c", 6))]
    wanted = {"a": (3, "p", 0), "b": (4, "q", 1), "c": (6, "q", 1)}
    shelves.load(at(*messages, topic="stock"))
    assert held(shelves) == wanted
    assert "_kafka_index" not in TargetTable.of(Stock).columns
    for start, end in ((0, 1), (1, 2), (0, 2)):
        shelves.load(at(*messages[start:end], start=start, topic="stock"), "backfill")
        assert held(shelves) == wanted


def test_a_message_of_whose_rows_one_is_refused_leaves_all_its_keys_to_those_before(shelves: Target) -> None:
    shelves.load(
        at(
            stock("p", ("a", 1), ("b", 2)),
            stock("q", ("a", 3), ("c", 4)),
            stock("r", ("a", 5), ("b", 13), ("c", 6), ("d", 7)),
            topic="stock",
        )
    )
    assert held(shelves) == {"a": (3, "q", 1), "b": (2, "p", 0), "c": (4, "q", 1)}
    assert errors(shelves) == [(2, "database", "articles[1]: CHECK constraint failed: x_stock_no_thirteen")]


@pytest.mark.parametrize("is_ahead", [False, True])
def test_a_row_that_stands_goes_where_its_message_is_refused_after_all(shelves: Target, is_ahead: bool) -> None:
    """The second message's a is hidden by the third's, so that its b is written; then the third is refused, the second's a comes
    to light and is refused, too, and its b must go."""
    messages = [
        stock("p", ("a", 1), ("b", 2)),
        stock("q", ("a", 13), ("b", 4), ("e", 5)),
        stock("r", ("a", 5), ("d", 13)),
        stock("s", ("f", 6)),
    ]
    (shelves.load_ahead if is_ahead else shelves.load)(at(*messages, topic="stock"))
    assert held(shelves) == {"a": (1, "p", 0), "b": (2, "p", 0), "f": (6, "s", 3)}
    assert [offset for offset, _, _ in errors(shelves)] == [1, 2]
    assert shelves.batches()[0][2:] == (2, 0, 2, 0, 0)


def test_two_models_share_a_stream_and_messages_of_one_row_go_beside_them() -> None:
    target = Target(BOTH)
    target.receive(order(1, ("a", 1), ("b", 2)), stock("p", ("a", 1)), order(2, ("a", 1)), stock("q", ("a", 2)))
    assert rows(target) == [(0, 0, "a", 1), (0, 1, "b", 2), (2, 0, "a", 1)]
    assert held(target) == {"a": (2, "q", 3)}
    assert proven(target)
