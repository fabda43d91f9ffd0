# A row of a table is one line.
# ruff: noqa: E501
"""Pipeline steps change, drop and refuse rows, and nothing else; validation has the last word."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kafka_ingest.errors import StepError
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest.streams.step import Step, StepContext
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import letters_of, one, outcomes, piped, rows_of
from kafka_ingest.testing.models import EVERYTHING, MIXED, Account, Event, Everything

EVENTS = [{"type": "event", "name": name, "amount": n} for n, name in enumerate("abcd")]


def through(*steps: Step, values: list[Any] | None = None) -> ParsedSlice:
    stream = dataclasses.replace(MIXED, steps=steps)
    return piped(stream, one(*(EVENTS if values is None else values)))


def names(parsed: ParsedSlice) -> list[Any]:
    return [row["name"] for row in rows_of(parsed, Event)]


def test_steps_run_in_their_order_and_each_sees_what_the_last_one_left() -> None:
    def double(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows.assign(amount=rows["amount"] * 2)

    def add_one(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows.assign(amount=rows["amount"] + 1)

    assert [r["amount"] for r in rows_of(through(double, add_one), Event)] == [1, 3, 5, 7]
    assert [r["amount"] for r in rows_of(through(add_one, double), Event)] == [2, 4, 6, 8]


def test_a_step_is_told_the_model_and_runs_once_for_each_table() -> None:
    seen: list[tuple[str, Any, str]] = []

    class Recorder:
        def __call__(self, rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
            seen.append((context.stream, context.model, context.timezone))
            return rows

    through(Recorder(), values=[*EVENTS, {"type": "account", "id": "k"}])
    assert seen == [("mixed", Event, "UTC"), ("mixed", Account, "UTC")]


def test_a_dropped_row_counts_as_ignored() -> None:
    parsed = through(lambda rows, _context: rows[rows["name"] != "b"])
    assert names(parsed) == ["a", "c", "d"]
    assert parsed.ignored.tolist() == [1]
    assert parsed.dead_letters == []


def test_a_refused_row_is_a_dead_letter_whether_the_step_drops_it_or_not() -> None:
    def refuse(drop: bool) -> Step:
        def step(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
            bad = rows["name"].isin(["b", "d"])
            context.reject(rows["name"][bad].map(lambda name: f"no {name}"))
            return rows[~bad] if drop else rows

        return step

    for drop in (True, False):
        parsed = through(refuse(drop))
        assert names(parsed) == ["a", "c"]
        assert letters_of(parsed) == {1: ("step", "no b"), 3: ("step", "no d")}
        assert {d.route for d in parsed.dead_letters} == {"event"}
        assert outcomes(parsed) == [0, 1, 2, 3]


def test_all_rows_may_go() -> None:
    parsed = through(lambda rows, _context: rows[:0])
    assert parsed.rows == {}
    assert parsed.ignored.tolist() == [0, 1, 2, 3]


def test_a_step_cannot_touch_the_slice_it_was_given() -> None:
    def in_place(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        rows["amount"] = 99
        return rows

    stream = dataclasses.replace(MIXED, steps=(in_place,))
    decoded = StreamDecoder(stream).decode(one(*EVENTS))
    assert [r["amount"] for r in rows_of(run_pipeline(decoded, stream), Event)] == [99] * 4
    assert decoded.rows[TargetTable.of(Event)]["amount"].tolist() == [0, 1, 2, 3]
    assert [r["amount"] for r in rows_of(run_pipeline(decoded, MIXED), Event)] == [0, 1, 2, 3]


def test_a_step_cannot_move_a_message_to_another_position() -> None:
    parsed = through(lambda rows, _context: rows.assign(_kafka_offset=0, _kafka_topic="elsewhere")[::-1])
    assert parsed.rows[TargetTable.of(Event)]["_kafka_offset"].tolist() == [3, 2, 1, 0]
    assert set(parsed.rows[TargetTable.of(Event)]["_kafka_topic"]) == {"mixed"}


def raising(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
    raise KeyError("colour")


def reject_strangers(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    context.reject(pd.Series({77: "who?"}))
    return rows


BROKEN: list[tuple[str, Callable[..., Any], str]] = [
    ("it raises", raising, r"step raising of stream mixed, model Event raised KeyError: 'colour'; in mixed\[0\]@\[0,4\)"),
    ("it returns nothing", lambda rows, context: None, "returned NoneType, not a DataFrame"),
    ("it adds rows", lambda rows, context: pd.concat([rows, rows.set_axis(rows.index + 100)]), "added rows or changed the index"),
    ("it repeats rows", lambda rows, context: pd.concat([rows, rows]), "added rows or changed the index"),
    ("it numbers rows anew", lambda rows, context: rows.set_axis(list("wxyz")), "added rows or changed the index"),
    ("it drops a column", lambda rows, context: rows.drop(columns="amount"), "a pipeline step dropped column 'amount'"),
    ("it drops a position", lambda rows, context: rows.drop(columns="_kafka_offset"), "a pipeline step dropped column '_kafka_offset'"),
    ("it refuses strangers", reject_strangers, r"rejected rows it was not given: \[77\]"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "message"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN])
def test_a_step_that_breaks_its_contract_fails_the_batch(step: Step, message: str) -> None:
    with pytest.raises(StepError, match=message) as caught:
        through(step)
    assert caught.value.model == "Event"
    if "dropped column" not in message:  # found by validation, which does not know whose step it was
        assert (caught.value.stream, caught.value.step) == ("mixed", getattr(step, "__name__", None))


def test_what_a_step_writes_is_validated_value_by_value() -> None:
    def write(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows.assign(amount=[1.0, 2.5, np.nan, "x"], name=["ok", 5, "fine", "y"])

    parsed = through(write)
    assert [(r["name"], r["amount"]) for r in rows_of(parsed, Event)] == [("ok", 1), ("fine", None)]
    assert letters_of(parsed) == {
        1: ("validate", "amount: float 2.5 in an integer column"),
        3: ("validate", "amount: str x in an integer column"),
    }


def test_integers_that_pandas_turned_to_floats_are_integers_again_whatever_stands_beside_them() -> None:
    whole = through(lambda rows, _context: rows.assign(amount=rows["amount"].astype(float).where(rows["name"] != "b")))
    assert [r["amount"] for r in rows_of(whole, Event)] == [0, None, 2, 3]
    mixed = through(lambda rows, _context: rows.assign(amount=rows["amount"].astype(float).add([0, 0.5, 0, 0])))
    assert [r["amount"] for r in rows_of(mixed, Event)] == [0, 2, 3]
    assert letters_of(mixed) == {1: ("validate", "amount: float 1.5 in an integer column")}


def test_a_step_may_put_structures_into_a_json_column() -> None:
    values = [{"type": "e", "id": str(n)} for n in range(6)]
    written = [[65, 66], {"a": None}, 5, "[1, 2]", None, True]

    def write(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        return rows.assign(data=pd.Series(written, index=rows.index, dtype=object))

    stream = dataclasses.replace(EVERYTHING, steps=(write, translate_dates))
    parsed = piped(stream, one(*values, topic="everything"))
    assert [r["data"] for r in rows_of(parsed, Everything)] == ["[65,66]", '{"a":null}', "5", "[1, 2]", None, "true"]


@pytest.mark.parametrize("dtype", ["object", "str", "string", "category"])
def test_text_of_any_pandas_type_is_text(dtype: str) -> None:
    parsed = through(lambda rows, _context: rows.assign(code=pd.Series(["x", None, "é", ""], rows.index, dtype=dtype)))
    assert [r["code"] for r in rows_of(parsed, Event)] == ["x", None, "é", ""]


@pytest.mark.parametrize("dtype", ["object", "Int64", "Float64", "category"])
def test_integers_of_any_pandas_type_are_integers(dtype: str) -> None:
    parsed = through(lambda rows, _context: rows.assign(amount=pd.Series([1, None, 3, -4], rows.index, dtype=dtype)))
    assert [r["amount"] for r in rows_of(parsed, Event)] == [1, None, 3, -4]


@pytest.mark.parametrize("dtype", ["object", "str", "string"])
def test_digits_as_text_are_no_integers_also_where_pandas_calls_them_str(dtype: str) -> None:
    parsed = through(
        lambda rows, _context: rows.assign(amount=pd.Series(["1", "2", None, "4"], rows.index, dtype=dtype))
    )
    assert sorted(letters_of(parsed)) == [0, 1, 3]
    assert letters_of(parsed)[0] == ("validate", "amount: str 1 in an integer column")


def test_dates_a_step_made_with_a_zone_or_as_objects_are_instants_in_utc() -> None:
    zone = dt.timezone(dt.timedelta(hours=8))
    instants = [dt.datetime(2026, 1, 1, 8, tzinfo=zone), None]

    def aware(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        at = pd.Series(instants, rows.index, dtype=object)
        return rows.assign(at=at, seen=pd.to_datetime(at).dt.tz_convert("Asia/Shanghai"))

    stream = dataclasses.replace(EVERYTHING, steps=(aware,))
    parsed = piped(stream, one({"type": "e", "id": "x"}, {"type": "e", "id": "y"}, topic="everything"))
    found = [(r["at"], r["seen"]) for r in rows_of(parsed, Everything)]
    assert found == [(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 1)), (None, None)]


def test_epochs_left_untranslated_are_no_microseconds() -> None:
    stream = dataclasses.replace(EVERYTHING, steps=())
    parsed = piped(stream, one({"type": "e", "id": "x", "at": 1767225600}, topic="everything"))
    assert "is translate_dates among the steps?" in letters_of(parsed)[0][1]


def test_dates_left_untranslated_are_dead_letters_that_say_what_is_missing() -> None:
    stream = dataclasses.replace(EVERYTHING, steps=())
    parsed = piped(
        stream, one({"type": "e", "id": "x", "at": "2026-01-01"}, {"type": "e", "id": "y"}, topic="everything")
    )
    assert "is translate_dates among the steps?" in letters_of(parsed)[0][1]
    assert [r["id"] for r in rows_of(parsed, Everything)] == ["y"]


def test_a_step_may_translate_dates_itself_and_years_the_database_cannot_hold_are_refused() -> None:
    def own_dates(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        at = np.array(
            ["2026-01-01T01:00", "0999-12-31", "9999-12-31T23:59:59.999999", "+10000-01-01"], "datetime64[us]"
        )
        return rows.assign(at=at)

    stream = dataclasses.replace(EVERYTHING, steps=(own_dates, translate_dates))
    parsed = piped(stream, one(*({"type": "e", "id": str(n)} for n in range(4)), topic="everything"))
    assert [r["at"] for r in rows_of(parsed, Everything)] == [
        dt.datetime(2026, 1, 1, 1),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),
    ]
    assert {n: stage for n, (stage, _) in letters_of(parsed).items()} == {1: "validate", 3: "validate"}


def test_one_message_with_many_faults_is_one_dead_letter() -> None:
    parsed = piped(
        EVERYTHING, one({"type": "e", "small": 10**9, "id": "far too long", "at": "soon"}, topic="everything")
    )
    assert letters_of(parsed)[0][0] == "dates"
    assert len(parsed.dead_letters) == 1
    parsed = piped(EVERYTHING, one({"type": "e", "small": 10**9, "id": "far too long"}, topic="everything"))
    assert letters_of(parsed) == {0: ("validate", "id: 12 characters, and the column holds 8: String(20) or Text")}
