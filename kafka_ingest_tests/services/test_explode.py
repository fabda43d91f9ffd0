"""Messages that are several rows, on real servers: loaded, loaded again, refused by the database, replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.trace import trace
from kafka_ingest.checks.whole_ledger import audit_accounting
from kafka_ingest.slices import RawSlice
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.exploded import BOTH, lines_of, order, stock
from kafka_ingest_tests.support.letters import became, run_replay
from kafka_ingest_tests.support.ways_in import WAYS, target_by

pytestmark = pytest.mark.services


@pytest.fixture(params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_by(request, BOTH) as found:
        yield found


def at(*messages: Msg, start: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), start=start))


def lines(target: Target) -> list[tuple[Any, ...]]:
    return target.all("SELECT _kafka_offset, _kafka_index, sku, quantity FROM x_lines ORDER BY 1, 2")


def held(target: Target) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in target.all("SELECT sku, quantity, place, _kafka_offset FROM x_stock")}


def forecast(target: Target, raw: RawSlice) -> list[TableForecast]:
    found = []
    with target.sink.engine.connect() as connection:
        for table in target.stream.targets:
            with closing(table_comparison(connection, target.sink, table)) as comparison:
                comparison.compare(piped(target.stream, raw))
                found.append(comparison.result())
    return found


def test_rows_are_loaded_again_and_refused_and_replayed_message_by_message(target: Target) -> None:
    messages = [
        order(1, ("a", 1), ("b", 2)),
        stock("p", ("a", 1), ("b", 2), ("a", 3)),
        order(2, ("c", 3), ("d", 13), ("e", 5)),
        order(3),
        stock("q", ("b", 4), ("c", 13)),
        order(4, *((f"s{n}", n) for n in range(20, 60))),
        stock("r", ("d", 1), ("e", 7)),
    ]
    good = [(n, message) for n, message in enumerate(messages) if n in (0, 5)]
    wanted = {"a": (3, "p", 1), "b": (2, "p", 1), "d": (1, "r", 6), "e": (7, "r", 6)}
    assert [(f.added, f.removed) for f in forecast(target, at(*messages[:2]))] == [(2, 0), (2, 0)]
    target.load(at(*messages[:4]))
    target.load_ahead(at(*messages[4:], start=4))
    for _ in range(2):
        assert lines(target) == lines_of(good)
        assert held(target) == wanted
        letters = target.all("SELECT kafka_offset, stage, error FROM kafka_ingest_dead_letters ORDER BY 1")
        assert [(offset, stage) for offset, stage, _ in letters] == [(2, "database"), (4, "database")]
        assert letters[0][2].startswith("order.lines[1]: ")
        assert letters[1][2].startswith("articles[1]: ")
        target.load(at(*messages), "backfill")
    assert target.all("SELECT row_count, dead_letter_count, ignored_count FROM kafka_ingest_batches ORDER BY id") == [
        (2, 1, 1),
        (2, 1, 0),
        (4, 2, 1),
        (4, 2, 1),
    ]
    assert [(f.unchanged, f.added, f.changed, f.removed) for f in forecast(target, at(*messages[:2]))] == [
        (2, 0, 0, 0),
        (2, 0, 0, 0),
    ]
    assert not audit_accounting(target.sink, BOTH).faults
    assert not audit_rows(target.sink, BOTH, BOTH.targets[0], seconds=60).faults
    assert [row.index for row in trace(target.sink, BOTH, BOTH.targets[0], "mixed[0]@0")] == [0, 1]

    with target.sink.engine.begin() as connection:
        for table, name in (("x_lines", "x_no_thirteen"), ("x_stock", "x_stock_no_thirteen")):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    assert set(became(run_replay(target, BOTH)).values()) == {"row"}
    assert lines(target) == lines_of([good[0], (2, messages[2]), good[1]])
    assert held(target) == wanted | {"b": (4, "q", 4), "c": (13, "q", 4)}, (
        "the last message counts, whenever it is loaded"
    )
    assert not audit_rows(target.sink, BOTH, BOTH.targets[0], seconds=60).faults
