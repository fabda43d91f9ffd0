"""Numbers of Numeric columns that messages and steps give; the properties have the grammar."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kafka_ingest.pipelines.readings import _decimal_texts
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import letters_of, one, outcomes, piped, rows_of
from kafka_ingest.testing.models import Everything

RULE = "is no number; it is written as in JSON: ASCII digits, with no blank, underscore, plus sign or leading zero"


def prices(stream: Stream, *values: Any) -> list[Any]:
    """What becomes of the price of each message: its text, or its dead letter's error."""
    bodies = [b'{"type":"e","id":"x","price":%s}' % value.encode() for value in values]
    parsed = piped(stream, one(*bodies, topic="everything"))
    assert outcomes(parsed) == list(range(len(bodies)))
    letters, rows = letters_of(parsed), iter(rows_of(parsed, Everything))
    return [letters[n][1] if n in letters else next(rows)["price"] for n in range(len(bodies))]


PLAIN = Stream(name="s", topics="everything", routes={"e": Everything})


@pytest.mark.parametrize(
    "text",
    [
        *("1_000", " 12 ", "１２", "٣", "12\n", "+1", "007", "00", ".5", "5."),
        "1,000.00", "$5", "0x1F", "", "1e", "--1", "NaN", "-Infinity",
    ],
)  # fmt: skip
def test_a_text_that_only_some_programs_read_as_a_number_is_a_dead_letter(text: str) -> None:
    """Underscores are what Decimals.jl 26 and jessealama/decimal128 8 are about."""
    escaped = text.replace("\n", "\\n")
    assert prices(PLAIN, f'"{escaped}"') == [f"{text!r} {RULE} - at `$.price`"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1.0", "1"), ("1.10", "1.1"), ("-0", "0"), ("0E+7", "0"), ("1.25e2", "125"), ("125E-2", "1.25"), ("1e7", "10000000")),
        *(("0.0001", "0.0001"), ("-99999999.9999", "-99999999.9999"), ("1.50000000000000000000000000000000000", "1.5")),
    ],
)  # fmt: skip
def test_a_number_and_its_text_are_one_value_in_one_canonical_text(text: str, expected: str) -> None:
    assert prices(PLAIN, text, f'"{text}"') == [expected, expected]
    # Among plain ones, whose column is converted at once, and next to what must be looked at by itself.
    assert prices(PLAIN, "1.5", text, "2") == ["1.5", expected, "2"]
    assert prices(PLAIN, "1.5", text, "1e5000")[:2] == ["1.5", expected]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Decimal("1.10"), "1.1"),
        (Decimal("1E+3"), "1000"),
        (7, "7"),
        (np.int64(7), "7"),
        (0.25, "0.25"),
        (1e3, "1000"),
        (np.float64(0.25), "0.25"),
        ("1.10", "1.1"),
        (None, None),
        (float("nan"), None),
        (pd.NA, None),
        ("1_000", f"price: '1_000' {RULE}"),
        (" 1", f"price: ' 1' {RULE}"),
        ("１", f"price: '１' {RULE}"),
        ("", f"price: '' {RULE}"),
        ("nan", f"price: 'nan' {RULE}"),
        (Decimal("NaN"), "price: NaN is not finite"),
        (Decimal("-Infinity"), "price: -Infinity is not finite"),
        (float("inf"), "price: inf is not finite"),
        (True, "price: bool in a number column"),
        (np.True_, "price: bool in a number column"),
        (b"1", "price: bytes in a number column"),
        ([1], "price: list in a number column"),
        (0.1 + 0.2, "price: 0.30000000000000004 does not fit DECIMAL(12,4) without rounding"),
        (Decimal("0.00001"), "price: 0.00001 does not fit DECIMAL(12,4) without rounding"),
    ],
    ids=repr,
)
def test_what_a_step_puts_there_follows_the_same_rule(value: Any, expected: Any) -> None:
    for values in ([value], [Decimal("1.5"), value]):

        def put(rows: pd.DataFrame, context: StepContext, values: list[Any] = values) -> pd.DataFrame:
            column = pd.Series([None] * len(values), index=rows.index, dtype=object)
            for place, each in enumerate(values):
                column.iat[place] = each
            return rows.assign(price=column, at=pd.NaT, seen=pd.NaT)  # type: ignore[arg-type]  # its stub takes no NaT

        stream = Stream(name="s", topics="everything", routes={"e": Everything}, steps=(put,))
        assert prices(stream, *["1"] * len(values)) == [*(["1.5"] if len(values) > 1 else []), expected]


def test_a_step_that_makes_text_of_the_column_is_held_to_the_same_rule() -> None:
    def put(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
        return rows.assign(
            price=pd.Series(["1.10", "1_0", None], index=rows.index, dtype="str"),
            at=pd.NaT,  # type: ignore[arg-type]  # its stub takes no NaT
            seen=pd.NaT,  # type: ignore[arg-type]
        )

    stream = Stream(name="s", topics="everything", routes={"e": Everything}, steps=(put,))
    assert prices(stream, "1", "1", "1") == ["1.1", f"price: '1_0' {RULE}", None]


@pytest.mark.parametrize("text", ["1E-75", "0.00001E-70", "1e-39"])
def test_a_number_too_small_for_its_column_is_refused_and_not_zero(text: str) -> None:
    assert _decimal_texts([Decimal(text)], 20, 0) is None
    assert _decimal_texts([Decimal("0"), Decimal("0E-75"), None], 20, 0) is not None
