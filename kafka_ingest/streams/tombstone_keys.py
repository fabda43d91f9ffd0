"""How the message keys of tombstones name rows, by what the model declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.json_schema import JsonSchema, column_type, json_decoder, json_schema
from kafka_ingest.streams.model import BoundColumn, ExactText
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class KeySchema:
    """How a model's message keys are read."""

    columns: tuple[BoundColumn, ...]
    fields: JsonSchema
    """A JSON object with a field per column, by the last name of the column's path."""
    bare: Callable[[bytes], object] | None
    """A JSON value that is no object; None where the key has several columns."""
    is_text: bool
    """The bytes are the value itself: `tombstone_key = "text"`."""


def key_schema(target: TargetTable) -> KeySchema:
    """How the keys of a table's tombstones are read.

    Raises ConfigError for a key column that a message key cannot name, and for a `tombstone_key` that does not fit the key.
    """
    keys = target.key
    columns = tuple(bound for bound in target.bound if bound.name in keys)
    name = target.model_name
    for bound in columns:
        if not _can_be_named(bound):
            raise ConfigError(
                f"model {name}: key column {bound.name!r} is no String, integer, Numeric or Enum, so a message key cannot "
                "name it; change its type, or leave delete_on_tombstone off",
                model=name,
            )
    names = [bound.rule.path[-1] for bound in columns]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"model {name}: two key columns are read from fields named alike ({', '.join(names)}), so a message key cannot "
            "tell them apart; rename one, or leave delete_on_tombstone off",
            model=name,
        )
    how = target.tombstone_key
    if how not in ("json", "text"):
        raise ConfigError(
            f"model {name}: tombstone_key is {how!r}, not 'json' or 'text'", setting="tombstone_key", model=name
        )
    if how == "text" and len(columns) > 1:
        raise ConfigError(
            f"model {name}: with tombstone_key = 'text' the message key is the value of one column, and the business key has "
            f"{len(columns)} ({', '.join(keys)}); use 'json'",
            setting="tombstone_key",
            model=name,
        )
    types = [column_type(name, bound) for bound in columns]
    return KeySchema(
        columns=columns,
        fields=json_schema(name, [((field,), each) for field, each in zip(names, types, strict=True)]),
        bare=json_decoder(types[0][0]) if len(columns) == 1 else None,
        is_text=how == "text",
    )


def _can_be_named(bound: BoundColumn) -> bool:
    # No dates: a row's date is read by a step, which a stream may replace. No Float: a key must be exact.
    kind = bound.column.type
    exact = isinstance(kind, ExactText | sa.Integer | sa.Numeric | sa.Enum) and not isinstance(kind, sa.Float)
    return exact and bound.rule.dates is None
