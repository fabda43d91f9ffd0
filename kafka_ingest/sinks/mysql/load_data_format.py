"""Rows as the text LOAD DATA reads, column by column.

Fields, lines and escapes are marked by control characters that text hardly ever holds, so that nothing has to be quoted:
the escape stands before one of the three where it does occur, and escape-N is NULL, which no text can be mistaken for
(MySQL manual, "LOAD DATA Statement", Field and Line Handling).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.sinks.driver_rows import arrow_column, as_text_dates
from kafka_ingest.type_names import ArrowArray, ArrowChunks, LargeStrings

# Unit, record and group separator.
_FIELD, _LINE, _ESCAPE = "\x1f", "\x1e", "\x1d"
_MARKS = tuple(mark.encode() for mark in (_FIELD, _LINE, _ESCAPE))
_PIECE_BYTES = 1 << 18
_NULL = f"{_ESCAPE}N"

FORMAT = "CHARACTER SET utf8mb4 FIELDS TERMINATED BY X'1F' ESCAPED BY X'1D' LINES TERMINATED BY X'1E'"


def encode_rows(rows: pd.DataFrame, names: Sequence[str]) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals."""
    fields = [_field(arrow_column(rows, name)) for name in names]
    # The last field carries the line's end, as one more joined value would bring one more separator.
    fields[-1] = _join(fields[-1], _text(_LINE), separator="")
    lines = _join(*fields, separator=_FIELD)
    offsets, data = lines.buffers()[1:]
    if offsets is None or data is None or not len(lines):
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def _text(text: str) -> pa.LargeStringScalar:
    return pa.scalar(text, pa.large_string())


def _join(*fields: LargeStrings | pa.LargeStringScalar, separator: str) -> LargeStrings:
    # The stubs know no mix of arrays and scalars.
    joined: LargeStrings | ArrowChunks = pc.binary_join_element_wise(  # type: ignore[call-overload]
        *fields, _text(separator), null_handling="replace", null_replacement=_NULL
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _field(array: ArrowArray) -> LargeStrings:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # large_string: a slice's text may pass the 2 GiB that string's 32-bit offsets can address.
        text = array.cast(pa.large_string())
        return pc.replace_substring_regex(text, "[\x1d-\x1f]", _ESCAPE + r"\0") if _has_marks(text) else text
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    return as_text_dates(array).cast(pa.large_string())


def _has_marks(text: LargeStrings) -> bool:
    """Whether one of the three may be in the text; what lies outside the array's part of its buffer is looked at too."""
    data = text.buffers()[2]
    if data is None:
        return False
    return any(mark in part for part in _parts(data) for mark in _MARKS)


def _parts(data: pa.Buffer) -> Iterator[bytes]:
    """The buffer's bytes, piece by piece: a slice's text may be large, and a copy of a piece stays in the processor's cache."""
    for start in range(0, data.size, _PIECE_BYTES):
        yield data.slice(start, min(_PIECE_BYTES, data.size - start)).to_pybytes()
