"""Message keys → business keys, for models that delete on tombstones.

A tombstone deletes the row that its key names, so both are read by the same rules: the key's fields have the JSON types of
the columns (streams/json_schema.py) and go through the same conversion and limits (validate.py) as a row's. A key no row can
have must not reach the database, where it would fail the batch, or be cut to the key of another row. What cannot be read is
a dead letter, never "nothing to delete".
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.dates import parse_dates
from kafka_ingest.pipelines.casting import cast_values
from kafka_ingest.pipelines.sources import source_columns
from kafka_ingest.pipelines.validate import Errors, typed_column
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.column_types import integer_bounds
from kafka_ingest.streams.formats.base import BAD_MESSAGE, MessageReader
from kafka_ingest.streams.formats.schemas import Schemas
from kafka_ingest.streams.json_schema import DECODE_ERRORS, depth_limited
from kafka_ingest.streams.model import BoundColumn
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import KeySchema

_INTEGER = re.compile("-?(?:0|[1-9][0-9]{0,18})")
_SHOWN_BYTES = 60


class KeyReaders:
    """What reads the message keys of one table's tombstones."""

    def __init__(self, schema: KeySchema, schemas: Schemas) -> None:
        self.schema = schema
        self.format = schema.reader(schemas)
        """None where keys are JSON or text."""
        self.others = source_columns(schema.target, schema.others, schema.format, schemas)


def parse_keys(
    readers: KeyReaders, raw: RawSlice, members: npt.NDArray[np.int64]
) -> tuple[pd.DataFrame, dict[int, str]]:
    """Business keys, as validated rows have them, by message number, and the errors of the messages that have none.

    members: numbers of the tombstones among the messages.
    """
    schema = readers.schema
    errors: Errors = {}
    values: dict[int, tuple[object, ...]] = {}
    for number in members.tolist():
        try:
            values[number] = key_of(readers, raw.keys[number])
        except ValueError as error:
            errors[number] = str(error)
    numbers = np.fromiter(values, dtype=np.int64, count=len(values))
    given = {
        bound.name: pd.Series([each[place] for each in values.values()], index=numbers, dtype=object)
        for place, bound in enumerate(schema.columns)
    }
    if readers.others is not None:
        given |= readers.others.read(raw, numbers, errors)
    frame = typed_keys(schema.target, schema.all_columns, given, numbers, errors)
    if errors:
        frame = frame.drop(index=[number for number in errors if number in values])
    return frame, {number: f"tombstone: {error}" for number, error in errors.items()}


def typed_keys(
    target: TargetTable,
    bound_columns: Sequence[BoundColumn],
    given: Mapping[str, pd.Series],
    numbers: npt.NDArray[np.int64],
    errors: Errors,
) -> pd.DataFrame:
    """Business keys as validated rows have them, and with Arrow's type the column that orders them: cast, dates translated,
    checked. What does not fit stands under its message's number, and is still in the frame."""
    columns: dict[str, object] = {}
    for bound in bound_columns:
        values = cast_values(given[bound.name], bound, numbers, errors)
        if bound.rule.dates is not None and not pd.api.types.is_datetime64_any_dtype(values.dtype):
            parsed = parse_dates(values, bound.rule.dates)
            values = parsed.instants
            for number, error in parsed.errors.items():
                errors.setdefault(int(str(number)), f"{bound.name}: {error}")
        typed = typed_column(values, bound, numbers, errors)
        is_key = bound.name in target.key
        columns[bound.name] = (
            np.array(typed.to_pylist() or [], dtype=object) if is_key else pd.arrays.ArrowExtensionArray(typed)
        )
    return pd.DataFrame(columns, index=numbers)


def key_of(readers: KeyReaders, key: bytes | None) -> tuple[object, ...]:
    """The values of `readers.schema.columns` in a message's key. Raises ValueError where it does not give them all."""
    if readers.schema.is_text:
        return _read_text(readers.schema, key)
    return (
        _read_json(readers.schema, key) if readers.format is None else _read_format(readers.format, readers.schema, key)
    )


def _read_json(schema: KeySchema, key: bytes | None) -> tuple[object, ...]:
    """The JSON values of the key columns; ValueError where the key does not give them all."""
    if key is None:
        raise ValueError("the message has no key, so nothing says which row to delete")
    is_object = key.lstrip(b" \t\r\n").startswith(b"{")
    if not is_object and schema.bare is None:
        fields = ", ".join(bound.rule.path[-1] for bound in schema.columns)
        raise ValueError(f"the key {_shown(key)} is no JSON object with {fields}")
    try:
        if is_object or schema.bare is None:
            decoded = depth_limited(schema.fields.decode)(key)
            values = tuple(schema.fields.column([decoded], place)[0] for place in range(len(schema.columns)))
        else:
            values = (depth_limited(schema.bare)(key),)
    except DECODE_ERRORS as error:
        raise ValueError(_explain(error, key, has_one_column=schema.bare is not None)) from error
    return _all_there(schema, key, values)


def _read_format(reader: MessageReader, schema: KeySchema, key: bytes | None) -> tuple[object, ...]:
    """The key columns' values of a key in another format; ValueError where the key does not give them all."""
    if key is None:
        raise ValueError("the message has no key, so nothing says which row to delete")
    try:
        decoded = [reader.decode_long(key)]
    except BAD_MESSAGE as error:
        raise ValueError(f"the key {_shown(key)} does not name a row: {error}") from error
    return _all_there(schema, key, tuple(reader.column(decoded, place)[0] for place in range(len(schema.columns))))


def _all_there(schema: KeySchema, key: bytes, values: tuple[object, ...]) -> tuple[object, ...]:
    for bound, value in zip(schema.columns, values, strict=True):
        if value is None:
            raise ValueError(f"the key {_shown(key)} has no {bound.rule.path[-1]!r}, or a null")
    return values


def _read_text(schema: KeySchema, key: bytes | None) -> tuple[object, ...]:
    """The key itself, not a blank or quote taken away; ValueError where it is no UTF-8 or, for an integer column, no integer."""
    if key is None:
        raise ValueError("the message has no key, so nothing says which row to delete")
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"the key {_shown(key)} is not UTF-8") from error
    if integer_bounds(schema.columns[0].column.type) is None:
        return (text,)
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"the key {_shown(key)} is no integer of ASCII digits without blanks, plus or leading zeros")
    return (int(text),)


def _explain(error: Exception, key: bytes, *, has_one_column: bool) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"the key {_shown(key)} does not name a row: {error}"
    if isinstance(error, decimal.InvalidOperation):
        return f"the key {_shown(key)} has an exponent beyond any column"
    if isinstance(error, RecursionError):
        return f"the key {_shown(key)} is nested too deep"
    advice = '; if keys are plain text, declare tombstone_key = "text" in the model' if has_one_column else ""
    return f"the key {_shown(key)} is no JSON in UTF-8{advice}"


def _shown(key: bytes) -> str:
    """The key as an error shows it, cut."""
    cut = key[:_SHOWN_BYTES].decode("utf-8", "backslashreplace")
    return repr(cut) if len(key) <= _SHOWN_BYTES else f"{cut!r}…"
