"""Runs the casts that a model asks for, before the stream's steps: a step sees a column's own values, however they came."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import decimal
import re
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.pipelines.frames import with_columns
from kafka_ingest.pipelines.readings import is_missing
from kafka_ingest.slices import DeadLetter
from kafka_ingest.streams.casts import Cast
from kafka_ingest.streams.column_types import INTEGERS
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlType

_FLAGS = {"true": True, "1": True, "false": False, "0": False}
_ROUNDINGS = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "down": decimal.ROUND_DOWN,
}
# As many as any column has, and more than a cast needs: nothing is rounded by the context.
_EXACT = decimal.Context(prec=1_000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
_PLAIN_DIGITS = 40
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def cast_columns(rows: pd.DataFrame, target: TargetTable) -> tuple[pd.DataFrame, list[DeadLetter]]:
    """The rows with the values that casts make, and dead letters for those that they make none of."""
    errors: dict[int, str] = {}
    numbers = rows.index.to_numpy()
    columns = {
        bound.name: cast_values(rows[bound.name], bound, numbers, errors)
        for bound in target.bound
        if bound.rule.cast is not None
    }
    if not columns:
        return rows, []
    frame = with_columns(rows, columns).drop(index=list(errors))
    return frame, [DeadLetter(number, "decode", error) for number, error in errors.items()]


def cast_values(values: pd.Series, bound: BoundColumn, numbers: npt.NDArray[Any], errors: dict[int, str]) -> pd.Series:
    """A column's values after its cast; an error of its first stands under the message's number."""
    if bound.rule.cast is None:
        return values
    cast = _caster(bound.column.type, bound.rule.cast) if isinstance(bound.rule.cast, Cast) else bound.rule.cast
    found: list[object] = []
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        try:
            found.append(None if is_missing(value) else cast(value))
        except (ValueError, TypeError, ArithmeticError) as error:
            found.append(None)
            errors.setdefault(number, f"{bound.name}: {error}")
    return pd.Series(found, index=values.index, dtype=object)


def _caster(kind: SqlType, cast: Cast) -> Callable[[Any], object]:
    """One value's cast: by its type in the message, then to the column's decimals."""
    is_number = isinstance(kind, (*INTEGERS, sa.Numeric, sa.Float))
    read_text: Callable[[str], object] | None = None
    if cast.bytes_from is not None:
        read_text = partial(_bytes, cast.bytes_from)
    elif cast.from_text:
        read_text = partial(_number, _number_grammar(cast), cast) if is_number else _flag

    def convert(value: Any) -> object:
        if isinstance(value, str):
            if cast.empty_as_null and not value.strip():
                return None
            value = value if read_text is None else read_text(value)
        elif isinstance(value, int | decimal.Decimal) and not isinstance(value, bool):
            if cast.time_unit is not None:
                return _time(value, cast.time_unit)
            if cast.from_number:
                return _flag(str(value)) if isinstance(kind, sa.Boolean) else _digits(value)
        return _fitted(value, kind, cast) if is_number else value

    return convert


def _digits(value: int | decimal.Decimal) -> str:
    """A number as text; with an exponent only where it would be long without one."""
    is_plain = isinstance(value, decimal.Decimal) and abs(value.adjusted()) < _PLAIN_DIGITS
    return f"{value:f}" if is_plain else str(value)


def _number_grammar(cast: Cast) -> re.Pattern[str]:
    between = "[ \u00a0\u202f]" if cast.thousands == " " else re.escape(cast.thousands)
    # India's groups are of two digits but for the last.
    grouped = rf"[0-9]{{1,3}}(?:{between}[0-9]{{2,3}})*{between}[0-9]{{3}}|" if cast.thousands else ""
    return re.compile(
        rf"(?P<whole>[+-]?(?:{grouped}[0-9]+))(?:{re.escape(cast.decimal_point)}(?P<decimals>[0-9]+))?(?P<exponent>[eE][+-]?[0-9]+)?"
    )


def _number(grammar: re.Pattern[str], cast: Cast, text: str) -> decimal.Decimal:
    found = grammar.fullmatch(text.strip())
    if found is None:
        grouping = f", groups of digits apart by {cast.thousands!r}" if cast.thousands else ""
        raise ValueError(
            f"{text[:40]!r} is no number in ASCII digits, decimals behind {cast.decimal_point!r}{grouping}"
        )
    whole = re.sub("[^0-9+-]", "", found["whole"])
    try:
        return decimal.Decimal(f"{whole}.{found['decimals'] or '0'}{found['exponent'] or ''}")
    except decimal.InvalidOperation:
        raise ValueError(f"{text[:40]!r} has an exponent beyond any column") from None


def _fitted(value: Any, kind: SqlType, cast: Cast) -> object:
    """A number as the column's Python type; rounded where the cast says so, else only what is the same number."""
    if isinstance(value, float):
        value = decimal.Decimal(repr(value))
    if not isinstance(value, decimal.Decimal):
        return value
    if isinstance(kind, sa.Float):
        return float(value)
    scale = 0 if isinstance(kind, INTEGERS) else getattr(kind, "scale", None) or 0
    if cast.rounding is not None and value.is_finite():
        value = value.quantize(decimal.Decimal(1).scaleb(-scale), _ROUNDINGS[cast.rounding], _EXACT)
    if isinstance(kind, INTEGERS):
        if value.adjusted() > 40 or value != value.to_integral_value():
            raise ValueError(f"{str(value)[:40]} is no whole number of the column's size")
        return int(value)
    return value


def _flag(text: str) -> bool:
    try:
        return _FLAGS[text.strip().lower()]
    except KeyError:
        raise ValueError(f"{text[:40]!r} is none of true, false, 1 and 0") from None


def _bytes(written: str, text: str) -> bytes:
    try:
        if written == "base64":
            return base64.b64decode(text, validate=True)
        if written == "hex":
            return binascii.unhexlify(text)
        return uuid.UUID(text).bytes
    except ValueError as error:  # binascii.Error is one
        raise ValueError(f"{text[:40]!r} is no {written}: {error}") from error


def _time(value: int | decimal.Decimal, unit: str) -> dt.timedelta:
    """Since midnight; nanoseconds are cut to microseconds."""
    if value != value.to_integral_value() if isinstance(value, decimal.Decimal) else False:
        raise ValueError(f"{value} is no whole number of {unit}")
    whole = int(value)
    return dt.timedelta(microseconds=whole // 1_000 if unit == "ns" else whole * _MICROSECONDS[unit])
