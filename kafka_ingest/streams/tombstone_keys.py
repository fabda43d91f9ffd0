"""How the message keys of tombstones name rows, by what the model declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.column_types import BINARIES, INTEGERS, ExactUuid
from kafka_ingest.streams.formats.base import Format, MessageReader
from kafka_ingest.streams.formats.json import Json
from kafka_ingest.streams.formats.leaves import Fields, Wanted
from kafka_ingest.streams.formats.schemas import Schemas
from kafka_ingest.streams.formats.text import Text
from kafka_ingest.streams.json_schema import JsonReader, column_type, json_decoder, json_schema
from kafka_ingest.streams.model import BoundColumn, ExactText
from kafka_ingest.streams.sources import Key
from kafka_ingest.streams.target import TargetTable


@dataclass(frozen=True, slots=True)
class KeySchema:
    """How a model's message keys are read."""

    target: TargetTable
    columns: tuple[BoundColumn, ...]
    """Those that the message's key names."""
    others: tuple[BoundColumn, ...]
    """Those of the business key that come from the message's headers or place, or are constants."""
    wanted: Fields
    """The fields of the key, one for each column that it names."""
    fields: JsonReader
    """A JSON object with a field per column, by the last name of the column's path."""
    bare: Callable[[bytes], object] | None
    """A JSON value that is no object; None where the key has several columns."""
    is_text: bool
    """The bytes are the value itself: `tombstone_key = "text"`, `Text()`, or a column whose source is the whole key."""
    format: Format

    @property
    def all_columns(self) -> tuple[BoundColumn, ...]:
        """The business key, in the table's order."""
        return tuple(bound for bound in self.target.bound if bound.name in self.target.key)

    def reader(self, schemas: Schemas) -> MessageReader | None:
        """Reads the columns out of keys of the stream's format; None where that is JSON or text."""
        if self.is_text or isinstance(self.format, Json):
            return None
        bare = self.wanted[0][0][-1] if len(self.wanted) == 1 else None
        return self.format.reader(Wanted("the key", self.wanted, bare), schemas)


def key_schema(target: TargetTable, key_format: Format | None = None) -> KeySchema:
    """How the keys of a table's tombstones are read, written in this format; JSON where it is left out.

    Raises ConfigError for a key column that a message key cannot name, and for a `tombstone_key` that does not fit the key.
    """
    keys = target.key
    key_format = key_format or Json()
    whole = tuple(bound for bound in target.bound if bound.name in keys)
    columns = tuple(bound for bound in whole if bound.rule.source is None or isinstance(bound.rule.source, Key))
    name = target.model_name
    for bound in columns:
        if not _can_be_named(bound):
            raise ConfigError(
                f"model {name}: key column {bound.name!r} is no String, integer, Numeric, Enum, Uuid or binary with a cast, so "
                "a message key cannot name it; change its type, or leave delete_on_tombstone off",
                model=name,
            )
    is_whole_key = [bound.rule.source == Key() for bound in columns]
    names = [bound.name if is_all else bound.rule.path[-1] for bound, is_all in zip(columns, is_whole_key, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"model {name}: two key columns are read from fields named alike ({', '.join(names)}), so a message key cannot "
            "tell them apart; rename one, or leave delete_on_tombstone off",
            model=name,
        )
    if not columns:
        raise ConfigError(
            f"model {name}: no column of its business key is in a message's key or value, so a tombstone names no row; leave "
            "delete_on_tombstone off",
            model=name,
        )
    if target.tombstone_key == "text" and not isinstance(key_format, Json | Text):
        raise ConfigError(
            f"model {name}: tombstone_key = 'text' and the stream's key_format {key_format!r} say two things; leave one out",
            setting="tombstone_key",
            model=name,
        )
    how = "text" if any(is_whole_key) or isinstance(key_format, Text) else target.tombstone_key
    if how not in ("json", "text"):
        raise ConfigError(
            f"model {name}: tombstone_key is {how!r}, not 'json' or 'text'", setting="tombstone_key", model=name
        )
    if how == "text" and len(columns) > 1:
        raise ConfigError(
            f"model {name}: a key that is text is the value of one column, and the business key has "
            f"{len(columns)} ({', '.join(keys)}); use 'json'",
            setting="tombstone_key",
            model=name,
        )
    types = [column_type(name, bound) for bound in columns]
    # A field of the value is named by the last part of its path; one of the key by all of it.
    paths = [bound.rule.path if bound.rule.source is not None else (bound.rule.path[-1],) for bound in columns]
    paths = [path or (bound.name,) for path, bound in zip(paths, columns, strict=True)]
    wanted = list(zip(paths, types, strict=True))
    return KeySchema(
        target=target,
        columns=columns,
        others=tuple(bound for bound in whole if bound not in columns),
        wanted=wanted,
        fields=json_schema(name, wanted),
        bare=json_decoder(types[0][0]) if len(columns) == 1 else None,
        is_text=how == "text",
        format=key_format,
    )


def _can_be_named(bound: BoundColumn) -> bool:
    # No dates: a row's date is read by a step, which a stream may replace. No Float: a key must be exact.
    kind = bound.column.type
    exact = isinstance(kind, (ExactText, ExactUuid, *INTEGERS, sa.Numeric, sa.Enum)) and not isinstance(kind, sa.Float)
    return (exact or (isinstance(kind, BINARIES) and bound.rule.cast is not None)) and bound.rule.dates is None
