"""Rows as the text LOAD DATA reads, column by column.

Fields are separated by `,`, lines by `\\n`; text stands between double quotes, a double quote inside is doubled, and
nothing is escaped: with `ESCAPED BY ''` a backslash is a backslash, and the bare word NULL is NULL while "NULL" is text
(MySQL manual, "LOAD DATA Statement", Field and Line Handling).
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.sinks.rows import arrow_column, as_text_dates

FORMAT = r"""CHARACTER SET utf8mb4 FIELDS TERMINATED BY ',' ENCLOSED BY '"' ESCAPED BY '' LINES TERMINATED BY '\n'"""


def encode(rows: pd.DataFrame, names: Sequence[str]) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals."""
    fields = [_field(arrow_column(rows, name)) for name in names]
    # The last field carries the line's end, as one more joined value would bring one more separator.
    fields[-1] = pc.binary_join_element_wise(fields[-1], _text("\n"), _text(""))
    lines = pc.binary_join_element_wise(*fields, _text(","))
    if isinstance(lines, pa.ChunkedArray):
        lines = lines.combine_chunks()
    offsets, data = lines.buffers()[1:]
    if data is None or not len(lines):
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _text(text: str) -> pa.Scalar:
    return pa.scalar(text, pa.large_string())


def _field(array: pa.Array) -> pa.Array:
    # large_string: a slice's text may pass the 2 GiB that string's 32-bit offsets can address.
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = array.cast(pa.large_string())
        if pc.any(pc.match_substring(text, '"')).as_py():
            text = pc.replace_substring(text, '"', '""')
        quoted = pc.binary_join_element_wise(_text('"'), text, _text('"'), _text(""))
        return pc.fill_null(quoted, "NULL")
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    return pc.fill_null(as_text_dates(array).cast(pa.large_string()), "NULL")
