"""The numbers of Numeric columns against the standard library's JSON reader and its Decimal."""

from __future__ import annotations

import decimal
import json
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.numbers import read_number
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import letters_of, one, outcomes, piped, rows_of

pytestmark = pytest.mark.slow


class Numbers(AppendModel):
    """Columns of several precisions, one of them beyond 38 digits."""

    __tablename__ = "t_numbers"
    whole: Mapped[decimal.Decimal | None] = field(sa.Numeric(20, 0))
    money: Mapped[decimal.Decimal | None] = field(sa.Numeric(12, 2))
    fine: Mapped[decimal.Decimal | None] = field(sa.Numeric(30, 15))
    wide: Mapped[decimal.Decimal | None] = field(sa.Numeric(65, 30))


NUMBERS = Stream(name="s", topics="t", routes={"row": Numbers})
DIGITS = {"whole": (20, 0), "money": (12, 2), "fine": (30, 15), "wide": (65, 30)}

texts = st.one_of(
    st.text("0123456789-+.eE_ \u0661\uff11", max_size=12),
    st.text(max_size=6),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?\Z"),
    st.from_regex(r"\A-?[0-9]{1,12}(\.[0-9]{0,3})?\Z"),
)


def slow(text: str) -> decimal.Decimal | None:
    """The number of a text if the text is a JSON number, by the standard library; None if it is not."""
    try:
        value = json.loads(text, parse_int=decimal.Decimal, parse_float=decimal.Decimal, parse_constant=lambda _: None)
    except ValueError:
        return None
    # The standard library's reader takes blanks around a value.
    return value if isinstance(value, decimal.Decimal) and text.strip(" \t\r\n") == text else None


def canonical(number: decimal.Decimal, precision: int, scale: int) -> str | None:
    """The text that stands for the number in a column, or None where it does not fit; exact whatever the size."""
    with decimal.localcontext(decimal.Context(prec=500, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)):
        scaled = number.scaleb(scale)
        if number and (number.adjusted() > 100 or scaled != scaled.to_integral_value() or abs(scaled) >= 10**precision):
            return None
        if not number:
            return "0"
        text = f"{number:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


@given(text=texts)
@example("1_000")
@example(" 12 ")
@example("\uff11\uff12")
@example("\u0663")
@example("1.10")
@example("1e400")
@example("0" * 40)
@example("12\n")
@example("+1")
@example(".5")
@example("5.")
@example("-")
@example("0x10")
@example("1,000")
@example("1e99999999999999999999")
@settings(max_examples=600)
def test_a_text_is_a_number_where_json_says_so(text: str) -> None:
    try:
        expected = slow(text)
    except decimal.InvalidOperation:
        expected = None
    if expected is None:
        with pytest.raises(ValueError, match=r"is no number|exponent beyond any column"):
            read_number(text)
    else:
        assert read_number(text).as_tuple() == expected.as_tuple()


@given(numbers=st.lists(st.tuples(st.sampled_from(list(DIGITS)), texts), min_size=1, max_size=8))
@example(
    [
        ("money", "1.10"),
        ("money", "1.1000"),
        ("money", "1E1"),
        ("whole", "9" * 20),
        ("wide", "0.000000000000000000000000000001"),
    ]
)
@example([("fine", "0.0000001"), ("fine", "1"), ("money", "-0.00"), ("wide", "9" * 35), ("whole", "1e400")])
@settings(max_examples=300)
def test_a_column_has_the_exact_canonical_number_however_it_came(numbers: list[tuple[str, str]]) -> None:
    bodies: list[Any] = []
    expected: list[str | None] = []
    for name, text in numbers:
        number = slow(text) if len(text) < 20 or "e" not in text.lower() or slow(text) is not None else None
        as_text = json.dumps({"type": "row", name: text}).encode()
        as_number = b'{"type":"row","%s":%s}' % (name.encode(), text.encode("utf-8", "replace"))
        bodies += [as_text] if number is None else [as_text, as_number]
        want = None if number is None else canonical(number, *DIGITS[name])
        expected += [want] if number is None else [want, want]
    parsed = piped(NUMBERS, one(*bodies))
    assert outcomes(parsed) == list(range(len(bodies)))
    letters, rows = letters_of(parsed), iter(rows_of(parsed, Numbers))
    got = [
        None if n in letters else next(v for k, v in next(rows).items() if k in DIGITS and v is not None)
        for n in range(len(bodies))
    ]
    assert got == expected
