"""Values that MySQL and MariaDB take in another form than their text: bytes, bits, and JSON whose numbers MySQL would change."""

from __future__ import annotations

import decimal
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.streams.column_types import binary_columns, bit_columns

# A run of digits as long, or an exponent: all that a double may not hold is among these.
_SUSPECT = r"[0-9][0-9.]{15}|[0-9][eE][+-]?[0-9]"
_MYSQL = mysql.dialect()


def values_sql(table: sa.Table, names: Sequence[str]) -> list[str | None]:
    """For each of these columns SQL that makes its value of a text, with `{}` for it; None where that is the value itself."""
    # Text loaded into a BIT column is taken for its bytes (manual, "LOAD DATA Statement"), and bytes are no text.
    binary, bits = binary_columns(table), bit_columns(table)
    return ["UNHEX({})" if name in binary else "CAST({} AS UNSIGNED)" if name in bits else None for name in names]


def inexact_json(table: sa.Table, rows: pd.DataFrame) -> dict[int, str]:
    """What is wrong with rows whose JSON has a number that MySQL's JSON type would change, by message number.

    It keeps integers of 64 bits, and every other number as a double (manual, "The JSON Data Type"). MariaDB's JSON is its text.
    """
    found: dict[int, str] = {}
    for column in table.columns:
        if column.name not in rows.columns or not isinstance(column.type.dialect_impl(_MYSQL), sa.JSON):
            continue
        texts = arrow_column(rows, column.name).cast(pa.large_string())
        suspect = pc.match_substring_regex(texts, _SUSPECT).fill_null(False).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(suspect).tolist():
            changed = next(_changed_numbers(texts[place].as_py()), None)
            if changed is not None:
                found.setdefault(
                    int(rows.index[place]),
                    f"{column.name}: MySQL's JSON keeps {changed[:60]} as a double, and would change it; a column declared "
                    "JSON().with_variant(LONGTEXT(), 'mysql') keeps JSON as its text",
                )
    return found


def _changed_numbers(text: str) -> Iterator[str]:
    """Numbers of a JSON text that are other numbers when they are read back."""
    numbers: list[str] = []

    def note(number: str) -> None:
        numbers.append(number)

    try:
        json.loads(text, parse_int=note, parse_float=note)
    except (ValueError, RecursionError):
        return  # no JSON: the database says so itself
    yield from (number for number in numbers if not _is_kept(number))


def _is_kept(number: str) -> bool:
    exact: Any = decimal.Decimal(number)
    if number.lstrip("-").isdigit() and -(1 << 63) <= int(exact) < 1 << 64:
        return True
    return bool(decimal.Decimal(repr(float(number))) == exact)
