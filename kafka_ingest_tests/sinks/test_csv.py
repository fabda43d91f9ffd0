# A row of a table is one line.
# ruff: noqa: E501
"""What LOAD DATA will read is what was meant: checked against the rules of MySQL's manual, not against our own writer."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_ingest.sinks import csv


def load_data(text: str) -> list[list[str | None]]:
    r"""FIELDS TERMINATED BY ',' ENCLOSED BY '"' ESCAPED BY '' LINES TERMINATED BY '\n', by hand.

    A field that begins with a quote ends with a quote followed by a separator or the line's end; a quote inside is doubled.
    A field without quotes is its text; the word NULL is NULL. There is no escape character.
    """
    lines: list[list[str | None]] = []
    fields: list[str | None] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            at += 1
            value = ""
            while not (text[at] == '"' and text[at + 1] in ",\n"):
                if text[at] == '"':
                    assert text[at + 1] == '"', "a lone quote inside a field"
                    at += 1
                value += text[at]
                at += 1
            fields.append(value)
            at += 1
        else:
            end = min(e for e in (text.find(",", at), text.find("\n", at)) if e >= 0)
            word = text[at:end]
            fields.append(None if word == "NULL" else word)
            at = end
        if text[at] == "\n":
            lines.append(fields)
            fields = []
        at += 1
    assert not fields, "the last line has no end"
    return lines


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(*a))) for n, a in columns.items()})


def encoded(rows: pd.DataFrame) -> str:
    return bytes(csv.encode(rows, list(rows.columns))).decode("utf-8")


NASTY = st.text(st.sampled_from("\",\n\r\\N'NUL \0\t;é😀"), max_size=8) | st.sampled_from(
    [None, "", "NULL", "\\N", "\\", '"', '""', '",', '"\n', '\\"', "\n", "null", "N"]
)


@given(st.lists(st.tuples(NASTY, NASTY, st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=8))
@example([('",', '"\n"', 1), ("NULL", None, None), ("\\N", "\\", 0)])
def test_any_text_comes_back_as_it_was(rows: list[tuple[str | None, str | None, int | None]]) -> None:
    text = encoded(
        frame(
            a=([r[0] for r in rows], pa.string()),
            b=([r[1] for r in rows], pa.string()),
            n=([r[2] for r in rows], pa.int64()),
        )
    )
    assert load_data(text) == [[a, b, None if n is None else str(n)] for a, b, n in rows]


@given(st.lists(NASTY | st.text(max_size=20), min_size=1))
def test_one_column_of_text_comes_back_too(values: list[str | None]) -> None:
    # A lone surrogate is no text; validation refuses it.
    plain = [v if v is None else v.encode("utf-8", "ignore").decode("utf-8") for v in values]
    assert load_data(encoded(frame(a=(plain, pa.string())))) == [[v] for v in plain]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_come_back_to_the_last_bit(values: list[float]) -> None:
    assert [float(str(v)) for (v,) in load_data(encoded(frame(a=(values, pa.float64()))))] == values


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([True, False, None], pa.bool_(), ["1", "0", None]),
        ([-5, 0, None], pa.int64(), ["-5", "0", None]),
        ([0.1, 1e300, None], pa.float64(), ["0.1", "1e+300", None]),
        ([dt.datetime(2026, 1, 2, 3, 4, 5, 60), dt.datetime(1000, 1, 1), None], pa.timestamp("us"), ["2026-01-02 03:04:05.000060", "1000-01-01 00:00:00.000000", None]),
        (["NULL", "", "\\N", None], pa.string(), ["NULL", "", "\\N", None]),
        (["12.50", None], pa.string(), ["12.50", None]),
        ([None, None], pa.string(), [None, None]),
    ],
)  # fmt: skip
def test_each_kind_of_value_has_its_text(values: list[Any], kind: pa.DataType, expected: list[str | None]) -> None:
    assert [v for (v,) in load_data(encoded(frame(a=(values, kind))))] == expected


def test_null_and_the_word_null_are_told_apart_by_their_quotes() -> None:
    assert encoded(frame(a=(["NULL", None, ""], pa.string()))) == '"NULL"\nNULL\n""\n'


def test_columns_go_out_in_the_order_asked_and_a_part_of_a_frame_is_only_that_part() -> None:
    rows = frame(a=(["x", "y", "z"], pa.string()), b=([1, 2, 3], pa.int64()))
    assert bytes(csv.encode(rows.iloc[1:], ["b", "a"])) == b'2,"y"\n3,"z"\n'
    assert bytes(csv.encode(rows.iloc[:0], ["b", "a"])) == b""


def test_the_statement_names_the_format_this_module_writes() -> None:
    assert csv.FORMAT == (
        r"""CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '"' ESCAPED BY '' LINES TERMINATED BY '\n'"""
    )
