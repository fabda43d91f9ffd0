"""Message keys → business keys, for models that delete on tombstones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from kafka_ingest.streams.model import Model, bound_columns, business_key


def key_schema(model: type[Model]) -> Mapping[str, tuple[str, bool]]:
    """Business key column → name of its field in a JSON key, and whether it is an integer."""
    keys = business_key(model)
    return {
        bound.name: (bound.rule.path[-1], isinstance(bound.column.type, sa.Integer))
        for bound in bound_columns(model)
        if bound.name in keys
    }


def parse_keys(
    schema: Mapping[str, tuple[str, bool]], keys: Sequence[bytes | None]
) -> tuple[list[dict[str, Any]], list[str | None]]:
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


def _parse_key(schema: Mapping[str, tuple[str, bool]], key: bytes | None) -> dict[str, Any]:
    if key is None:
        raise ValueError("the message has no key, so nothing says which row to delete")
    try:
        value: Any = msgspec.json.decode(key)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = key.decode("utf-8")  # plain text; UnicodeDecodeError is a ValueError
    if not isinstance(value, dict):
        if len(schema) != 1:
            raise ValueError(f"the key is no JSON object with {', '.join(name for name, _ in schema.values())}")
        value = {next(iter(schema.values()))[0]: value}
    return {column: _key_value(value, name, is_integer) for column, (name, is_integer) in schema.items()}


def _key_value(fields: Mapping[str, Any], name: str, is_integer: bool) -> int | str:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"key field {name!r} is missing or no text or integer")
    if not is_integer:
        return str(value)
    return int(value)
