"""TargetTable: all that reading, loading and reporting ask about one model's table, found out once per stream."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.casts import check_cast
from kafka_ingest.streams.kept import place_column
from kafka_ingest.streams.model import (
    FIELD_RULE,
    FIELD_ZONE,
    INDEX_COLUMN,
    KAFKA_COLUMNS,
    MICROSECONDS,
    ORDER_COLUMN,
    PLACE_COLUMNS,
    TOPIC_TYPE,
    UNSIGNED_OFFSET,
    BoundColumn,
    Model,
    UpsertModel,
    exploded_path,
    filled_by_database,
    is_kept,
)
from kafka_ingest.type_names import SqlColumn

_LONGEST_KEPT_NAME = 63 - len(place_column(""))  # PostgreSQL's identifiers are the shortest
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
    """All columns that are written, the `_kafka_*` ones among them, in the table's order. Those the database fills are not."""
    key: tuple[str, ...]
    """Columns of the business key; empty for an append table."""
    is_upsert: bool
    bound: tuple[BoundColumn, ...]
    """The columns that we fill, in the table's order, with their rules; naive dates are in the stream's time zone."""
    kept: tuple[BoundColumn, ...]
    """Those of them that keep their value where a message does not carry it (streams/kept.py)."""
    tombstones: sa.Table | None
    """Where deletes are remembered: business key, order and position, so that an older message, loaded again by a backfill, does
    not bring a deleted row back. In the table's own schema. None where the model does not delete."""
    tombstone_key: str
    """How the message key of a tombstone is read (`UpsertModel.tombstone_key`)."""
    order_by: str | None
    """Column of the model's own that orders the messages of a key, before their place in Kafka does; None where it has none."""
    explode: tuple[str, ...] | None
    """Where the array stands whose elements are rows, empty where it is the message itself; None where a message is one row."""
    model_name: str
    """For messages to people."""
    identifier: str
    """The table's name for what takes letters, digits and _ only, no digit first. Its name where that is such and it has no
    schema; otherwise made from the label, and different for each."""

    @classmethod
    def of(cls, model: type[Model], timezone: str = "UTC") -> TargetTable:
        """The table of `model`, naive dates taken to be in `timezone` (IANA).

        Raises ConfigError where the model cannot be loaded: a column without `field` or `date_field`, a business key on an
        AppendModel, an `order_by` that orders nothing, an `explode` without a column of its elements, an unknown time zone.
        """
        table = _copy_of(model.__table__)
        written = [c.name for c in model.__table__.columns if not filled_by_database(c)]
        is_upsert = issubclass(model, UpsertModel)
        if not is_upsert and any(c.name not in (*KAFKA_COLUMNS, INDEX_COLUMN) for c in table.primary_key):
            raise ConfigError(
                f"model {model.__name__}: an AppendModel is keyed by Kafka position; for primary_key=True use UpsertModel",
                model=model.__name__,
            )
        bound = _bound_columns(model, table, timezone)
        label = table.name if table.schema is None else f"{table.schema}.{table.name}"
        return cls(
            label=label,
            name=table.name,
            schema=table.schema,
            table=table,
            columns=tuple(written),
            key=tuple(c.name for c in table.primary_key) if is_upsert else (),
            is_upsert=is_upsert,
            bound=bound,
            kept=tuple(each for each in bound if _is_kept(model, each)),
            tombstones=_tombstones_of(table, _order_by(model, table)) if _deletes(model) else None,
            tombstone_key=model.tombstone_key if issubclass(model, UpsertModel) else "json",
            order_by=_order_by(model, table),
            explode=_explode(model, bound),
            model_name=model.__name__,
            identifier=identifier_of(label),
        )

    @property
    def read(self) -> tuple[BoundColumn, ...]:
        """The columns read from the messages' values, from the row there or from around it."""
        return tuple(bound for bound in self.bound if bound.rule.is_in_value)

    def is_of_element(self, bound: BoundColumn) -> bool:
        """Whether a column is read from an element of the exploded array, and not from the message around it."""
        array = self.explode
        return array is not None and bound.rule.source is None and bound.rule.path[: len(array)] == array

    def element(self, place: int) -> str:
        """An element of the exploded array, for people: `order.lines[3]`."""
        return f"{'.'.join(self.explode or ())}[{place}]"

    @property
    def kafka_columns(self) -> tuple[str, ...]:
        """What we fill of its frames: the message's position, of an upsert table its order, and the places of the columns that
        are kept, and, where a message is several rows, the place of each in its array, which upsert tables do not keep."""
        own = PLACE_COLUMNS if self.is_upsert else KAFKA_COLUMNS
        places = tuple(place_column(bound.name) for bound in self.kept)
        return (*own, *places) if self.explode is None else (*own, INDEX_COLUMN)

    @property
    def delete_columns(self) -> tuple[str, ...]:
        """What a delete has: the business key, what orders it, and its place. The columns of the tombstones."""
        own = () if self.order_by is None or self.order_by in self.key else (self.order_by,)
        return (*self.key, *own, *PLACE_COLUMNS)

    @property
    def staged(self) -> tuple[tuple[sa.Table, tuple[str, ...]], ...]:
        """The tables that rows and deletes are merged into by way of a staging table, with the columns that are written."""
        if not self.is_upsert:
            return ()
        graves = () if self.tombstones is None else ((self.tombstones, self.delete_columns),)
        return ((self.table, self.columns), *graves)

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


def _deletes(model: type[Model]) -> bool:
    return issubclass(model, UpsertModel) and (model.deletes is True or model.delete_on_tombstone)


