"""Columns that come from elsewhere than the message's value: its key, its headers, its place, a constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.slices import RawSlice, position_columns
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.formats.base import BAD_MESSAGE, Format
from kafka_ingest.streams.formats.leaves import Wanted
from kafka_ingest.streams.formats.schemas import Schemas
from kafka_ingest.streams.json_schema import column_type
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.sources import Constant, Header, Key, Offset, Partition, Timestamp, Topic
from kafka_ingest.streams.target import TargetTable

_PLACES = {Topic: "_kafka_topic", Partition: "_kafka_partition", Offset: "_kafka_offset"}


def source_columns(
    target: TargetTable, columns: Sequence[BoundColumn], key_format: Format, schemas: Schemas
) -> SourceColumns | None:
    """Reads those of a table's columns that stand outside the value; None where there are none. key_format: how keys are
    written."""
    others = [bound for bound in columns if not bound.rule.is_in_value]
    return SourceColumns(target, others, key_format, schemas) if others else None


class SourceColumns:
    """Reads such columns of one table."""

    def __init__(
        self, target: TargetTable, columns: Sequence[BoundColumn], key_format: Format, schemas: Schemas
    ) -> None:
        self._columns = columns
        self._from_key = [b for b in columns if isinstance(b.rule.source, Key) and b.rule.source.path is not None]
        self._fields = [(b.rule.path, column_type(target.model_name, b)) for b in self._from_key]
        self._key = key_format.reader(Wanted(f"the key of {target.model_name}", self._fields), schemas)

    @property
    def reads_keys(self) -> bool:
        """Whether some column is a field of the message's key."""
        return bool(self._from_key)

    def read(self, raw: RawSlice, numbers: npt.NDArray[np.int64], errors: dict[int, str]) -> dict[str, pd.Series]:
        """The columns of these messages; what cannot be read is NULL, and stands under the message's number."""
        found = self._of_keys(raw, numbers, errors)
        for bound in self._columns:
            if bound.name not in found:
                found[bound.name] = _column(raw, numbers, bound, errors)
        return found

    def _of_keys(self, raw: RawSlice, numbers: npt.NDArray[np.int64], errors: dict[int, str]) -> dict[str, pd.Series]:
        if not self._from_key:
            return {}
        decoded: list[object] = []
        places: list[int] = []
        for place, number in enumerate(numbers.tolist()):
            key = raw.keys[number]
            if key is None:
                continue
            try:
                decoded.append(self._key.decode_long(key))
                places.append(place)
            except BAD_MESSAGE as error:
                errors.setdefault(number, f"the message's key is no {self._kind(key)} with {self._wanted()}: {error}")
        columns: dict[str, pd.Series] = {}
        for which, bound in enumerate(self._from_key):
            values: list[object] = [self._fields[which][1][1]] * len(numbers)
            for place, value in zip(places, self._key.column(decoded, which), strict=True):
                values[place] = value
            column = Column(bound)
            column.add(values)
            columns[bound.name] = column.series(pd.Index(numbers))
        return columns

    def _kind(self, key: bytes) -> str:
        return "object" if self._key.json_of(key) is None else "JSON object"

    def _wanted(self) -> str:
        return ", ".join(".".join(bound.rule.path) for bound in self._from_key)


def _column(raw: RawSlice, numbers: npt.NDArray[np.int64], bound: BoundColumn, errors: dict[int, str]) -> pd.Series:
    source = bound.rule.source
    if isinstance(source, Topic | Partition | Offset):
        return position_columns(raw, numbers)[_PLACES[type(source)]]
    if isinstance(source, Timestamp):
        if bound.rule.dates is not None:
            instants: pd.Series = position_columns(raw, numbers)["_kafka_timestamp"].dt.tz_localize("UTC")
            return instants
        stamps = [None if stamp == -1 else stamp for stamp in raw.timestamps_ms[numbers].tolist()]
        return pd.Series(stamps, index=numbers, dtype=object)
    if isinstance(source, Constant):
        return pd.Series([source.value] * len(numbers), index=numbers, dtype=object)
    values = [_bytes_of(raw, number, source) for number in numbers.tolist()]
    if isinstance(bound.column.type, BINARIES) and bound.rule.cast is None:
        return pd.Series(values, index=numbers, dtype=object)
    column = Column(bound)
    column.add([_text(number, value, bound, errors) for number, value in zip(numbers.tolist(), values, strict=True)])
    return column.series(pd.Index(numbers))


def _bytes_of(raw: RawSlice, number: int, source: object) -> bytes | None:
    if isinstance(source, Key):
        return raw.keys[number]
    assert isinstance(source, Header)  # noqa: S101  the last of the sources that are read here
    return next((value for name, value in reversed(raw.headers[number] or ()) if name == source.name), None)


def _text(number: int, value: bytes | None, bound: BoundColumn, errors: dict[int, str]) -> str | None:
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        errors.setdefault(number, f"{bound.name}: {bound.rule.source} is not UTF-8: {value!r:.60}")
        return None
