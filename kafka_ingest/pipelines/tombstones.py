"""Message keys → business keys, for models that delete on tombstones.

A tombstone deletes the row that its key names, so both are read by the same rules: the key's fields have the JSON types of
the columns (streams/json_schema.py) and go through the same conversion and limits (validate.py) as a row's. A key no row can
have must not reach the database, where it would fail the batch, or be cut to the key of another row. What cannot be read is
a dead letter, never "nothing to delete".
"""

from __future__ import annotations

import decimal
import re
from collections.abc import Mapping

import msgspec
import numpy as np
import pandas as pd

from kafka_ingest.pipelines.validate import Errors, typed_column
from kafka_ingest.streams.json_schema import DECODE_ERRORS, depth_limited
from kafka_ingest.streams.model import integer_bits
from kafka_ingest.streams.tombstone_keys import KeySchema

_INTEGER = re.compile("-?(?:0|[1-9][0-9]{0,18})")
_SHOWN_BYTES = 60


def parse_keys(schema: KeySchema, keys: Mapping[int, bytes | None]) -> tuple[pd.DataFrame, dict[int, str]]:
    """Business keys, as validated rows have them, by message number, and the errors of the messages that have none."""
    errors: Errors = {}
    values: dict[int, tuple[object, ...]] = {}
    read = _read_text if schema.is_text else _read_json
    for number, key in keys.items():
        try:
            values[number] = read(schema, key)
        except ValueError as error:
            errors[number] = str(error)
    numbers = np.fromiter(values, dtype=np.int64, count=len(values))
    columns: dict[str, list[object]] = {}
    for place, bound in enumerate(schema.columns):
        given = pd.Series([each[place] for each in values.values()], index=numbers, dtype=object)
        columns[bound.name] = typed_column(given, bound, numbers, errors).to_pylist()
    frame = pd.DataFrame(columns, index=numbers, dtype=object)
    if errors:
        frame = frame.drop(index=[number for number in errors if number in values])
    return frame, {number: f"tombstone: {error}" for number, error in errors.items()}


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
    if integer_bits(schema.columns[0].column.type) is None:
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
