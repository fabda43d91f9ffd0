"""Which of two rows' columns differ, a column at a time, whatever the database does to a value it stores."""

from __future__ import annotations

import decimal
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kafka_ingest.type_names import ArrowArray, SqlType

Mask = npt.NDArray[np.bool_]

# Integers beyond 64 bits are doubles in MySQL's JSON (manual, "The JSON Data Type").
_JSON_INTEGER_LIMIT = 1 << 63


def differs(kind: SqlType, new: ArrowArray, old: Sequence[object], *, is_single_float: bool) -> Mask:
    """Row by row, whether the value a load would write differs from the one the table holds.

    new: a column of a validated frame. old: the same column of `ExistingRows`, row by row. is_single_float: whether the table
    keeps it in four bytes.
    """
    if isinstance(kind, sa.JSON):
        return _each(new, old, _json)
    if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
        return _each(new, old, decimal.Decimal)
    if isinstance(kind, sa.Time):
        return _each(new, old, _time)
    try:
        held = pa.array(old, new.type, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _each(new, old, lambda value: value)  # a value no load of ours wrote
    if is_single_float:
        new, held = new.cast(pa.float32(), safe=False), held.cast(pa.float32(), safe=False)
    unequal = pc.not_equal(new, held).fill_null(False)
    return _mask(unequal) | _mask(pc.xor(new.is_null(), held.is_null()))


def _mask(array: ArrowArray) -> Mask:
    found: Mask = array.to_numpy(zero_copy_only=False).astype(bool)
    return found


def _each(new: ArrowArray, old: Sequence[object], canonical: Callable[[Any], object]) -> Mask:
    """Value by value; canonical forms are made only of values that differ as they stand."""

    def unequal(one: object, other: object) -> bool:
        if one is None or other is None or one == other:
            return (one is None) != (other is None)
        try:
            return bool(canonical(one) != canonical(other))
        except (ValueError, TypeError, decimal.InvalidOperation):
            return True

    return np.fromiter(map(unequal, new.to_pylist(), old), dtype=bool, count=len(new))


def _time(text: str) -> str:
    """Without the zeros that some databases write at the end of a fraction."""
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json(text: str) -> object:
    """A JSON text's meaning: neither order of names nor spaces nor the way a number is written count."""

    def integer(digits: str) -> int | float:
        value = int(digits)
        return value if -_JSON_INTEGER_LIMIT <= value < 2 * _JSON_INTEGER_LIMIT else float(value)

    return _tagged(json.loads(text, parse_int=integer))


def _tagged(value: object) -> object:
    """So that true is not 1, as it is in Python."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return [_tagged(each) for each in value]
    if isinstance(value, dict):
        return {name: _tagged(each) for name, each in value.items()}
    return value
