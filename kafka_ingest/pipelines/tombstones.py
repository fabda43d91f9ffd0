"""Message keys → business keys, for models that delete on tombstones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import ExactText, integer_bits
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of a business key as a tombstone's message key gives it."""

    field: str
    """Its name in a JSON key."""
    bits: int | None
    """Width of an integer column; None for text."""
    length: int | None
    """Characters a text column holds."""


KeySchema = Mapping[str, KeyColumn]


def key_schema(target: TargetTable) -> KeySchema:
    """Business key column → how a message key gives it. Raises ConfigError for a key column that is no text or integer."""
    for column in target.table.primary_key:
        if not isinstance(column.type, ExactText | sa.Integer):
            raise ConfigError(
                f"model {target.model_name}: key column {column.name!r} is no String or integer, so a message key cannot name "
                "it; change its type, or leave delete_on_tombstone off"
            )
    return {
        bound.name: KeyColumn(
            field=bound.rule.path[-1],
            bits=integer_bits(bound.column.type),
            length=bound.column.type.length if isinstance(bound.column.type, ExactText) else None,
        )
        for bound in target.bound
        if bound.name in target.key
    }


def parse_keys(schema: KeySchema, keys: Sequence[bytes | None]) -> tuple[list[dict[str, Any]], list[str | None]]:
    """Business keys of those message keys that have one, and for every message key its error or None."""
    found: list[dict[str, Any]] = []
    errors: list[str | None] = []
    for key in keys:
        try:
            found.append(_parse_key(schema, key))
            errors.append(None)
        except ValueError as error:
            errors.append(f"tombstone: {error}")
    return found, errors


def _parse_key(schema: KeySchema, key: bytes | None) -> dict[str, Any]:
    if key is None:
        raise ValueError("the message has no key, so nothing says which row to delete")
    try:
        value: Any = msgspec.json.decode(key)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = key.decode("utf-8")  # plain text; UnicodeDecodeError is a ValueError
    if not isinstance(value, dict):
        if len(schema) != 1:
            raise ValueError(f"the key is no JSON object with {', '.join(each.field for each in schema.values())}")
        only = next(iter(schema.values()))
        if only.bits is None and isinstance(value, int | float) and not isinstance(value, bool):
            value = key.decode("utf-8").strip()  # plain text that reads as a number: 12e5, 1.0, -0
        value = {only.field: value}
    return {column: _key_value(value, each) for column, each in schema.items()}


def _key_value(fields: Mapping[str, Any], column: KeyColumn) -> int | str:
    """The key's value, checked as `validate` checks a row's: a key no row can have must not reach the database, where it
    would fail the batch, or be cut to the key of another row."""
    value = fields.get(column.field)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"key field {column.field!r} is missing or no text or integer")
    if column.bits is None:
        text = str(value)
        text.encode("utf-8")  # a lone surrogate is a UnicodeEncodeError, which is a ValueError
        if column.length is not None and len(text) > column.length:
            raise ValueError(
                f"key field {column.field!r} has {len(text)} characters, and the column holds {column.length}"
            )
        return text
    if isinstance(value, str) and not (value.isascii() and value.removeprefix("-").isdigit()):
        raise ValueError(f"key field {column.field!r} is no integer: {value[:40]!r}")
    number = int(value)
    limit = 1 << (column.bits - 1)
    if not -limit <= number < limit:
        raise ValueError(f"key field {column.field!r}: {str(value)[:40]} does not fit {column.bits} bits")
    return number
