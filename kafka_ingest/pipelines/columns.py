"""Decoded values as the columns of a frame: text as pandas' `str`, everything else as Python objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from kafka_ingest.slices import text_series
from kafka_ingest.streams.formats.base import Values, listed
from kafka_ingest.streams.model import BoundColumn, ExactText
from kafka_ingest.type_names import LargeStrings

_NULL, _EMPTY = (pa.scalar(text, pa.large_string()) for text in ("null", ""))


class Column:
    """The values of one column, taken in piece by piece while they are warm in the processor's cache.

    Text, JSON and dates come out as `str` where every value is text (JSON as its text, null as missing), else as objects, as
    everything that is no text does.
    """

    def __init__(self, bound: BoundColumn) -> None:
        kind = bound.column.type
        self._is_json = isinstance(kind, sa.JSON) and bound.rule.cast is None
        self._is_text = self._is_json or bound.rule.dates is not None or isinstance(kind, sa.String | ExactText)
        self._pieces: list[list[object] | LargeStrings] = []

    def add(self, values: Values) -> None:
        """Take in the values of the next messages; a missing one is None, of JSON an empty text."""
        if not isinstance(values, list):
            if self._is_text and not self._is_json and values.type == pa.large_string():
                self._pieces.append(values)
                return
            values = listed(values)
        piece = self._text(values) if self._is_text else None
        self._pieces.append(values if piece is None else piece)

    def series(self, index: pd.Index) -> pd.Series:
        """All pieces, in the order they came."""
        texts = [piece for piece in self._pieces if isinstance(piece, pa.Array)]
        if len(texts) == len(self._pieces):
            return text_series(pa.chunked_array(texts, pa.large_string()).combine_chunks(), index)
        objects = np.empty(len(index), dtype=object)
        start = 0
        for piece in self._pieces:
            values = piece.to_pylist() if isinstance(piece, pa.Array) else piece
            objects[start : start + len(values)] = values
            start += len(values)
        return pd.Series(objects, index=index, dtype=object, copy=False)

    def _text(self, values: list[object]) -> LargeStrings | None:
        """None where some value is no text, or text that UTF-8 does not hold."""
        try:
            return _json_text(values) if self._is_json else pa.array(values, pa.large_string())
        except (pa.ArrowException, UnicodeEncodeError):
            return None


def _json_text(values: list[Any]) -> LargeStrings:
    try:
        raw = list(map(bytes, values))
    except TypeError:  # None, where an object above the field is missing or null
        raw = [b"" if value is None else bytes(value) for value in values]
    text = pa.array(raw, pa.large_binary()).cast(pa.large_string())
    is_null = pc.or_(pc.equal(text, _NULL), pc.equal(text, _EMPTY))  # "" where the field is missing
    found: LargeStrings = pc.if_else(is_null, pa.scalar(None, pa.large_string()), text)
    return found
