"""Rows as the CSV that COPY reads, column by column.

Fields and quotes are marked by control characters that text hardly ever holds. Text is always quoted, and nothing but a quote
in it has to be doubled: neither a backslash nor an end of line means anything inside quotes, and a field without quotes and
content is NULL, which no text can be mistaken for (PostgreSQL manual, "COPY", CSV Format).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.sinks.driver_rows import arrow_column
from kafka_ingest.sinks.text_lines import encode_lines, join_texts, may_have, text_scalar
from kafka_ingest.type_names import ArrowArray, LargeStrings

# Unit and group separator.
_FIELD, _QUOTE = "\x1f", "\x1d"

OPTIONS = "(FORMAT csv, DELIMITER E'\\x1f', QUOTE E'\\x1d', ESCAPE E'\\x1d', ENCODING 'UTF8')"


def encode(rows: pd.DataFrame, names: Sequence[str], binary: Collection[str] = ()) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals.

    binary: those that have bytes as hexadecimal digits.
    """
    of_bytes = {name: _bytea(arrow_column(rows, name)) for name in names if name in binary}
    if of_bytes:
        rows = rows.assign(**{n: pd.Series(pd.arrays.ArrowExtensionArray(c), rows.index) for n, c in of_bytes.items()})
    return encode_lines(rows, names, separator=_FIELD, end="\n", null="", escape=_quoted)


def _bytea(digits: ArrowArray) -> LargeStrings:
    """As the server reads bytes (manual, "bytea Hex Format")."""
    return join_texts(text_scalar("\\x"), digits.cast(pa.large_string()), separator="")


def with_nul(rows: pd.DataFrame, names: Sequence[str]) -> list[int]:
    """Which rows have text with U+0000, by their index: COPY takes it in no column."""
    is_bad = np.zeros(len(rows), dtype=bool)
    for name in names:
        array = arrow_column(rows, name)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            text = array.cast(pa.large_string())
            if may_have(text, [b"\0"]):
                is_bad |= pc.match_substring(text, "\0").fill_null(False).to_numpy(zero_copy_only=False)
    return [int(number) for number in rows.index[is_bad]]


def _quoted(text: LargeStrings) -> LargeStrings:
    """NULL where the text is."""
    doubled = pc.replace_substring(text, _QUOTE, _QUOTE * 2) if may_have(text, [_QUOTE.encode()]) else text
    quote = text_scalar(_QUOTE)
    return join_texts(quote, doubled, quote, separator="")
