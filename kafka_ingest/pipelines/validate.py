"""The last word before the database: every value fits its column, or its message is a dead letter.

The database would refuse most of this too, but one row at a time (by bisection), and by LOAD DATA only as warnings.
What is checked here is checked for a whole column at once; the slow path runs only over columns that have bad values.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kafka_ingest.errors import StepError
from kafka_ingest.records import DeadLetter
from kafka_ingest.streams.model import KAFKA_COLUMNS, BoundColumn, ExactText, Model, bound_columns

_INTEGER_BITS: tuple[tuple[type[sa.types.TypeEngine[Any]], int], ...] = (
    (sa.SmallInteger, 16),
    (sa.BigInteger, 64),
    (sa.Integer, 32),
)
# Largest values of MySQL's DATETIME (manual, "The DATE, DATETIME, and TIMESTAMP Types").
_MIN_DATETIME = np.datetime64("1000-01-01T00:00:00", "us")
_MAX_DATETIME = np.datetime64("9999-12-31T23:59:59.999999", "us")

Errors = dict[int, str]


def validate(rows: pd.DataFrame, model: type[Model]) -> tuple[pd.DataFrame, list[DeadLetter]]:
    """Rows with Arrow columns in the model's order, and dead letters for those that do not fit.

    Raises StepError where a pipeline step has taken a column of the model away.
    """
    errors: Errors = {}
    columns: dict[str, pa.Array] = {}
    numbers = rows.index.to_numpy()
    for bound in bound_columns(model):
        if bound.name not in rows.columns:
            raise StepError(f"model {model.__name__}: a pipeline step dropped column {bound.name!r}")
        columns[bound.name] = _column(rows[bound.name], bound, numbers, errors)
    position = {
        "_kafka_topic": _to_arrow(rows["_kafka_topic"], pa.string()),
        "_kafka_partition": _to_arrow(rows["_kafka_partition"], pa.int32()),
        "_kafka_offset": _to_arrow(rows["_kafka_offset"], pa.int64()),
        "_kafka_timestamp": _to_arrow(rows["_kafka_timestamp"], pa.timestamp("us")),
    }
    frame = pd.DataFrame(
        {n: pd.Series(pd.arrays.ArrowExtensionArray(c), index=rows.index) for n, c in (columns | position).items()},
        index=rows.index,
        columns=[*columns, *KAFKA_COLUMNS],
    )
    if errors:
        frame = frame.drop(index=list(errors))
    return frame, [DeadLetter(number, "validate", error) for number, error in errors.items()]


def _column(values: pd.Series, bound: BoundColumn, numbers: npt.NDArray[np.int64], errors: Errors) -> pa.Array:
    default = bound.column.default
    if default is not None and default.is_scalar:
        values = values.where(values.notna(), getattr(default, "arg", None))
    convert, arrow_type = _converter(bound)
    array = _convert(values, bound, convert, arrow_type, numbers, errors)
    for bad, explain in _limits(array, bound):
        bad = pc.fill_null(bad, False)
        for at in np.flatnonzero(bad.to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: {explain(array[at].as_py())}")
    if not bound.column.nullable and array.null_count:
        for at in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: missing or null, and the column is NOT NULL")
    return array


def _convert(
    values: pd.Series,
    bound: BoundColumn,
    convert: Callable[[Any], Any],
    arrow_type: pa.DataType,
    numbers: npt.NDArray[np.int64],
    errors: Errors,
) -> pa.Array:
    if not isinstance(bound.column.type, sa.JSON | sa.Numeric) or isinstance(bound.column.type, sa.Float):
        try:
            return _to_arrow(values, arrow_type)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError):
            pass  # some value is not of the column's plain type: look at each
    converted: list[Any] = []
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        try:
            converted.append(None if _is_missing(value) else convert(value))
        except (ValueError, TypeError, decimal.InvalidOperation) as error:
            converted.append(None)
            errors.setdefault(number, f"{bound.name}: {error}")
    return _one_chunk(pa.array(converted, arrow_type))


def _to_arrow(values: pd.Series, arrow_type: pa.DataType) -> pa.Array:
    if isinstance(values.dtype, np.dtype):
        return _one_chunk(pa.array(values.to_numpy(), arrow_type, from_pandas=True))
    return _one_chunk(pa.Array.from_pandas(values, arrow_type))


def _one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _converter(bound: BoundColumn) -> tuple[Callable[[Any], Any], pa.DataType]:
    kind = bound.column.type
    if bound.rule.dates is not None:
        return _to_instant, pa.timestamp("us")
    if isinstance(kind, sa.JSON):
        return _to_json, pa.string()
    if isinstance(kind, sa.Boolean):
        return _to_boolean, pa.bool_()
    if isinstance(kind, sa.Integer):
        return _to_integer(_bits(kind)), pa.int64()
    if isinstance(kind, sa.Float):
        return _to_float, pa.float64()
    if isinstance(kind, sa.Numeric):
        return _to_decimal(kind.precision or 10, kind.scale or 0), pa.string()
    return _to_text, pa.string()


def _bits(kind: sa.types.TypeEngine[Any]) -> int:
    return next(bits for cls, bits in _INTEGER_BITS if isinstance(kind, cls))


def _limits(array: pa.Array, bound: BoundColumn) -> list[tuple[Any, Callable[[Any], str]]]:
    """(mask of bad values, explanation) pairs for the bounds of a column's type."""
    kind = bound.column.type
    length = kind.impl_instance.length if isinstance(kind, ExactText) else getattr(kind, "length", None)  # type: ignore[attr-defined]
    if bound.rule.dates is not None:
        bad = pc.or_(
            pc.less(array, pa.scalar(_MIN_DATETIME, pa.timestamp("us"))),
            pc.greater(array, pa.scalar(_MAX_DATETIME, pa.timestamp("us"))),
        )
        return [(bad, lambda value: f"{value} is outside the years 1000 to 9999")]
    if isinstance(kind, sa.String | ExactText) and length is not None:
        characters = pc.utf8_length(array)
        return [(pc.greater(characters, length), lambda v: f"{len(v)} characters, and the column holds {length}")]
    if isinstance(kind, sa.Integer) and _bits(kind) < 64:
        limit = 1 << (_bits(kind) - 1)
        bad = pc.or_(pc.less(array, -limit), pc.greater_equal(array, limit))
        return [(bad, lambda v: f"{v} does not fit {_bits(kind)} bits")]
    if isinstance(kind, sa.Float):
        return [(pc.invert(pc.is_finite(array)), lambda v: f"{v} is not finite")]
    return []


