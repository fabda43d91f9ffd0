"""What COPY will read is what was meant: checked against the rules of PostgreSQL's manual, not against our own writer."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kafka_ingest.sinks.postgresql import copy_format


def copy_from(text: str) -> list[list[str | None]]:
    """FORMAT csv, DELIMITER X'1F', QUOTE and ESCAPE X'1D', by hand.

    Inside quotes two quotes are one, and everything else stands for itself; a field without quotes and content is NULL.
    """
    lines: list[list[str | None]] = []
    fields: list[str | None] = []
    value: str | None = None
    place, is_quoted = 0, False
    while place < len(text):
        each = text[place]
        place += 1
        if is_quoted:
            if each != "\x1d":
                value = (value or "") + each
            elif text[place : place + 1] == "\x1d":
                value = (value or "") + each
                place += 1
            else:
                is_quoted = False
        elif each == "\x1d":
            is_quoted, value = True, value or ""
        elif each in "\x1f\n":
            fields.append(value)
            value = None
            if each == "\n":
                lines.append(fields)
                fields = []
        else:
            assert each not in "\r\\", "the server takes this for something else outside quotes"
            value = (value or "") + each
    assert not is_quoted, "the last field has no end"
    assert not fields, "the last line has no end"
    return lines


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({n: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(*a))) for n, a in columns.items()})


def encoded(rows: pd.DataFrame) -> str:
    return bytes(copy_format.encode(rows, list(rows.columns))).decode("utf-8")


NASTY = st.text(st.sampled_from("\x1d\x1e\x1fN\",\n\r\\'. \t;é😀"), max_size=8) | st.sampled_from(
    [None, "", "\x1d", "\x1d\x1d", "\x1d\x1f", "\n", "\\.", "\n\\.\n", "\\N", "NULL", "\r\n", '"', '""', "\x1d\n\x1d"]
)


@given(st.lists(st.tuples(NASTY, NASTY, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=6))
@example([("\x1d", None, 1), (None, "", None)])
@example([("\\.", "\n\\.\n", None)])
def test_every_text_comes_back_as_it_was(rows: list[tuple[str | None, str | None, int | None]]) -> None:
    text = pa.large_string()
    first, second, numbers = zip(*rows, strict=True)
    found = encoded(frame(a=(first, text), b=(second, text), n=(numbers, pa.int64())))
    assert copy_from(found) == [[a, b, None if n is None else str(n)] for a, b, n in rows]


@given(st.lists(NASTY, min_size=1, max_size=4), st.integers(0, 3))
def test_a_part_of_a_frame_is_only_that_part(texts: list[str | None], start: int) -> None:
    rows = frame(a=(texts, pa.large_string())).iloc[start:]
    assert copy_from(encoded(rows)) == [[text] for text in texts[start:]]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([True, False, None], pa.bool_(), ["1", "0", None]),
        ([1.5, -0.0, 1e300, None], pa.float64(), ["1.5", "-0", "1e+300", None]),
        ([dt.datetime(2024, 2, 29, 1, 2, 3, 4), None], pa.timestamp("us"), ["2024-02-29 01:02:03.000004", None]),
        ([dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)], pa.timestamp("us"), ["9999-12-31 23:59:59.999999"]),
        ([dt.date(2024, 2, 29), dt.date(1000, 1, 1), None], pa.date32(), ["2024-02-29", "1000-01-01", None]),
        (["1.10", None], pa.string(), ["1.10", None]),
    ],
)
def test_other_types_are_the_text_the_server_reads(values: list[Any], kind: pa.DataType, expected: list[str]) -> None:
    assert [line[0] for line in copy_from(encoded(frame(a=(values, kind))))] == expected


def test_no_rows_are_no_bytes() -> None:
    assert encoded(frame(a=([], pa.large_string()))) == ""


def test_rows_with_text_that_the_server_cannot_hold_are_named_by_their_index() -> None:
    rows = frame(
        a=(["x", "a\0b", None, "\0", "y"], pa.string()),
        b=(["p", "q", "r", "s", "t\0"], pa.string()),
        n=([0, 0, 0, 0, 0], pa.int64()),
    )
    rows.index = pd.Index([10, 11, 12, 13, 14])
    assert copy_format.with_nul(rows, ["a", "b", "n"]) == [11, 13, 14]
    assert copy_format.with_nul(rows, ["a"]) == [11, 13]
    assert copy_format.with_nul(rows.iloc[2:3], ["a", "b"]) == []
