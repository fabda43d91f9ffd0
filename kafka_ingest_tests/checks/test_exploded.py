"""From a message that is several rows to them, and back; the ledger's figures and forecasts of such tables."""

from __future__ import annotations

from contextlib import closing

import pytest

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.checks.ledger_totals import LedgerTotals
from kafka_ingest.checks.table_rows import Entry, audit_rows, check_run_rows, expected_rows
from kafka_ingest.checks.trace import trace, traced_document
from kafka_ingest.slices import RawSlice
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.exploded import BOTH, order, stock
from kafka_ingest_tests.support.searched import Searched


@pytest.fixture
def target() -> Target:
    found = Target(BOTH)
    found.receive(order(1, ("a", 1), ("b", 2)), stock("p", ("x", 1), ("y", 2)), order(2), order(3, ("c", 3)))
    return found


def test_a_position_leads_to_each_of_its_rows(target: Target) -> None:
    found = trace(target.sink, BOTH, BOTH.targets[0], "mixed[0]@0")
    assert [(each.fate, each.position.offset, each.index, each.key) for each in found] == [
        ("row", 0, 0, None),
        ("row", 0, 1, None),
    ]
    assert [traced_document(each, "x_lines", lambda _run: None)["index"] for each in found] == [0, 1]
    assert len(trace(target.sink, BOTH, BOTH.targets[0], "mixed[0]@0", limit=1)) == 1
    assert [each.index for each in trace(target.sink, BOTH, BOTH.targets[0], "sku=b")] == [1]
    assert [(each.key, each.index) for each in trace(target.sink, BOTH, BOTH.targets[1], "mixed[0]@1")] == [
        ({"sku": "x"}, None),
        ({"sku": "y"}, None),
    ]
    assert [each.fate for each in trace(target.sink, BOTH, BOTH.targets[0], "mixed[0]@2")] == ["no_row"]


def test_a_message_says_how_many_rows_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, BOTH)
    topic.send(
        order(1, ("a", 1), ("b", 2)),
        stock("p", ("x", 1), ("y", 2), ("x", 3)),
        stock("q", ("y", 4)),
        order(2),
        order(3, ("a", 13)),
        stock("r", ("y", 5), ("z", 6)),
    )
    topic.load()
    said = [topic.one(str(n)) for n in range(6)]
    assert [each.fate for each in said] == ["row", "row", "superseded", "ignored", "dead_letter", "row"]
    assert said[0].text == "2 rows of table x_lines"
    assert said[1].text == "1 row of table x_stock; 1 more of its keys have rows of other messages, or none"
    assert said[1].key == {"sku": "x"}
    assert (said[2].by, said[2].key) == (said[5].position, {"sku": "y"})
    assert said[5].text == "2 rows of table x_stock"
    assert said[5].key is None
    assert topic.offsets("articles.sku=y") == [1, 2, 5], "a field of any element is found"
    assert topic.offsets("order.lines.sku=b") == [0]


def test_the_ledgers_sums_are_of_messages_and_of_rows_by_table(target: Target) -> None:
    totals = LedgerTotals("both").look(target.sink)
    assert totals is not None
    assert (totals.offsets["live", "row"], totals.offsets["live", "ignored"]) == (3, 1)
    assert dict(totals.rows) == {("x_lines", "live"): 3, ("x_stock", "live"): 2}


def test_a_row_that_is_gone_is_missed(target: Target) -> None:
    table = BOTH.targets[0]
    assert not audit_rows(target.sink, BOTH, table, seconds=60).faults
    assert not check_run_rows(target.sink, BOTH, "run", table).faults
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM x_lines WHERE _kafka_offset = 0 AND _kafka_index = 1")
    for found in (audit_rows(target.sink, BOTH, table, seconds=60), check_run_rows(target.sink, BOTH, "run", table)):
        assert found.faults == ("mixed[0]@[0,4): table x_lines has 2 rows, the ledger says 3",)


def entry(number: int, start: int, end: int, rows: int, *, replays: bool = False) -> Entry:
    return Entry(number, start, end, replays, {"t": rows}, "run")


def test_of_a_range_that_is_loaded_again_in_part_any_share_of_the_rows_may_be_the_old_ones() -> None:
    group = [entry(1, 0, 10, 50), entry(2, 5, 15, 30)]
    found = expected_rows(group, "t", is_exploded=True)
    assert found is not None
    assert (found.low, found.high) == (30, 80)
    whole = expected_rows([entry(1, 0, 10, 50), entry(2, 0, 10, 20)], "t", is_exploded=True)
    assert whole is not None
    assert (whole.low, whole.high) == (20, 20)


def at(*messages: Msg, start: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), start=start))


def forecast(target: Target, raw: RawSlice) -> list[TableForecast]:
    found = []
    with target.sink.engine.connect() as connection:
        for table in BOTH.targets:
            with closing(table_comparison(connection, target.sink, table)) as comparison:
                comparison.compare(piped(BOTH, raw))
                found.append(comparison.result())
    return found


def test_a_forecast_compares_element_by_element(target: Target) -> None:
    again = at(order(1, ("a", 1), ("b", 9), ("n", 1)), stock("p", ("x", 7), ("w", 2)), order(2, ("m", 1)), order(3))
    lines, articles = forecast(target, again)
    assert (lines.unchanged, lines.changed, lines.added, lines.removed) == (1, 1, 2, 1)
    assert (articles.unchanged, articles.changed, articles.added, articles.removed) == (0, 1, 1, 0)
    target.load(again, "backfill")
    lines, articles = forecast(target, again)
    assert (lines.unchanged, lines.changed, lines.added, lines.removed) == (4, 0, 0, 0)
    assert (articles.unchanged, articles.changed) == (2, 0)
