"""Steps over frames whose messages are several rows: what they are given, and what rejecting and dropping rows does."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from kafka_ingest.errors import StepError
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.streams.step import Step, StepContext
from kafka_ingest.testing.messages import Part, letters_of, outcomes, raw_slice
from kafka_ingest_tests.support.exploded import LINES, order

MESSAGES = [order(1, ("a", 1), ("b", 2)), order(2, ("c", 3)), order(3), order(4, ("d", 4), ("e", 5), ("f", 6))]


def through(step: Step) -> ParsedSlice:
    stream = replace(LINES, steps=(step,))
    parsed = run_pipeline(StreamDecoder(stream).decode(raw_slice(Part(MESSAGES, topic="lines"))), stream)
    assert sorted(set(outcomes(parsed))) == [0, 1, 2, 3]
    return parsed


def loaded(parsed: ParsedSlice) -> list[tuple[int, int, str]]:
    frame = parsed.rows.get(LINES.targets[0])
    if frame is None:
        return []
    return list(zip(frame.index.tolist(), frame["_kafka_index"].tolist(), frame["sku"].tolist(), strict=True))


def test_a_step_is_given_rows_under_numbers_of_their_own_in_the_order_of_their_elements() -> None:
    def look(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
        assert rows.index.tolist() == [0, 1, 2, 3, 4, 5]
        assert rows["_kafka_offset"].tolist() == [0, 0, 1, 3, 3, 3]
        assert rows["_kafka_index"].tolist() == [0, 1, 0, 0, 1, 2]
        rows["sku"] = rows["sku"] + "!"
        return rows

    assert [sku for _, _, sku in loaded(through(look))] == ["a!", "b!", "c!", "d!", "e!", "f!"]


def test_a_row_that_is_rejected_makes_its_message_a_dead_letter() -> None:
    def reject(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
        context.reject(pd.Series("not wanted", index=rows.index[rows["sku"].isin(["b", "f"])]))
        return rows

    parsed = through(reject)
    assert loaded(parsed) == [(1, 0, "c")]
    assert letters_of(parsed) == {
        0: ("step", "order.lines[1]: not wanted"),
        3: ("step", "order.lines[2]: not wanted"),
    }
    assert parsed.ignored.tolist() == [2]


def test_a_row_that_is_dropped_leaves_the_others_with_their_places() -> None:
    def drop(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows[~rows["sku"].isin(["a", "c", "e"])]

    parsed = through(drop)
    assert loaded(parsed) == [(0, 1, "b"), (3, 0, "d"), (3, 2, "f")]
    assert parsed.ignored.tolist() == [1, 2], "a message without a row left"


def test_the_order_of_rows_and_their_places_are_the_messages_own_whatever_a_step_does() -> None:
    def shuffle(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows.assign(_kafka_index=7, _kafka_offset=9).iloc[::-1]

    assert loaded(through(shuffle)) == [(0, 0, "a"), (0, 1, "b"), (1, 0, "c"), (3, 0, "d"), (3, 1, "e"), (3, 2, "f")]


def test_a_row_of_a_refused_message_that_a_step_drops_does_not_make_it_ignored() -> None:
    def both(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
        context.reject(pd.Series("bad", index=rows.index[:1]))
        return rows.drop(index=rows.index[1:2])

    parsed = through(both)
    assert letters_of(parsed) == {0: ("step", "order.lines[0]: bad")}
    assert parsed.ignored.tolist() == [2]


def _renamed(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
    return rows.set_axis(rows.index + 1)


def _doubled(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
    return pd.concat([rows, rows])


@pytest.mark.parametrize("step", [_renamed, _doubled])
def test_rows_that_a_step_adds_or_renames_are_its_fault(step: Step) -> None:
    with pytest.raises(StepError, match="added rows or changed the index"):
        through(step)
