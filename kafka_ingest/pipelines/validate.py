"""The last check before the database: every value fits its column, or its message is a dead letter.

The database would refuse most of this too, but one row at a time (by bisection), and by LOAD DATA only as warnings.
What is checked here is checked for a whole column at once; the slow path runs only over columns that have bad values.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.dates.bounds import EARLIEST, LATEST
from kafka_ingest.errors import StepError
from kafka_ingest.slices import DeadLetter
from kafka_ingest.streams.model import ORDER_COLUMN, BoundColumn, ExactText, integer_bits
from kafka_ingest.streams.numbers import read_number
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import ArrowArray, ArrowChunks, ArrowScalar, SqlType

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
    columns: dict[str, ArrowArray] = {}
    numbers = rows.index.to_numpy()
    for name in (*(bound.name for bound in target.bound), *target.kafka_columns):
        if name not in rows.columns:
            raise StepError(
                f"model {target.model_name}: a pipeline step dropped column {name!r}", model=target.model_name
            )
    for bound in target.bound:
        columns[bound.name] = typed_column(rows[bound.name], bound, numbers, errors)
    columns |= {name: _to_arrow(rows[name], _KAFKA_TYPES[name]) for name in target.kafka_columns}
    frame = pd.DataFrame(
        {n: pd.Series(pd.arrays.ArrowExtensionArray(c), index=rows.index) for n, c in columns.items()},
        index=rows.index,
    )
    if errors:
        frame = frame.drop(index=list(errors))
    return frame, [DeadLetter(number, "validate", error) for number, error in errors.items()]


def typed_column(values: pd.Series, bound: BoundColumn, numbers: npt.NDArray[np.int64], errors: Errors) -> ArrowArray:
    """A column's values as Arrow holds them for the database; what does not fit is put into `errors` by message number."""
    if bound.default is not None:
        filled = [bound.default if _is_missing(value) else value for value in values.tolist()]
        values = pd.Series(filled, index=values.index, dtype=object)
    convert, arrow_type = _converter(bound)
    array = _convert(values, bound, convert, arrow_type, numbers, errors)
    for bad, explain in _limits(array, bound):
        certain = bad.fill_null(False)
        for at in np.flatnonzero(certain.to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: {explain(array[at])}")
    if not bound.column.nullable and array.null_count:
        for at in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: missing or null, and the column is NOT NULL")
    return array


def _convert(
    values: pd.Series,
    bound: BoundColumn,
    convert: Callable[[object], object],
    arrow_type: pa.DataType,
    numbers: npt.NDArray[np.int64],
    errors: Errors,
) -> ArrowArray:
    kind = bound.column.type
    is_decimal = isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float)
    is_set = isinstance(_listing(kind), mysql.SET)
    is_text = arrow_type == pa.large_string() and not is_decimal and not is_set
    if is_text and isinstance(values.dtype, pd.StringDtype):
        return _one_chunk(pa.array(values, arrow_type))  # text already: JSON's is taken as it stands
    if is_decimal:
        assert isinstance(kind, sa.Numeric)  # noqa: S101  narrowing
        array = _decimal_texts(values.tolist(), *_digits(kind))
        if array is not None:
            return array
    is_plain = not (is_decimal or is_set or isinstance(kind, sa.JSON))
    if bound.rule.dates is not None:
        is_plain = pd.api.types.is_datetime64_any_dtype(values.dtype)  # Arrow would take any integer for microseconds
    if is_plain:
        try:
            return _to_arrow(values, arrow_type)
        except (TypeError, ValueError, OverflowError, pa.ArrowNotImplementedError):
            pass  # some value is not of the column's plain type: look at each
    converted: list[object] = []
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        try:
            converted.append(None if _is_missing(value) else convert(value))
        except (ValueError, TypeError, decimal.InvalidOperation) as error:
            converted.append(None)
            errors.setdefault(number, f"{bound.name}: {error}")
    return _one_chunk(pa.array(converted, arrow_type))


def _to_arrow(values: pd.Series, arrow_type: pa.DataType) -> ArrowArray:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
    # What pandas makes of a step's values (str, Int64, category …) goes by way of plain objects: from its own types Arrow
    # casts freely, texts to numbers among them.
    plain = values.to_numpy() if isinstance(values.dtype, np.dtype) else values.to_numpy(dtype=object)
    return _one_chunk(pa.array(plain, arrow_type, from_pandas=True))


def _one_chunk(array: ArrowArray | ArrowChunks) -> ArrowArray:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _converter(bound: BoundColumn) -> tuple[Callable[[object], object], pa.DataType]:
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
        return _to_decimal(*_digits(kind)), pa.large_string()
    listing = _listing(kind)
    if isinstance(listing, mysql.SET):
        return _to_members(listing.values), pa.large_string()
    if listing is not None:
        return _to_member(listing.enums), pa.large_string()
    return _to_text, pa.large_string()


