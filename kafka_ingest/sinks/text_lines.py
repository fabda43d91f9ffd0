"""Rows as lines of text for a database's bulk load, column by column. How a text is escaped or quoted is the database's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kafka_ingest.sinks.driver_rows import arrow_column, as_text_dates
from kafka_ingest.type_names import ArrowArray, ArrowChunks, LargeStrings

_PIECE_BYTES = 1 << 18


def encode_lines(
    rows: pd.DataFrame,
    names: Sequence[str],
    *,
    separator: str,
    end: str,
    null: str,
    escape: Callable[[LargeStrings], LargeStrings],
) -> memoryview:
    """The rows' columns `names`, in order, as one buffer. Values are exact; instants have six decimals.

    separator, end: between fields, and behind each line. null: what stands for NULL. escape: makes a field of text.
    """
    fields = [_field(arrow_column(rows, name), escape) for name in names]
    # The last field carries the line's end, as one more joined value would bring one more separator.
    fields[-1] = join_texts(fields[-1], text_scalar(end), separator="", null=null)
    lines = join_texts(*fields, separator=separator, null=null)
    offsets, data = lines.buffers()[1:]
    if offsets is None or data is None or not len(lines):
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]]


def text_scalar(text: str) -> pa.LargeStringScalar:
    """One text for all rows."""
    return pa.scalar(text, pa.large_string())


def join_texts(*fields: LargeStrings | pa.LargeStringScalar, separator: str, null: str | None = None) -> LargeStrings:
    """The texts of each row, joined. null: what stands for a missing one; without it the whole is missing then."""
    handling = (
        {"null_handling": "emit_null"} if null is None else {"null_handling": "replace", "null_replacement": null}
    )
    # The stubs know no mix of arrays and scalars.
    joined: LargeStrings | ArrowChunks = pc.binary_join_element_wise(  # type: ignore[call-overload]
        *fields, text_scalar(separator), **handling
    )
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def may_have(text: LargeStrings, marks: Sequence[bytes]) -> bool:
    """Whether one of these may be in the text; what lies outside the array's part of its buffer is looked at too."""
    data = text.buffers()[2]
    return data is not None and any(mark in part for part in _parts(data) for mark in marks)


def _field(array: ArrowArray, escape: Callable[[LargeStrings], LargeStrings]) -> LargeStrings:
    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        # large_string: a slice's text may pass the 2 GiB that string's 32-bit offsets can address.
        return escape(array.cast(pa.large_string()))
    if pa.types.is_boolean(kind):
        array = array.cast(pa.int8())
    return as_text_dates(array).cast(pa.large_string())


def _parts(data: pa.Buffer) -> Iterator[bytes]:
    """The buffer's bytes, piece by piece: a slice's text may be large, and a copy of a piece stays in the processor's cache."""
    for start in range(0, data.size, _PIECE_BYTES):
        yield data.slice(start, min(_PIECE_BYTES, data.size - start)).to_pybytes()
