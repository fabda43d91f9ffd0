"""TargetTable: all that reading, loading and reporting ask about one model's table, found out once per stream."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.dates import DateRule
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import (
    FIELD_RULE,
    FIELD_ZONE,
    KAFKA_COLUMNS,
    MICROSECONDS,
    ORDER_COLUMN,
    PLACE_COLUMNS,
    TOPIC_TYPE,
    UNSIGNED_OFFSET,
    BoundColumn,
    FieldRule,
    Model,
    UpsertModel,
)

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, eq=False)
class TargetTable:
    """One table a stream writes to. Two are equal where their labels are.

    It can be pickled, whatever the model: nothing in it refers to the model class, which may have been made at run time,
    or to a function of the user's.
    """

    label: str
    """The table's name, after its schema and a dot where it has one: `news`, `archive.news`."""
    name: str
    schema: str | None
    """Where the model names one; else the table is in the database that the URL names."""
    table: sa.Table
    """The model's table in a MetaData of its own, without Python-side defaults. For statements, not for creating it."""
    columns: tuple[str, ...]
    """All columns in the table's order, the `_kafka_*` ones among them."""
    key: tuple[str, ...]
    """Columns of the business key; empty for an append table."""
    is_upsert: bool
    bound: tuple[BoundColumn, ...]
    """The columns read from messages, in the table's order, with their rules; naive dates are in the stream's time zone."""
    tombstones: sa.Table | None
    """Where deletes are remembered: business key and position, so that an older message, loaded again by a backfill, does
    not bring a deleted row back. In the table's own schema. None where the model does not delete on tombstones."""
    tombstone_key: str
    """How the message key of a tombstone is read (`UpsertModel.tombstone_key`)."""
    order_by: str | None
    """Column of the model's own that orders the messages of a key, before their place in Kafka does; None where it has none."""
    model_name: str
    """For messages to people."""
    identifier: str
    """The table's name for what takes letters, digits and _ only, no digit first. Its name where that is such and it has no
    schema; otherwise made from the label, and different for each."""

    @classmethod
    def of(cls, model: type[Model], timezone: str = "UTC") -> TargetTable:
        """The table of `model`, naive dates taken to be in `timezone` (IANA).

        Raises ConfigError where the model cannot be loaded: a column without `field` or `date_field`, a business key on an
        AppendModel, an `order_by` that orders nothing, an unknown time zone.
        """
        table = _copy_of(model.__table__)
        is_upsert = issubclass(model, UpsertModel)
        if not is_upsert and any(c.name not in KAFKA_COLUMNS for c in table.primary_key):
            raise ConfigError(
                f"model {model.__name__}: an AppendModel is keyed by Kafka position; for primary_key=True use UpsertModel",
                model=model.__name__,
            )
        label = table.name if table.schema is None else f"{table.schema}.{table.name}"
        return cls(
            label=label,
            name=table.name,
            schema=table.schema,
            table=table,
            columns=tuple(c.name for c in table.columns),
            key=tuple(c.name for c in table.primary_key) if is_upsert else (),
            is_upsert=is_upsert,
            bound=_bound_columns(model, table, timezone),
            tombstones=_tombstones_of(table) if issubclass(model, UpsertModel) and model.delete_on_tombstone else None,
            tombstone_key=model.tombstone_key if issubclass(model, UpsertModel) else "json",
            order_by=_order_by(model, table),
            model_name=model.__name__,
            identifier=identifier_of(label),
        )

    @property
    def kafka_columns(self) -> tuple[str, ...]:
        """Those of its columns that we fill: the message's position, and, of an upsert table, its order."""
        return PLACE_COLUMNS if self.is_upsert else KAFKA_COLUMNS

    @property
    def tables(self) -> tuple[sa.Table, ...]:
        """The table and, where it has one, its table of tombstones."""
        return (self.table,) if self.tombstones is None else (self.table, self.tombstones)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TargetTable) and self.label == other.label

    def __hash__(self) -> int:
        return hash(self.label)

    def __str__(self) -> str:
        return self.label


def _order_by(model: type[Model], table: sa.Table) -> str | None:
    if not issubclass(model, UpsertModel) or model.order_by is None:
        return None
    name = model.order_by
    if name not in table.c or name in PLACE_COLUMNS or not isinstance(table.c[name].type, sa.Integer | sa.DateTime):
        raise ConfigError(
            f"model {model.__name__}: order_by={name!r} is no integer or date column of its own",
            setting="order_by",
            model=model.__name__,
        )
    if model.delete_on_tombstone:
        raise ConfigError(
            f"model {model.__name__}: a tombstone has no field {name!r} to be compared by; use order_by or delete_on_tombstone, "
            "not both",
            setting="order_by",
            model=model.__name__,
        )
    return name


def _copy_of(table: sa.Table) -> sa.Table:
    copy = table.to_metadata(sa.MetaData())
    copy.info = {}
    for column in copy.columns:
        column.default = column.onupdate = None
        column.info = {}
    return copy


def _bound_columns(model: type[Model], copy: sa.Table, timezone: str) -> tuple[BoundColumn, ...]:
    found = []
    for column in model.__table__.columns:
        if column.name in PLACE_COLUMNS:
            continue
        rule = column.info.get(FIELD_RULE)
        if rule is None:
            raise ConfigError(
                f"model {model.__name__}: column {column.name!r} is not declared with field() or date_field(), "
                "so nothing says where its value comes from",
                model=model.__name__,
            )
        dates = rule.dates
        if dates is not None and column.info[FIELD_ZONE] is None:
            dates = DateRule(dates.formats, timezone, dates.day_first)
        default = column.default
        found.append(
            BoundColumn(
                name=column.name,
                rule=FieldRule(rule.path or (column.name,), dates, rule.on_error),
                column=copy.c[column.key],
                default=default.arg if isinstance(default, sa.ColumnDefault) and default.is_scalar else None,
            )
        )
    return tuple(found)


def _tombstones_of(table: sa.Table) -> sa.Table:
    keys = [sa.Column(c.name, c.type, primary_key=True, autoincrement=False) for c in table.primary_key]
    return sa.Table(
        f"{table.name}_tombstones",
        table.metadata,
        *keys,
        sa.Column("_kafka_topic", TOPIC_TYPE, nullable=False),
        sa.Column("_kafka_partition", sa.Integer, nullable=False),
        sa.Column("_kafka_offset", UNSIGNED_OFFSET, nullable=False),
        sa.Column("_kafka_timestamp", MICROSECONDS),
        sa.Column(ORDER_COLUMN, sa.BigInteger),
        schema=table.schema,
        **dict(table.dialect_kwargs),
    )


def identifier_of(name: str) -> str:
    """The name where it is an identifier in ASCII; otherwise one made from it, and different for each."""
    if _IDENTIFIER.fullmatch(name):
        return name
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"{'_' if plain[0].isdigit() else ''}{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