def _limits(array: ArrowArray, bound: BoundColumn) -> list[tuple[pa.BooleanArray, Callable[[ArrowScalar], str]]]:
    """(mask of bad values, explanation of an Arrow scalar) pairs for the bounds of a column's type."""
    kind = bound.column.type
    length = kind.length if isinstance(kind, ExactText) else getattr(kind, "length", None)
    if bound.rule.dates is not None:
        bad = pc.or_(
            pc.less(array, pa.scalar(EARLIEST, pa.timestamp("us"))),
            pc.greater(array, pa.scalar(LATEST, pa.timestamp("us"))),
        )
        # As numpy writes it: a datetime ends with the year 9999.
        return [(bad, lambda v: f"{np.datetime64(v.value, 'us')} is outside the years 1000 to 9999")]
    listing = _listing(kind)
    if isinstance(listing, sa.Enum):
        foreign = pc.invert(pc.is_in(array, pa.array([None, *listing.enums], pa.large_string())))
        return [(foreign, lambda v: _no_member(v.as_py(), listing.enums))]
    if isinstance(kind, sa.String | ExactText) and length is not None and listing is None:
        assert isinstance(array, pa.LargeStringArray)  # noqa: S101  narrowing
        characters = pc.utf8_length(array)
        return [
            (
                pc.greater(characters, pa.scalar(length)),
                lambda v: f"{len(v.as_py())} characters, and the column holds {length}",
            )
        ]
    bits = integer_bits(kind)
    if bits is not None and bits < 64:
        limit = 1 << (bits - 1)
        bad = pc.or_(pc.less(array, pa.scalar(-limit)), pc.greater_equal(array, pa.scalar(limit)))
        return [(bad, lambda v: f"{v} does not fit {bits} bits")]
    if isinstance(kind, sa.Float):
        return [(pc.invert(pc.is_finite(array)), lambda v: f"{v} is not finite")]
    return []


def _to_text(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # exact; a float's text would be a guess
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in a text column")
    value.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
    return value


_MYSQL = mysql.dialect()
_SHOWN_MEMBERS = 200
"""Characters of a list of members in an error."""


def _listing(kind: SqlType) -> sa.Enum | mysql.SET | None:
    """The ENUM or SET that a type is, or is in MySQL (`with_variant`)."""
    found = kind if isinstance(kind, sa.Enum | mysql.SET) else kind.dialect_impl(_MYSQL)
    return found if isinstance(found, sa.Enum | mysql.SET) else None


def _no_member(value: object, members: Sequence[str]) -> str:
    shown = ", ".join(map(repr, members))
    if len(shown) > _SHOWN_MEMBERS:
        shown = f"{shown[:_SHOWN_MEMBERS]}… ({len(members)} members)"
    return f"{repr(value)[:60]} is not one of {shown}"


def _to_member(members: Sequence[str]) -> Callable[[object], str]:
    """A member of an ENUM by its text: a database would take "2" for the second member, and an integer for its number."""
    known = {member: member for member in members}

    def convert(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise ValueError(_no_member(value, members))
        return known[value]

    return convert


def _to_members(members: Sequence[str]) -> Callable[[object], str]:
    """The members of a SET joined by commas in the order of the declaration, in which the database keeps them: in any other
    order two texts would be one value."""
    places = {member: place for place, member in enumerate(members)}

    def convert(value: object) -> str:
        if not isinstance(value, str):
            raise TypeError(_no_member(value, members))
        if value == "":
            return value
        chosen = value.split(",")
        for each in chosen:
            if each not in places:
                raise ValueError(_no_member(each, members))
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"{repr(value)[:60]} names a member twice")
        return ",".join(sorted(chosen, key=places.__getitem__))

    return convert


def _to_json(value: object) -> str | None:
    """JSON text as it came, or as a step wrote it; what else a step put there is encoded. A JSON null is NULL."""
    if isinstance(value, str):
        return value
    raw = bytes(value) if isinstance(value, msgspec.Raw | bytes) else msgspec.json.encode(value)
    text = raw.decode("utf-8")
    return None if text in ("", "null") else text


def _to_boolean(value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{type(value).__name__} in a boolean column")
    return bool(value)


def _to_integer(bits: int) -> Callable[[object], int]:
    limit = 1 << (bits - 1)

    def convert(value: object) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # pandas turns integers to floats where a step leaves a value out
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise TypeError(f"{type(value).__name__} {str(value)[:40]} in an integer column")
        if not -limit <= value < limit:
            raise ValueError(f"{str(value)[:40]} does not fit {bits} bits")
        return int(value)

    return convert


def _to_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{type(value).__name__} in a number column")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{str(value)[:40]}… does not fit a double") from None


def _digits(kind: sa.Numeric[Any]) -> tuple[int, int]:
    """Precision and scale: MySQL's DECIMAL is DECIMAL(10,0)."""
    return kind.precision or 10, kind.scale or 0


def _decimal_texts(values: list[object], precision: int, scale: int) -> ArrowArray | None:
    """What `_to_decimal` gives, for a whole column of Decimals at once; None where some value must be looked at by itself:
    it does not fit, is no Decimal, or has a text that is not the canonical one."""
    if not {decimal.Decimal, type(None)}.issuperset(map(type, values)):
        return None
    try:
        decimals = pa.array(
            values, pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
        )
    except (pa.ArrowInvalid, OverflowError):
        return None
    # Of a number as small as 1E-75 Arrow makes 0 without a word.
    zeros = np.flatnonzero(
        pc.equal(decimals, pa.scalar(decimal.Decimal(0))).fill_null(False).to_numpy(zero_copy_only=False)
    )
    if any(values[place] for place in zeros.tolist()):
        return None
    texts = decimals.cast(pa.string()).cast(pa.large_string())
    if scale == 0:
        return texts
    if pc.any(pc.match_substring(texts, "E")).as_py():
        return None  # Arrow writes 0.0000001 as 1E-7
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, "0"), ".")


def _to_decimal(precision: int, scale: int) -> Callable[[object], str]:
    """Exact decimals as text; a value with more digits than the column is refused, not rounded."""

    def convert(value: object) -> str:
        number = read_number(value)
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


def _to_instant(value: object) -> dt.datetime:
    if isinstance(value, dt.datetime):  # a step's own; translate_dates makes a whole column of instants
        return value if value.tzinfo is None else value.astimezone(dt.timezone.utc).replace(tzinfo=None)
    raise TypeError(f"{type(value).__name__} {str(value)[:40]!r} is no date; is translate_dates among the steps?")
