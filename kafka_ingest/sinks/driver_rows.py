"""Frames as tuples for a driver's `executemany`."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa

from kafka_ingest.type_names import ArrowArray


def driver_rows(rows: pd.DataFrame, names: Sequence[str]) -> list[tuple[str | int | float | bool | None, ...]]:
    """The columns `names` of each row, as str, int, float, bool or None; instants as `YYYY-MM-DD HH:MM:SS.ffffff`, UTC, days
    as `YYYY-MM-DD`, bytes as capital hexadecimal digits. In the order of the rows."""
    columns = [as_text_dates(arrow_column(rows, name)).to_pylist() for name in names]
    return list(zip(*columns, strict=True))


def arrow_column(rows: pd.DataFrame, name: str) -> ArrowArray:
    """A frame's column as one Arrow array."""
    array = pa.Array.from_pandas(rows[name])
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def as_text_dates(array: ArrowArray) -> ArrowArray:
    """Instants and days as the text SQL takes for them; every other type as it is."""
    if pa.types.is_timestamp(array.type):
        return array.cast(pa.timestamp("us")).cast(pa.string())
    return array.cast(pa.string()) if pa.types.is_date(array.type) else array
