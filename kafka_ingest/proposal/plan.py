"""What is proposed: models with their columns, and the stream. module_text.py writes it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kafka_ingest.proposal.code import Code
from kafka_ingest.proposal.fields import Path
from kafka_ingest.proposal.keys import NoKey, RowKey
from kafka_ingest.proposal.types import ColumnType


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a model."""

    attribute: str
    """Its name in Python."""
    name: str
    """Its name in the table."""
    type: ColumnType
    path: Path | None
    """The field that it reads; None where it has another source."""
    source: Code | None = None
    is_nullable: bool = True
    is_key: bool = False
    seen: int = 0
    total: int = 0
    doc: str | None = None
    """What a schema says of it."""
    notes: tuple[str, ...] = ()

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What a person has to decide, or should know."""
        return (*self.notes, *self.type.notes)

    @property
    def presence(self) -> str | None:
        """In how many messages it has a value, where not in all."""
        return f"in {self.seen:,} of {self.total:,}" if self.seen < self.total else None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A field, or a column of an existing table, that the model does not have."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """One model."""

    class_name: str
    table: str
    schema: str | None = None
    types: tuple[str, ...]
    """The message types that are its rows; none where all messages of the topic are."""
    columns: tuple[Column, ...]
    key: RowKey | NoKey
    messages: int
    left_out: tuple[LeftOut, ...] = ()
    deletes: bool = False
    """Whether messages without a value delete rows."""
    deletes_by_value: bool = False
    """Whether values say that rows are deleted."""
    explode: str | None = None
    """The path of the array whose elements are rows."""

    @property
    def is_upsert(self) -> bool:
        return any(column.is_key for column in self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """The stream with its models."""

    name: str
    topic: str
    value_format: Code | None
    route_path: Path | None
    models: Sequence[ModelPlan]
    envelope: Code | None = None
    key_format: Code | None = None
    described: str
    """What it was made from."""
    notes: tuple[str, ...] = ()
