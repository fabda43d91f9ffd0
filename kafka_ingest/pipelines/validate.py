"""The last check before the database: every value fits its column, or its message is a dead letter.

The database would refuse most of this too, but one row at a time (by bisection), and by LOAD DATA only as warnings.
What is checked here is checked for a whole column at once; the slow path runs only over columns that have bad values.
"""

from __future__ import annotations

import decimal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.errors import StepError
from kafka_ingest.pipelines.limits import limits_of
from kafka_ingest.pipelines.readings import Reading, is_missing, one_chunk, reading_of, to_arrow
from kafka_ingest.slices import DeadLetter
from kafka_ingest.streams.kept import NEVER, OWN_NULL, place_column
from kafka_ingest.streams.model import INDEX_COLUMN, ORDER_COLUMN, BoundColumn
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import ArrowArray

_KAFKA_TYPES: dict[str, pa.DataType] = {
    "_kafka_topic": pa.large_string(),
    "_kafka_partition": pa.int32(),
    "_kafka_offset": pa.int64(),
    "_kafka_timestamp": pa.timestamp("us"),
    ORDER_COLUMN: pa.int64(),
    INDEX_COLUMN: pa.int32(),
}

Errors = dict[int, str]


def validate(
    rows: pd.DataFrame, target: TargetTable, absent: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, list[DeadLetter]]:
    """Rows with Arrow columns in the table's order, and dead letters for those that do not fit.

    absent: of a table with kept columns, which of them each message does not carry.

    Raises StepError where a pipeline step has taken a column of the table away.
    """
    errors: Errors = {}
    columns: dict[str, ArrowArray] = {}
    numbers = rows.index.to_numpy()
    ours = [name for name in target.kafka_columns if name in _KAFKA_TYPES]
    for name in (*(bound.name for bound in target.bound), *ours):
        if name not in rows.columns:
            raise StepError(
                f"model {target.model_name}: a pipeline step dropped column {name!r}", model=target.model_name
            )
    for bound in target.bound:
        columns[bound.name] = typed_column(rows[bound.name], bound, numbers, errors)
    columns |= {name: to_arrow(rows[name], _KAFKA_TYPES[name]) for name in ours}
    for bound in target.kept:
        is_absent = _still_absent(rows[bound.name], bound.name, absent)
        columns[place_column(bound.name)] = _places(columns[bound.name], is_absent)
    frame = pd.DataFrame(
        {n: pd.arrays.ArrowExtensionArray(c) for n, c in columns.items()}, index=rows.index, copy=False
    )
    if errors:
        frame = frame.drop(index=list(errors))
    return frame, [DeadLetter(number, "validate", error) for number, error in errors.items()]


def _still_absent(values: pd.Series, name: str, absent: pd.DataFrame | None) -> npt.NDArray[np.bool_]:
    """Which messages do not carry the column; where a step has given it a value, it is one."""
    if absent is None:
        return np.zeros(len(values), dtype=bool)
    found: npt.NDArray[np.bool_] = absent[name].reindex(values.index).to_numpy(dtype=bool) & values.isna().to_numpy()
    return found


def _places(values: ArrowArray, is_absent: npt.NDArray[np.bool_]) -> ArrowArray:
    """Where the values of a kept column are from, each message being a row of its own."""
    text = pa.large_string()
    nulls = pc.if_else(values.is_null(), pa.scalar(OWN_NULL, text), pa.scalar(None, text))
    return one_chunk(pc.if_else(pa.array(is_absent), pa.scalar(NEVER, text), nulls))


def typed_column(values: pd.Series, bound: BoundColumn, numbers: npt.NDArray[np.int64], errors: Errors) -> ArrowArray:
    """A column's values as Arrow holds them for the database; what does not fit is put into `errors` by message number."""
    if bound.default is not None:
        filled = [bound.default if is_missing(value) else value for value in values.tolist()]
        values = pd.Series(filled, index=values.index, dtype=object)
    reading = reading_of(bound)
    array = _convert(values, bound, reading, numbers, errors)
    if reading.cut is not None:
        array = reading.cut(array)
    for bad, explain in limits_of(array, bound):
        if not bad.true_count:
            continue
        for at in np.flatnonzero(bad.fill_null(False).to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: {explain(array[at])}")
    if not bound.column.nullable and array.null_count:
        for at in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
            errors.setdefault(int(numbers[at]), f"{bound.name}: missing or null, and the column is NOT NULL")
    return array


def _convert(
    values: pd.Series, bound: BoundColumn, reading: Reading, numbers: npt.NDArray[np.int64], errors: Errors
) -> ArrowArray:
    if reading.takes_text and isinstance(values.dtype, pd.StringDtype):
        return one_chunk(pa.array(values, reading.arrow))  # text already: JSON's is taken as it stands
    if reading.whole is not None:
        array = reading.whole(values)
        if array is not None:
            return array
    if reading.is_plain:
        try:
            return to_arrow(values, reading.arrow)
        except (TypeError, ValueError, OverflowError, pa.ArrowNotImplementedError):
            pass  # some value is not of the column's plain type: look at each
    converted: list[object] = []
    for number, value in zip(numbers.tolist(), values.tolist(), strict=True):
        try:
            converted.append(None if is_missing(value) else reading.convert(value))
        except (ValueError, TypeError, decimal.InvalidOperation) as error:
            converted.append(None)
            errors.setdefault(number, f"{bound.name}: {error}")
    return one_chunk(pa.array(converted, reading.arrow))
