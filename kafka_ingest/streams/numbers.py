"""What a number of a Numeric column is: one grammar for JSON numbers, JSON strings and what a step puts there.

The grammar is JSON's own (RFC 8259, section 6), in ASCII. Python's Decimal takes more: underscores, blanks, the digits of
other scripts, NaN. A text that needs such a reading is no number, as another program would read it otherwise.
"""

from __future__ import annotations

import decimal
import re

import numpy as np

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_RULE = "it is written as in JSON: ASCII digits, with no blank, underscore, plus sign or leading zero"


def read_number(value: object) -> decimal.Decimal:
    """The exact number of an integer, Decimal, float (as Python writes it) or text.

    Raises ValueError for a text that is no JSON number and for what is not finite, TypeError for any other type.
    """
    if type(value) is str:
        if not _NUMBER.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is no number; {_RULE}")
        return _exact(value)
    if type(value) is int:
        return decimal.Decimal(value)
    if isinstance(value, decimal.Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} is not finite")
        return value
    if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | float | np.number):
        raise TypeError(f"{type(value).__name__} in a number column")
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return read_number(str(value))


def decode_number(_type: type, value: object) -> decimal.Decimal:
    """`read_number` as a msgspec `dec_hook`: what JSON gives a Numeric column."""
    if type(value) is decimal.Decimal:
        return value
    if isinstance(value, dict | list):
        raise TypeError(f"{'object' if isinstance(value, dict) else 'array'} in a number column")
    return read_number(value)


def _exact(text: str) -> decimal.Decimal:
    try:
        return decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError(f"{text[:40]!r} has an exponent beyond any column") from None
