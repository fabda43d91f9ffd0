"""The last word before the database: every value fits its column, or its message is a dead letter.

The database would refuse most of this too, but one row at a time (by bisection), and by LOAD DATA only as warnings.
What is checked here is checked for a whole column at once; the slow path runs only over columns that have bad values.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kafka_ingest.errors import StepError
from kafka_ingest.records import DeadLetter
from kafka_ingest.streams.model import ORDER_COLUMN, BoundColumn, ExactText, integer_bits
from kafka_ingest.streams.target import TargetTable

# Largest values of MySQL's DATETIME (manual, "The DATE, DATETIME, and TIMESTAMP Types").
_MIN_DATETIME = np.datetime64("1000-01-01T00:00:00", "us")
_MAX_DATETIME = np.datetime64("9999-12-31T23:59:59.999999", "us")

_KAFKA_TYPES: dict[str, pa.DataType] = {
    "_kafka_topic": pa.large_string(),
    "_kafka_partition": pa.int32(),
    "_kafka_offset": pa.int64(),
    "_kafka_timestamp": pa.timestamp("us"),
    ORDER_COLUMN: pa.int64(),
}

Errors = dict[int, str]


def validate(rows: pd.DataFrame, target: TargetTable) -> tuple[pd.DataFrame, list[DeadLetter]]:
    """Rows with Arrow columns in the table's order, and dead letters for those that do not fit.

    Raises StepError where a pipeline step has taken a column of the table away.
    """
    errors: Errors = {}
    columns: dict[str, pa.Array] = {}
    numbers = rows.index.to_numpy()
    for name in (*(bound.name for bound in target.bound), *target.kafka_columns):
        if name not in rows.columns:
            raise StepError(f"model {target.model_name}: a pipeline step dropped column {name!r}")
    for bound in target.bound:
        columns[bound.name] = _column(rows[bound.name], bound, numbers, errors)
    columns |= {name: _to_arrow(rows[name], _KAFKA_TYPES[name]) for name in target.kafka_columns}
    frame = pd.DataFrame(
        {n: pd.Series(pd.arrays.ArrowExtensionArray(c), index=rows.index) for n, c in columns.items()},
        index=rows.index,
    )
    if errors:
        frame = frame.drop(index=list(errors))
    return frame, [DeadLetter(number, "validate", error) for number, error in errors.items()]


def _column(values: pd.Series, bound: BoundColumn, numbers: npt.NDArray[np.int64], errors: Errors) -> pa.Array:
    if bound.default is not None:
        filled = [bound.default if _is_missing(value) else value for value in values.tolist()]
        values = pd.Series(filled, index=values.index, dtype=object)
    convert, arrow_type = _converter(bound)
    array = _convert(values, bound, convert, arrow_type, numbers, errors)
    for bad, explain in _limits(array, bound):
        bad = pc.fill_null(bad, False)
        for at in np.flatnonzero(bad.to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: {explain(array[at])}")
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
    if isinstance(values.dtype, pd.StringDtype) and arrow_type == pa.large_string():
        return _one_chunk(pa.array(values, arrow_type))  # text already: JSON's is taken as it stands
    is_plain = not isinstance(bound.column.type, sa.JSON | sa.Numeric) or isinstance(bound.column.type, sa.Float)
    if bound.rule.dates is not None:
        is_plain = pd.api.types.is_datetime64_any_dtype(values.dtype)  # Arrow would take any integer for microseconds
    if is_plain:
        try:
            return _to_arrow(values, arrow_type)
        except (TypeError, ValueError, OverflowError, pa.ArrowNotImplementedError):
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
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    # What pandas makes of a step's values (str, Int64, category …) goes by way of plain objects: from its own types Arrow
    # casts freely, texts to numbers among them.
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.to_numpy(dtype=object)
    return _one_chunk(pa.array(plain, arrow_type, from_pandas=True))


def _one_chunk(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _converter(bound: BoundColumn) -> tuple[Callable[[Any], Any], pa.DataType]:
    kind = bound.column.type
    if bound.rule.dates is not None:
        return _to_instant, pa.timestamp("us")
    if isinstance(kind, sa.JSON):
        return _to_json, pa.large_string()
    if isinstance(kind, sa.Boolean):
        return _to_boolean, pa.bool_()
    bits = integer_bits(kind)
    if bits is not None:
        return _to_integer(bits), pa.int64()
    if isinstance(kind, sa.Float):
        return _to_float, pa.float64()
    if isinstance(kind, sa.Numeric):
        return _to_decimal(kind.precision or 10, kind.scale or 0), pa.large_string()
    return _to_text, pa.large_string()


def _limits(array: pa.Array, bound: BoundColumn) -> list[tuple[Any, Callable[[Any], str]]]:
    """(mask of bad values, explanation of an Arrow scalar) pairs for the bounds of a column's type."""
    kind = bound.column.type
    length = kind.length if isinstance(kind, ExactText) else getattr(kind, "length", None)
    if bound.rule.dates is not None:
        bad = pc.or_(
            pc.less(array, pa.scalar(_MIN_DATETIME, pa.timestamp("us"))),
            pc.greater(array, pa.scalar(_MAX_DATETIME, pa.timestamp("us"))),
        )
        # As numpy writes it: a datetime ends with the year 9999.
        return [(bad, lambda v: f"{np.datetime64(v.value, 'us')} is outside the years 1000 to 9999")]
    if isinstance(kind, sa.String | ExactText) and length is not None:
        characters = pc.utf8_length(array)
        return [
            (pc.greater(characters, length), lambda v: f"{len(v.as_py())} characters, and the column holds {length}")
        ]
    bits = integer_bits(kind)
    if bits is not None and bits < 64:
        limit = 1 << (bits - 1)
        bad = pc.or_(pc.less(array, -limit), pc.greater_equal(array, limit))
        return [(bad, lambda v: f"{v} does not fit {bits} bits")]
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
    """JSON text as it came, or as a step wrote it; what else a step put there is encoded. A JSON null is NULL."""
    if isinstance(value, str):
        return value
    raw = bytes(value) if isinstance(value, msgspec.Raw | bytes) else msgspec.json.encode(value)
    text = raw.decode("utf-8")
    return None if text in ("", "null") else text


def _to_boolean(value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{type(value).__name__} in a boolean column")
    return bool(value)


def _to_integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def convert(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # pandas turns integers to floats where a step leaves a value out
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
        # By hand: Decimal.normalize() rounds to 28 digits and overflows beyond the exponents of its context.
        sign, all_digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # noqa: S101  finite, so it is
        digits = "".join(map(str, all_digits)).lstrip("0")
        significant = digits.rstrip("0")
        if not significant:
            return "0"
        exponent += len(digits) - len(significant)
        if max(0, -exponent) > scale or len(significant) + exponent > precision - scale:
            raise ValueError(f"{str(number)[:40]} does not fit DECIMAL({precision},{scale}) without rounding")
        return f"{decimal.Decimal((sign, tuple(map(int, significant)), exponent)):f}"

    return convert


def _to_instant(value: Any) -> Any:
    if isinstance(value, dt.datetime):  # a step's own; translate_dates makes a whole column of instants
        return value if value.tzinfo is None else value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no date; is translate_dates among the steps?")
