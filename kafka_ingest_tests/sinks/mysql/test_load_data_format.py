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

from kafka_ingest.sinks.mysql import load_data_format

SPECIAL = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


def load_data(text: str) -> list[list[str | None]]:
    """FIELDS TERMINATED BY X'1F' ESCAPED BY X'1D' LINES TERMINATED BY X'1E', by hand.

    A character after the escape stands for itself, but for those of SPECIAL; escape-N alone in a field is NULL. Nothing is
    enclosed, so the word NULL is a word.
    """
    lines: list[list[str | None]] = []
    fields: list[str | None] = []
    value, is_null = "", False
    characters = iter(text)
    for each in characters:
        if each == "\x1d":
            escaped = next(characters)
            is_null = escaped == "N" and not value
            value += SPECIAL.get(escaped, escaped)
        elif each in "\x1e\x1f":
            fields.append(None if is_null and value == "N" else value)
            value, is_null = "", False
            if each == "\x1e":
                lines.append(fields)
                fields = []
        else:
            value += each
    assert not fields, "the last line has no end"
    assert not value
    return lines


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(*a))) for n, a in columns.items()})


def encoded(rows: pd.DataFrame) -> str:
    return bytes(load_data_format.encode_rows(rows, list(rows.columns))).decode("utf-8")


NASTY = st.text(st.sampled_from("\x1d\x1e\x1fN\",\n\r\\'UL \0\t;é😀"), max_size=8) | st.sampled_from(
    [None, "", "\x1d", "\x1dN", "N\x1e", "\x1f", "NULL", "\\N", "\\", '"', '""', '",', '"\n', '\\"', "\n", "null", "N"]
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
        ([dt.date(2024, 2, 29), dt.date(1000, 1, 1), None], pa.date32(), ["2024-02-29", "1000-01-01", None]),
        (["NULL", "", "\\N", None], pa.string(), ["NULL", "", "\\N", None]),
        (["12.50", None], pa.string(), ["12.50", None]),
        ([None, None], pa.string(), [None, None]),
    ],
)  # fmt: skip
def test_each_kind_of_value_has_its_text(values: list[Any], kind: pa.DataType, expected: list[str | None]) -> None:
    assert [v for (v,) in load_data(encoded(frame(a=(values, kind))))] == expected


def test_null_and_the_word_null_are_told_apart() -> None:
    assert encoded(frame(a=(["NULL", None, "", "N"], pa.string()))) == "NULL\x1e\x1dN\x1e\x1eN\x1e"


def test_marks_in_the_text_are_escaped() -> None:
    assert encoded(frame(a=(["a\x1fb\x1ec\x1dd"], pa.string()))) == "a\x1d\x1fb\x1d\x1ec\x1d\x1dd\x1e"


def test_columns_go_out_in_the_order_asked_and_a_part_of_a_frame_is_only_that_part() -> None:
    rows = frame(a=(["x", "y", "z"], pa.string()), b=([1, 2, 3], pa.int64()))
    assert bytes(load_data_format.encode_rows(rows.iloc[1:], ["b", "a"])) == b"2\x1fy\x1e3\x1fz\x1e"
    assert bytes(load_data_format.encode_rows(rows.iloc[:0], ["b", "a"])) == b""


def test_the_statement_names_the_format_this_module_writes() -> None:
    assert load_data_format.FORMAT == (
        "CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'1F' ESCAPED BY X'1D' LINES TERMINATED BY X'1E'"
    )