def _order_by(model: type[Model], table: sa.Table) -> str | None:
    if not issubclass(model, UpsertModel) or model.order_by is None:
        return None
    name = model.order_by
    ordered = (sa.Integer, sa.DateTime, sa.Date)
    if name not in table.c or name in PLACE_COLUMNS or not isinstance(table.c[name].type, ordered):
        raise ConfigError(
            f"model {model.__name__}: order_by={name!r} is no integer, DateTime or Date column of its own",
            setting="order_by",
            model=model.__name__,
        )
    if model.delete_on_tombstone:
        raise ConfigError(
            f"model {model.__name__}: a tombstone has no field {name!r} to be compared by; use order_by or delete_on_tombstone, "
            "not both. Where deletes stand in the messages' values (envelope, delete_when), say deletes = True instead",
            setting="order_by",
            model=model.__name__,
        )
    return name


def _is_kept(model: type[Model], bound: BoundColumn) -> bool:
    """Raises ConfigError where a column cannot be kept, or what it would hold would depend on which message came first."""
    if bound.rule.keep_absent is False:
        return False
    why = None
    if not issubclass(model, UpsertModel):
        why = "only rows that are updated keep something: use UpsertModel"
    elif exploded_path(model) is not None:
        why = "the model explodes an array, whose elements are whole rows: send a message for each row, or leave explode out"
    elif bound.column.primary_key or bound.name == model.order_by:
        why = "rows are told apart by it, so every message has to carry it"
    elif bound.rule.source is not None:
        why = f"it comes from {bound.rule.source}, and only a field of the row can be absent"
    elif bound.rule.keep_absent == "":
        why = "an empty text is a value"
    elif len(bound.name) > _LONGEST_KEPT_NAME:
        name = place_column(bound.name)
        why = (
            f"not every database takes {name}, the column beside it: its name may have {_LONGEST_KEPT_NAME} characters"
        )
    elif not bound.column.nullable and bound.default is None:
        why = (
            "the first message of a row may not carry it, and which is the first depends on what is loaded: let it be nullable, "
            "or give it a default"
        )
    if why is not None:
        raise ConfigError(
            f"model {model.__name__}: column {bound.name!r} has keep_absent, but {why}",
            setting="keep_absent",
            model=model.__name__,
        )
    return True


def _explode(model: type[Model], bound: Sequence[BoundColumn]) -> tuple[str, ...] | None:
    array = exploded_path(model)
    if array is None:
        return None
    shown = ".".join(array) or "[]"

    def refused(problem: str) -> ConfigError:
        return ConfigError(
            f"model {model.__name__}: explode={shown!r}: {problem}", setting="explode", model=model.__name__
        )

    if any(not part or "[" in part or part == "*" for part in array):
        raise refused("it takes the path of one array, 'order.lines', or '[]' where the message itself is the array")
    read = [each for each in bound if each.rule.source is None]
    whole = next((each.name for each in read if each.rule.path == array), None)
    if whole is not None:
        raise refused(
            f"column {whole!r} is read from {shown!r} itself; give it the path of a field of an element, {shown}.name, or "
            f"{shown}.value where elements are no objects"
        )
    if not any(each.rule.path[: len(array)] == array for each in read):
        raise refused(f"no column is read from its elements; give those that are a path such as {shown}.name")
    return array


def _copy_of(table: sa.Table) -> sa.Table:
    copy = table.to_metadata(sa.MetaData())
    copy.info = {}
    for column in copy.columns:
        column.default = column.onupdate = None
        column.info = {}
    return copy


def _bound_columns(model: type[Model], copy: sa.Table, timezone: str) -> tuple[BoundColumn, ...]:
    found = []
    places = {place_column(column.name) for column in model.__table__.columns if is_kept(column)}
    for column in model.__table__.columns:
        name = str(column.name)  # SQLAlchemy's own kind of text where the model gives a name, which msgspec refuses
        if name in (*PLACE_COLUMNS, INDEX_COLUMN, *places):
            continue
        rule = column.info.get(FIELD_RULE)
        if filled_by_database(column):
            _check_filled(model, column)
            continue
        if rule is None:
            raise ConfigError(
                f"model {model.__name__}: column {name!r} is not declared with field() or date_field(), "
                "so nothing says where its value comes from",
                model=model.__name__,
            )
        if rule.cast is not None:
            check_cast(model.__name__, name, column.type, rule.cast)
        dates = rule.dates
        if dates is not None and column.info[FIELD_ZONE] is None:
            dates = replace(dates, timezone=timezone)
        default = column.default
        found.append(
            BoundColumn(
                name=name,
                rule=replace(rule, path=rule.path or (() if rule.source else (name,)), dates=dates),
                column=copy.c[column.key],
                default=default.arg if isinstance(default, sa.ColumnDefault) and default.is_scalar else None,
            )
        )
    return tuple(found)


def _check_filled(model: type[Model], column: SqlColumn) -> None:
    if column.primary_key or (issubclass(model, UpsertModel) and column.name == model.order_by):
        raise ConfigError(
            f"model {model.__name__}: the database cannot fill column {column.name!r}, by which rows are told apart",
            model=model.__name__,
        )


def _tombstones_of(table: sa.Table, order_by: str | None) -> sa.Table:
    keys = [sa.Column(c.name, c.type, primary_key=True, autoincrement=False) for c in table.primary_key]
    own = [] if order_by is None or order_by in table.primary_key else [sa.Column(order_by, table.c[order_by].type)]
    return sa.Table(
        f"{table.name}_tombstones",
        table.metadata,
        *keys,
        *own,
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
