"""Rows as the CSV that COPY reads, column by column.

Fields and quotes are marked by control characters that text hardly ever holds. Text is always quoted, and nothing but a quote
in it has to be doubled: neither a backslash nor an end of line means anything inside quotes, and a field without quotes and
content is NULL, which no text can be mistaken for (PostgreSQL manual, "COPY", CSV Format).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.sinks.driver_rows import arrow_column, as_text_dates
from kafka_ingest.type_names import ArrowArray, ArrowChunks, LargeStrings

# Unit and group separator.
_FIELD, _QUOTE = "\x1f", "\x1d"
_PIECE_BYTES = 1 << 18

OPTIONS = "(FORMAT csv, DELIMITER E'\\x1f', QUOTE E'\\x1d', ESCAPE E'\\x1d', ENCODING 'UTF8')"


def encode(rows: pd.DataFrame, names: Sequence[str]) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals."""
    fields = [_field(arrow_column(rows, name)) for name in names]
    # The last field carries the line's end, as one more joined value would bring one more separator.
    fields[-1] = _join(fields[-1], _text("\n"), separator="")
    lines = _join(*fields, separator=_FIELD)
    offsets, data = lines.buffers()[1:]
    if offsets is None or data is None or not len(lines):
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def with_nul(rows: pd.DataFrame, names: Sequence[str]) -> list[int]:
    """Which rows have text with U+0000, by their index: COPY takes it in no column."""
    is_bad = np.zeros(len(rows), dtype=bool)
    for name in names:
        array = arrow_column(rows, name)
        if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            text = array.cast(pa.large_string())
            if _may_have(text, "\0"):
                is_bad |= pc.match_substring(text, "\0").fill_null(False).to_numpy(zero_copy_only=False)
    return [int(number) for number in rows.index[is_bad]]


def _text(text: str) -> pa.LargeStringScalar:
    return pa.scalar(text, pa.large_string())


def _join(*fields: LargeStrings | pa.LargeStringScalar, separator: str) -> LargeStrings:
    """Nothing where a field is NULL."""
    # The stubs know no mix of arrays and scalars.
    joined: LargeStrings | ArrowChunks = pc.binary_join_element_wise(  # type: ignore[call-overload]
        *fields, _text(separator), null_handling="replace", null_replacement=""
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _quoted(text: LargeStrings) -> LargeStrings:
    """NULL where the text is."""
    quote = _text(_QUOTE)
    quoted: LargeStrings | ArrowChunks = pc.binary_join_element_wise(  # type: ignore[call-overload]
        quote, text, quote, _text("")
    )
    return quoted.combine_chunks() if isinstance(quoted, pa.ChunkedArray) else quoted


def _field(array: ArrowArray) -> LargeStrings:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # large_string: a slice's text may pass the 2 GiB that string's 32-bit offsets can address.
        text = array.cast(pa.large_string())
        return _quoted(pc.replace_substring(text, _QUOTE, _QUOTE * 2) if _may_have(text, _QUOTE) else text)
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    return as_text_dates(array).cast(pa.large_string())


def _may_have(text: LargeStrings, character: str) -> bool:
    """Whether it may be in the text; what lies outside the array's part of its buffer is looked at too."""
    data = text.buffers()[2]
    return data is not None and any(character.encode() in part for part in _parts(data))


def _parts(data: pa.Buffer) -> Iterator[bytes]:
    """The buffer's bytes, piece by piece: a slice's text may be large, and a copy of a piece stays in the processor's cache."""
    for start in range(0, data.size, _PIECE_BYTES):
        yield data.slice(start, min(_PIECE_BYTES, data.size - start)).to_pybytes()
