"""Messages that are several rows: their columns, and what is wrong with a row in the words of its message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.pipelines.parsed_slice import RowOrigins
from kafka_ingest.slices import DeadLetter
from kafka_ingest.streams.formats.arrays import Array, ArrayReader
from kafka_ingest.streams.formats.leaves import Fields, Path
from kafka_ingest.streams.json_schema import model_fields
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.target import TargetTable

Numbers = npt.NDArray[np.int64]

# Elements taken apart at a time.
_AT_ONCE = 20_000
# Bytes of messages decoded at a time: what their elements decode to takes many times as much.
_PART_BYTES = 1 << 20
VALUE_BYTES = 16
"""What a value of a row is counted for, its text left out: about what it takes in Arrow, with what marks it in a bulk load."""
MOST_MESSAGE_BYTES = 256 << 20
"""A message whose rows take more is a dead letter: with a text of 1 MB around an array, that is 256 elements."""


def parts_of(values: Sequence[Any], most: int) -> Iterator[slice]:
    """Successive messages, at most so many, and few of them where they are long."""
    ends = np.cumsum(np.fromiter(map(len, values), dtype=np.int64, count=len(values)))
    start = 0
    while start < len(values):
        before = int(ends[start - 1]) if start else 0
        stop = min(start + most, int(np.searchsorted(ends, before + _PART_BYTES, side="right")))
        yield slice(start, max(stop, start + 1))
        start = max(stop, start + 1)


class ElementColumns:
    """The columns that are read of a table's messages: those around the array once a message, those of elements once a row."""

    def __init__(self, target: TargetTable) -> None:
        self._around = {bound.name: Column(bound) for bound in target.read if not target.is_of_element(bound)}
        self._own = {bound.name: Column(bound) for bound in target.read if target.is_of_element(bound)}
        self._counts: list[Numbers] = []
        self._value_bytes = VALUE_BYTES * len(target.columns)
        self.bytes = 0
        """What the rows take, about: their values, and the texts around the array, which each row repeats."""

    def add(self, reader: ArrayReader, decoded: Sequence[Any]) -> tuple[Numbers, Numbers]:
        """Take in messages that this reader has decoded; how many elements each has, and the bytes that its rows take. Left out
        are those without any, and those whose rows take more than MOST_MESSAGE_BYTES."""
        arrays = reader.elements(decoded)
        around = [reader.column(decoded, which) for which in range(len(self._around))]
        counts = np.fromiter(map(len, arrays), dtype=np.int64, count=len(arrays))
        sizes = counts * (self._value_bytes + sum(map(_text_bytes, around), np.zeros(len(counts), dtype=np.int64)))
        is_taken = is_loadable(counts, sizes)
        if not is_taken.all():
            arrays = list(compress(arrays, is_taken))
            around = [list(compress(values, is_taken)) for values in around]
        if arrays:
            self.bytes += int(sizes[is_taken].sum())
            self._counts.append(counts[is_taken])
            for column, values in zip(self._around.values(), around, strict=True):
                column.add(values)
            for part in _parts(arrays):
                for which, column in enumerate(self._own.values()):
                    column.add(reader.element_column(part, which))
        return counts, sizes

    def counts(self) -> Numbers:
        """How many rows each message that was taken in has."""
        return np.concatenate(self._counts)

    def around(self, messages: pd.Index) -> dict[str, pd.Series]:
        """The columns of the messages that were taken in."""
        return {name: column.series(messages) for name, column in self._around.items()}

    def own(self, rows: pd.Index) -> dict[str, pd.Series]:
        """The columns of their elements."""
        return {name: column.series(rows) for name, column in self._own.items()}


def is_loadable(counts: Numbers, sizes: Numbers) -> npt.NDArray[np.bool_]:
    """Which messages of so many elements, and bytes of rows, become rows."""
    return (counts > 0) & (sizes <= MOST_MESSAGE_BYTES)


def too_large(count: int, size: int) -> str:
    """Why a message becomes no rows."""
    return (
        f"its {count:,} elements would be rows of {size:,} bytes together, as each repeats what stands around the array; more "
        f"than {MOST_MESSAGE_BYTES:,} of a message are not loaded. Leave long texts around the array out of the model"
    )


def _text_bytes(values: Sequence[object]) -> Numbers:
    return np.fromiter((_length(value) for value in values), dtype=np.int64, count=len(values))


def _length(value: object) -> int:
    if isinstance(value, str | bytes):
        return len(value)
    return len(memoryview(value)) if isinstance(value, msgspec.Raw) else 0


def _parts(arrays: Sequence[Sequence[Any]]) -> Iterable[list[Any]]:
    """Their elements, one array behind the other, some at a time."""
    elements = chain.from_iterable(arrays)
    whole = list(elements)
    return (whole[start : start + _AT_ONCE] for start in range(0, len(whole), _AT_ONCE))


def model_array(target: TargetTable, row: Path, columns: Sequence[BoundColumn]) -> tuple[Fields, Array]:
    """What is read around the array that stands in the row, which itself stands at the path `row`, and of its elements: these
    columns, in order. Raises ConfigError for a column that cannot be read."""
    path = (*row, *(target.explode or ()))
    whole = list(zip(columns, model_fields(target, row, columns), strict=True))
    own = [(field[len(path) :], kind) for bound, (field, kind) in whole if target.is_of_element(bound)]
    return [field for bound, field in whole if not target.is_of_element(bound)], Array(path, own)


def places_in_arrays(counts: Numbers) -> npt.NDArray[np.int32]:
    """0, 1, … for each message of so many rows."""
    ends = np.cumsum(counts)
    return (np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)).astype(np.int32)


def of_messages(letters: Iterable[DeadLetter], origins: RowOrigins, target: TargetTable) -> list[DeadLetter]:
    """Dead letters of rows as those of their messages."""
    return [
        DeadLetter(
            int(origins.messages[letter.number]),
            letter.stage,
            element_error(target, int(origins.places[letter.number]), letter.error),
            letter.route,
        )
        for letter in letters
    ]


def element_error(target: TargetTable, place: int, error: str) -> str:
    """What is wrong with a row, with its element: `items[3].price: …`. What is wrong around the array is so in every row."""
    column = error.partition(": ")[0]
    bound = next((each for each in target.bound if each.name == column), None)
    if bound is not None and not target.is_of_element(bound):
        return error
    return f"{target.element(place)}{': ' if bound is None else '.'}{error}"
