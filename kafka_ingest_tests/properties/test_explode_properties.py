"""Any messages with arrays, loaded in any slices and again, leave what a few lines of Python make of them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.exploded import BOTH

pytestmark = pytest.mark.slow

# A long or missing article is refused by validation, a text for a number by the decoder, 13 by the table of lines. The table
# of articles is not asked: it judges no row that a later message has superseded, so which are refused depends on the slices.
QUANTITIES = st.integers(0, 9) | st.sampled_from([13, None, "1"])
BAD = st.sampled_from([None, {}, {"sku": "much too long"}, 7])


def arrays(quantities: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    good = st.fixed_dictionaries({"sku": st.sampled_from("abcde"), "quantity": quantities})
    return st.lists(good, max_size=5) | st.lists(good | BAD, max_size=5) | st.sampled_from([None, {}, "[]"])


ORDERS = st.builds(
    lambda n, lines: {"type": "order", "id": n, "order": {"lines": lines}}, st.integers(0, 9), arrays(QUANTITIES)
)
STOCKS = st.builds(
    lambda place, articles: {"type": "stock", "place": place, "articles": articles},
    st.sampled_from("xy"),
    arrays(QUANTITIES.filter(lambda quantity: quantity != 13)),
)
CUTS = st.lists(st.integers(0, 12), max_size=4)


def elements_of(message: dict[str, Any]) -> list[Any] | None:
    """The elements of a message, where all of them can be rows; None where one cannot."""
    array = message["order"]["lines"] if message["type"] == "order" else message["articles"]
    if array is None:
        return []
    if not isinstance(array, list):
        return None
    for each in array:
        quantity = each.get("quantity") if isinstance(each, dict) else "no object"
        if isinstance(quantity, str) or quantity == 13 or len(each.get("sku") or " " * 99) > 10:
            return None
    return array


def slices_of(cuts: list[int], end: int) -> list[tuple[int, int]]:
    return [(a, b) for a, b in pairwise([0, *sorted(min(cut, end) for cut in cuts), end]) if a < b]


@given(st.lists(ORDERS | STOCKS, min_size=1, max_size=12), CUTS, st.lists(CUTS, max_size=2), st.booleans())
@settings(max_examples=25)
def test_tables_are_those_of_a_few_lines_of_python(
    messages: list[dict[str, Any]], cuts: list[int], again: list[list[int]], is_ahead: bool
) -> None:
    target = Target(BOTH)
    target.pin({TopicPartition("mixed", 0): 0})
    end = len(messages)
    bodies = [Msg(json.dumps(message).encode()) for message in messages]
    for start, stop in slices_of(cuts, end):
        raw = raw_slice(Part(bodies[start:stop], start=start))
        (target.load_ahead if is_ahead else target.load)(raw)
    for more in again:
        for start, stop in reversed(slices_of(more, end)):
            target.load(raw_slice(Part(bodies[start:stop], start=start)), "backfill")

    lines, stock, dead, ignored = [], {}, [], 0
    for offset, message in enumerate(messages):
        elements = elements_of(message)
        if elements is None:
            dead.append(offset)
            continue
        ignored += not elements
        for index, each in enumerate(elements):
            if message["type"] == "order":
                lines.append((offset, index, message["id"], each["sku"], each["quantity"]))
            else:
                stock[each["sku"]] = (each["quantity"], message["place"], offset)

    found = target.all("SELECT _kafka_offset, _kafka_index, order_id, sku, quantity FROM x_lines ORDER BY 1, 2")
    assert found == lines
    rows = target.all("SELECT sku, quantity, place, _kafka_offset FROM x_stock")
    assert {sku: tuple(rest) for sku, *rest in rows} == stock
    letters = target.all("SELECT kafka_offset, message_value FROM kafka_ingest_dead_letters ORDER BY 1")
    assert letters == [(offset, bodies[offset].body) for offset in dead]
    live = target.all(
        "SELECT SUM(row_count), SUM(dead_letter_count), SUM(ignored_count) FROM kafka_ingest_batches WHERE kind = 'live'"
    )
    assert live == [(end - len(dead) - ignored, len(dead), ignored)]
    audits = [audit_accounting(target.sink, BOTH), audit_tiling(target.sink, BOTH)]
    audits.append(audit_rows(target.sink, BOTH, BOTH.targets[0], seconds=60))
    assert not [fault for each in audits for fault in each.faults]
