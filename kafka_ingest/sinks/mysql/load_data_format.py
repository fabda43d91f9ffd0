"""Rows as the text LOAD DATA reads, column by column.

Fields, lines and escapes are marked by control characters that text hardly ever holds, so that nothing has to be quoted:
the escape stands before one of the three where it does occur, and escape-N is NULL, which no text can be mistaken for
(MySQL manual, "LOAD DATA Statement", Field and Line Handling).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow.compute as pc

from kafka_ingest.sinks.text_lines import encode_lines, may_have
from kafka_ingest.type_names import LargeStrings

# Unit, record and group separator.
_FIELD, _LINE, _ESCAPE = "\x1f", "\x1e", "\x1d"
_MARKS = tuple(mark.encode() for mark in (_FIELD, _LINE, _ESCAPE))

FORMAT = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'1F' ESCAPED BY X'1D' LINES TERMINATED BY X'1E'"


def columns_sql(columns: Sequence[str], values: Sequence[str | None]) -> str:
    """Which columns the fields go to: quoted names, and for those that take something else than the field's text, SQL with `{}`
    for it (`values.values_sql`)."""
    fields = [
        column if value is None else f"@v{place}"
        for place, (column, value) in enumerate(zip(columns, values, strict=True))
    ]
    made = [
        f"{column} = {value.format(field)}"
        for column, field, value in zip(columns, fields, values, strict=True)
        if value is not None
    ]
    return f"({', '.join(fields)})" + (f" SET {', '.join(made)}" if made else "")


def encode_rows(rows: pd.DataFrame, names: Sequence[str]) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals."""
    return encode_lines(rows, names, separator=_FIELD, end=_LINE, null=f"{_ESCAPE}N", escape=_escaped)


def _escaped(text: LargeStrings) -> LargeStrings:
    return pc.replace_substring_regex(text, "[\x1d-\x1f]", _ESCAPE + r"\0") if may_have(text, _MARKS) else text
