"""Declared tables as models: the classes that Python would declare with the same words."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import MappedColumn

from kafka_ingest.streams.casts import Cast, CastRule
from kafka_ingest.streams.declaration.column_types import column_type, is_date
from kafka_ingest.streams.declaration.place import Place, said_of, wrong
from kafka_ingest.streams.declaration.python_path import named_object
from kafka_ingest.streams.declaration.vocabulary import (
    CastDeclaration,
    ColumnDeclaration,
    SourceDeclaration,
    TableDeclaration,
    instant,
)
from kafka_ingest.streams.json_schema import model_schema
from kafka_ingest.streams.model import (
    INDEX_COLUMN,
    KAFKA_COLUMNS,
    PLACE_COLUMNS,
    AppendModel,
    Model,
    UpsertModel,
    date_field,
    field,
)
from kafka_ingest.streams.sources import (
    Constant,
    Database,
    Envelope,
    Header,
    Key,
    Offset,
    Partition,
    Source,
    Timestamp,
    Topic,
)
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import key_schema
from kafka_ingest.type_names import SqlType

_OF_ALL = ("path", "server_default", "comment", "index", "unique", "keep_absent")
_OF_DATES = ("timezone", "zones", "unit", "formats", "day_first", "on_error")
_OF_UPSERTS = ("order_by", "deletes", "delete_on_tombstone", "tombstone_key")
_SOURCES: Mapping[str, Source] = {
    "key": Key(),
    "topic": Topic(),
    "partition": Partition(),
    "offset": Offset(),
    "timestamp": Timestamp(),
    "database": Database(),
}
_NUMBERS = itertools.count(1)


def declared_model(declaration: TableDeclaration, timezone: str, package: str | None, place: Place) -> type[Model]:
    """The model of a declared table; another class each time.

    timezone: that of the stream.
    package: the package that Python paths with a dot before them are relative to.

    Raises DeclarationError for what cannot be loaded.
    """
    is_upsert = any(column.primary_key for column in declaration.columns.values())
    for name in () if is_upsert else declaration.given(*_OF_UPSERTS):
        raise wrong((*place, name), "is for tables with a business key: give a column primary_key: true")
    base: type[Model] = UpsertModel if is_upsert else AppendModel
    ours = PLACE_COLUMNS if is_upsert else KAFKA_COLUMNS
    if declaration.explode is not None and not is_upsert:
        ours = (*ours, INDEX_COLUMN)
    model = type(
        declaration.table,
        (base,),
        {
            "__doc__": declaration.description,
            # SQLAlchemy knows classes by module and name, and tables by name: another declaration may have the same.
            "__module__": f"{__name__}_{next(_NUMBERS)}",
            "metadata": sa.MetaData(),
            "__tablename__": declaration.table,
            "__table_args__": (
                *_indexes(declaration, ours, (*place, "indexes")),
                {"schema": declaration.schema_, "comment": declaration.comment},
            ),
            **_attributes(declaration.columns, base, ours, package, (*place, "columns")),
            **declaration.given("explode", *_OF_UPSERTS),
        },
    )
    with said_of(place, ("explode", *_OF_UPSERTS)):
        target = TargetTable.of(model, timezone)
        model_schema(target)
        if target.tombstones is not None and not any(
            isinstance(b.rule.source, Envelope) for b in target.bound if b.name in target.key
        ):
            key_schema(target)
    return model


def _indexes(declaration: TableDeclaration, ours: tuple[str, ...], place: Place) -> Iterator[sa.Index]:
    for name, columns in declaration.indexes.items():
        for at, column in enumerate(columns):
            if column not in declaration.columns and column not in ours:
                raise wrong((*place, name, at), f"is {column!r}, which is no column of the table")
        yield sa.Index(name, *columns)


def _attributes(
    columns: Mapping[str, ColumnDeclaration],
    base: type[Model],
    ours: tuple[str, ...],
    package: str | None,
    place: Place,
) -> Mapping[str, MappedColumn[Any]]:
    attributes: dict[str, MappedColumn[Any]] = {}
    for name, column in columns.items():
        if name in ours:
            raise wrong((*place, name), "is a column that every table has, filled by us")
        attribute = name
        # SQLAlchemy and the models keep names for themselves: `metadata`, `order_by`, `__table__`.
        while attribute.startswith("_") or hasattr(base, attribute) or attribute in {*attributes, *columns} - {name}:
            attribute = f"column_{attribute}"
        attributes[attribute] = _mapped(name, column, package, (*place, name))
    return attributes


def _mapped(name: str, column: ColumnDeclaration, package: str | None, place: Place) -> MappedColumn[Any]:
    options = {"name": name, "nullable": column.nullable, **column.given(*_OF_ALL)}
    if column.primary_key:
        options["primary_key"] = True
    if column.default is not None:
        options["default"] = column.default
    if column.source is not None:
        options["source"] = _source(column.source, (*place, "source"))
    kind = column_type(column.type)
    if not is_date(kind):
        for each in column.given(*_OF_DATES):
            raise wrong((*place, each), "is for dates: columns of type DATETIME(n), TIMESTAMP(n) or DATE")
        if column.cast is not None:
            options["cast"] = _cast(column.cast, package, (*place, "cast"))
        with said_of(place, ("cast",)):
            return field(kind, **options)
    if column.cast is not None:
        raise wrong(
            (*place, "cast"), "is not for dates, which are read in many forms; formats and unit say what else one is"
        )
    if column.default is not None:
        options["default"] = _default_date(column.default, kind, (*place, "default"))
    with said_of(place, _OF_DATES):
        return date_field(kind, **options, **column.given(*_OF_DATES))


def _default_date(given: object, kind: SqlType, place: Place) -> object:
    """A date column's default: an instant, or the day of a DATE column."""
    if isinstance(kind, sa.Date):
        if isinstance(given, str):
            try:
                return dt.date.fromisoformat(given)
            except ValueError:
                raise wrong(place, f"is {given!r}, not a date: '2026-01-01'") from None
        return given
    found = instant(given)
    if isinstance(found, str):
        raise wrong(place, f"is {given!r}, not a time with a zone: '2026-01-01T00:00:00Z'")
    return found


def _source(declared: str | SourceDeclaration, place: Place) -> Source:
    if isinstance(declared, str):
        return _SOURCES[declared]
    match declared.given():
        case {"key": path, **more} if not more:
            return Key(path)
        case {"header": name, **more} if not more:
            return Header(name)
        case {"envelope": path, **more} if not more:
            return Envelope(path)
        case {"constant": value, **more} if not more:
            return Constant(value)
    raise wrong(place, "must have one of key, header, envelope and constant")


def _cast(declared: str | CastDeclaration, package: str | None, place: Place) -> CastRule:
    if isinstance(declared, str):
        function = named_object(declared, package, place)
        if not callable(function):
            raise wrong(place, f"is {declared!r}, which is no function")
        return function
    with said_of(place):
        return Cast(**declared.given())