def _to_text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # exact; a float's text would be a guess
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in a text column")
    value.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return value


def _to_json(value: Any) -> str | None:
    """JSON text as it came. A JSON null is NULL."""
    if isinstance(value, str):
        return value
    text = bytes(value).decode("utf-8")
    return None if text in ("", "null") else text


def _to_boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{type(value).__name__} in a boolean column")
    return bool(value)


def _to_integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{type(value).__name__} {str(value)[:40]} in an integer column")
        if not -limit <= value < limit:
            raise ValueError(f"{str(value)[:40]} does not fit {bits} bits")
        return int(value)

    return convert


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{type(value).__name__} in a number column")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{str(value)[:40]}… does not fit a double") from None


def _to_decimal(precision: int, scale: int) -> Callable[[Any], str]:
    """Exact decimals as text; a value with more digits than the column is refused, not rounded."""

    def convert(value: Any) -> str:
        if isinstance(value, bool):
            raise TypeError("bool in a number column")
        number = decimal.Decimal(value if isinstance(value, int | decimal.Decimal) else str(value))
        if not number.is_finite():
            raise ValueError(f"{number} is not finite")
        _, digits, exponent = number.normalize().as_tuple()
        assert isinstance(exponent, int)  # noqa: S101  finite, so it is
        if max(0, -exponent) > scale or len(digits) + exponent > precision - scale:
            raise ValueError(f"{str(number)[:40]} does not fit DECIMAL({precision},{scale}) without rounding")
        return f"{number:f}"

    return convert


def _to_instant(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no date; is translate_dates among the steps?")
