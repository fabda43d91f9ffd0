"""An existing table: its columns as a model declares them, matched to the fields of messages by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from kafka_ingest.errors import ConfigError
from kafka_ingest.proposal.code import Code, code, text_literal
from kafka_ingest.proposal.dates import DateForm, date_form
from kafka_ingest.proposal.fields import Field
from kafka_ingest.proposal.keys import NoKey, RowKey
from kafka_ingest.proposal.names import is_reserved, snake_case
from kafka_ingest.proposal.plan import Column, LeftOut
from kafka_ingest.proposal.types import (
    BOOLEAN,
    DT_DATE,
    DT_DATETIME,
    DT_TIME,
    OURS,
    SQL,
    ColumnType,
    date_type,
)
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.kept import PLACE_PREFIX
from kafka_ingest.streams.model import PLACE_COLUMNS
from kafka_ingest.type_names import SqlType

_MYSQL = "sqlalchemy.dialects.mysql"


@dataclass(frozen=True, slots=True)
class ExistingColumn:
    """A column as the database has it."""

    name: str
    type: SqlType
    is_nullable: bool
    is_filled: bool
    """Whether the database gives it a value by itself: a default, AUTO_INCREMENT, an identity, a generated column."""
    is_counted: bool = False
    """Whether that value is the next number."""


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """A table as the database has it."""

    name: str
    schema: str | None
    columns: tuple[ExistingColumn, ...]
    key: tuple[str, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    """The columns of its other unique keys."""

    @property
    def own(self) -> tuple[ExistingColumn, ...]:
        """Its columns but ours."""
        return tuple(
            column
            for column in self.columns
            if column.name not in PLACE_COLUMNS and not column.name.startswith(PLACE_PREFIX)
        )


def read_table(sink: Sink, text: str) -> ExistingTable:
    """The table of this name, or `schema.name`. Raises ConfigError where there is none, and what broken infrastructure raises."""
    schema, _, name = text.rpartition(".")
    with sink.errors(f"reading the columns of table {text}"), sink.engine.connect() as connection:
        inspector = sa.inspect(connection)
        if not inspector.has_table(name, schema=schema or None):
            there = ", ".join(sorted(inspector.get_table_names(schema=schema or None))[:20]) or "none"
            raise ConfigError(
                f"there is no table {text!r} in the database that KAFKA_INGEST_DATABASE_URL names; tables: {there}",
                setting="table",
            )
        key = inspector.get_pk_constraint(name, schema=schema or None)["constrained_columns"]
        found = inspector.get_columns(name, schema=schema or None)
        unique = _unique(inspector, name, schema or None)
    columns = tuple(
        ExistingColumn(
            each["name"],
            each["type"],
            bool(each["nullable"]),
            _is_filled(dict(each), key),
            _is_counted(dict(each), key),
        )
        for each in found
    )
    return ExistingTable(name, schema or None, columns, tuple(key), unique)


def _unique(inspector: sa.Inspector, name: str, schema: str | None) -> tuple[tuple[str, ...], ...]:
    """Of whole columns and all rows."""
    found = []
    # SQLite makes automatic ones for constraints.
    for index in inspector.get_indexes(name, schema=schema, include_auto_indexes=True):
        names = tuple(column for column in index["column_names"] if column is not None)
        is_part = any(option.endswith(("_where", "_length")) for option in index.get("dialect_options", {}))
        if index["unique"] and len(names) == len(index["column_names"]) and not is_part:
            found.append(names)
    return tuple(dict.fromkeys(found))


def _is_filled(column: Mapping[str, Any], key: Sequence[str]) -> bool:
    return _is_counted(column, key) or any(column.get(name) for name in ("default", "computed"))


def _is_counted(column: Mapping[str, Any], key: Sequence[str]) -> bool:
    """By what SQLAlchemy's inspector says of a column. Of SQLite's it says which are of the primary key, and not that a single
    INTEGER there counts."""
    is_rowid = bool(column.get("primary_key")) and len(key) == 1
    is_counted = isinstance(column["type"], sa.Integer) and (column.get("autoincrement") is True or is_rowid)
    return is_counted or bool(column.get("identity"))


def columns_for_table(
    table: ExistingTable, fields: Sequence[Field], total: int
) -> tuple[tuple[Column, ...], RowKey | NoKey, tuple[LeftOut, ...]]:
    """The table's columns with the fields that feed them, its key, and the fields and columns that nothing is done about."""
    matched = _matches(table, fields)
    keyed = _key(table, matched)
    if keyed not in ((), table.key):  # the database counts in the primary key, whatever messages call by its name
        matched = {name: field for name, field in matched.items() if name not in table.key}
    columns: list[Column] = []
    left_out: list[LeftOut] = []
    for column in table.own:
        field = matched.get(column.name)
        kind = type_code(column.type, field)
        if kind is None:
            left_out.append(LeftOut(column.name, f"a column of type {column.type!r}, which no model has"))
        elif field is not None:
            columns.append(_fed(column, kind, field, total, is_key=column.name in keyed))
        elif column.is_filled:
            columns.append(_filled(column, kind))
        elif column.is_nullable:
            left_out.append(
                LeftOut(column.name, "a column that no field of the messages is called like: it stays NULL")
            )
        else:
            left_out.append(
                LeftOut(
                    column.name,
                    "a column that is NOT NULL and filled by nothing: give it a path=, a source= or a default=",
                )
            )
    used = {id(field) for field in matched.values()}
    left_out += [
        LeftOut(each.label, "a field that the table has no column for") for each in fields if id(each) not in used
    ]
    if keyed:
        what = "primary" if keyed == table.key else "unique"
        key: RowKey | NoKey = RowKey(
            tuple(matched[name].path for name in keyed), f"the table's {what} key is ({', '.join(keyed)})"
        )
    else:
        key = NoKey("the table's primary key is none that the messages have")
    return tuple(columns), key, tuple(left_out)


def _key(table: ExistingTable, matched: Mapping[str, Field]) -> tuple[str, ...]:
    """The columns that tell rows apart and that messages have: those of the primary key, or, where the database counts in that,
    of the one other unique key whose columns are NOT NULL; none where there are several such keys."""
    columns = {column.name: column for column in table.columns}
    good = {name for name in matched if not columns[name].is_nullable and name not in table.key}
    others = [key for key in table.unique if good.issuperset(key)]
    is_counted = all(columns[name].is_counted for name in table.key)
    if is_counted and len(others) == 1:
        return others[0]
    return table.key if all(name in matched for name in table.key) else ()


def _matches(table: ExistingTable, fields: Sequence[Field]) -> dict[str, Field]:
    """The field of each column: of the same name whatever its case and underscores, by its path, else by the last part of it."""
    found: dict[str, Field] = {}
    for names in (lambda field: "_".join(field.path), lambda field: field.path[-1], lambda field: field.path[0]):
        by_name: dict[str, list[Field]] = {}
        for field in fields:
            if field.seen:
                by_name.setdefault(_folded(names(field)), []).append(field)
        used = {id(field) for field in found.values()}
        for column in table.own:
            some = [field for field in by_name.get(_folded(column.name), ()) if id(field) not in used]
            if column.name not in found and len(some) == 1:
                found[column.name] = some[0]
                used.add(id(some[0]))
    return found


def match_count(table: ExistingTable, fields: Sequence[Field]) -> int:
    """How many of the table's columns some field feeds."""
    return len(_matches(table, fields))


def _folded(name: str) -> str:
    return snake_case(name).replace("_", "")


def _attribute(name: str) -> str:
    own = snake_case(name) or "column"
    own = own if own.isidentifier() else f"column_{own}"
    return f"{own}_" if is_reserved(own) else own


def _fed(column: ExistingColumn, kind: ColumnType, field: Field, total: int, *, is_key: bool) -> Column:
    own = _attribute(column.name)
    return Column(
        attribute=own,
        name=column.name,
        type=_with_cast(kind, field),
        path=field.path,
        is_nullable=column.is_nullable and not is_key,
        is_key=is_key,
        seen=field.seen,
        total=total,
    )


def _filled(column: ExistingColumn, kind: ColumnType) -> Column:
    own = _attribute(column.name)
    plain = replace(kind, options=())
    return Column(
        attribute=own,
        name=column.name,
        type=replace(plain, is_date=False, type=kind.type or code("DateTime", DateTime=SQL)),
        path=None,
        source=code("Database()", Database=OURS),
        is_nullable=column.is_nullable,
    )


_NUMBER_TEXT = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\s*")
_BOOLEAN_TEXTS = {"true", "false", "0", "1"}


def _with_cast(kind: ColumnType, field: Field) -> ColumnType:
    """The type with the cast that the sample's values need."""
    kinds = set(field.kinds) - field.outlier_kinds()
    texts = [value for value in field.values if isinstance(value, str)]
    options = []
    if kind.python.text in ("int", "Decimal", "float") and "text" in kinds and not kind.is_date:
        given = [text for text in texts if text.strip()]
        if kind.python.text != "Decimal" and given and all(map(_NUMBER_TEXT.fullmatch, given)):
            options.append("from_text=True")
            options += ["empty_as_null=True"] if len(given) < len(texts) else []
    if kind.python.text == "bool":
        if kinds & {"integer"} and all(
            int(value) in (0, 1) for value in field.values if not isinstance(value, str | list | dict)
        ):
            options.append("from_number=True")
        if texts and all(text.lower() in _BOOLEAN_TEXTS for text in texts):
            options.append("from_text=True")
    if kind.python.text == "str" and kinds & {"number", "float"}:
        options.append("from_number=True")
    if not options:
        return kind
    return replace(kind, options=(*kind.options, ("cast", code(f"Cast({', '.join(options)})", Cast=OURS))))


def type_code(kind: SqlType, field: Field | None) -> ColumnType | None:
    """A column's type as a model declares it; None for a type that no model has. field: what feeds the column."""
    if isinstance(kind, mysql.TINYINT) and kind.display_width == 1 and not kind.unsigned:
        return BOOLEAN if field is None or field.kinds["boolean"] else _mysql("int", "TINYINT")
    if isinstance(kind, sa.DateTime | sa.Date):
        return _date(kind, field)
    for found in (_integer, _text, _number, _other):
        written = found(kind)
        if written is not None:
            return written
    return None


def _plain(python: str | Code, text: str) -> ColumnType:
    name = re.match(r"\w+", text)
    assert name is not None  # noqa: S101  a call
    return ColumnType(python if isinstance(python, Code) else code(python), code(text, **{name[0]: SQL}))


def _mysql(python: str | Code, text: str) -> ColumnType:
    name = re.match(r"\w+", text)
    assert name is not None  # noqa: S101  a call
    return ColumnType(python if isinstance(python, Code) else code(python), code(text, **{name[0]: _MYSQL}))


def _integer(kind: SqlType) -> ColumnType | None:
    if isinstance(kind, mysql.BIT):
        return _mysql("int", f"BIT({kind.length or 1})")
    if isinstance(kind, mysql.YEAR):
        return _mysql("int", "YEAR")
    for own in (mysql.TINYINT, mysql.MEDIUMINT, mysql.SMALLINT, mysql.BIGINT, mysql.INTEGER):
        if isinstance(kind, own) and (kind.unsigned or own in (mysql.TINYINT, mysql.MEDIUMINT)):
            return _mysql("int", f"{own.__name__}(unsigned=True)" if kind.unsigned else own.__name__)
    for general in (sa.SmallInteger, sa.BigInteger, sa.Integer):
        if isinstance(kind, general):
            return _plain("int", general.__name__)
    return None


def _text(kind: SqlType) -> ColumnType | None:
    if isinstance(kind, mysql.SET):
        return _mysql("str", f"SET({', '.join(map(text_literal, kind.values))})")
    if isinstance(kind, sa.Enum):
        return _plain("str", f"Enum({', '.join(map(text_literal, kind.enums))})")
    for own in (mysql.TINYTEXT, mysql.MEDIUMTEXT, mysql.LONGTEXT):
        if isinstance(kind, own):
            return _mysql("str", own.__name__)
    if isinstance(kind, sa.String):
        is_long = kind.length is None or isinstance(kind, sa.Text)
        return replace(_plain("str", "Text" if is_long else f"String({kind.length})"), characters=kind.length)
    return None


def _number(kind: SqlType) -> ColumnType | None:
    if isinstance(kind, sa.Boolean):
        return BOOLEAN
    if isinstance(kind, sa.Float) or type(kind).__name__ in ("DOUBLE", "DOUBLE_PRECISION", "REAL"):
        return _plain("float", "Float")
    if isinstance(kind, sa.Numeric):
        digits = "" if kind.precision is None else f"({kind.precision}, {kind.scale or 0})"
        return _plain(code("Decimal", Decimal="decimal"), f"Numeric{digits}")
    return None


def _other(kind: SqlType) -> ColumnType | None:
    if isinstance(kind, sa.JSON):
        return _plain(code("Any", Any="typing"), "JSON")
    if isinstance(kind, sa.Uuid):
        return _plain("str", "Uuid")
    if isinstance(kind, mysql.TIME) and kind.fsp is not None:
        return _mysql(DT_TIME, f"TIME(fsp={kind.fsp})")
    if isinstance(kind, sa.Time):
        return _plain(DT_TIME, "Time")
    if isinstance(kind, sa.BINARY | sa.VARBINARY) and kind.length is not None:
        return _plain("bytes", f"{type(kind).__name__}({kind.length})")
    for own in (mysql.TINYBLOB, mysql.MEDIUMBLOB, mysql.LONGBLOB):
        if isinstance(kind, own):
            return _mysql("bytes", own.__name__)
    return _plain("bytes", "LargeBinary") if isinstance(kind, BINARIES) else None


def _date(kind: SqlType, field: Field | None) -> ColumnType:
    """A column of dates, read as the sample's are."""
    form = None if field is None else date_form(field)
    found = date_type(form if isinstance(form, DateForm) else DateForm())
    notes = () if form is None or isinstance(form, DateForm) else (form.note,)
    if field is not None and form is None:
        notes = ("no dates in the sample: say how they are written with unit= or formats=",)
    own: Code | None = None
    if isinstance(kind, sa.Date):
        own = code("Date", Date=SQL)
    elif isinstance(kind, mysql.DATETIME | mysql.TIMESTAMP) and (kind.fsp or 0) != 6:
        name = "TIMESTAMP" if isinstance(kind, mysql.TIMESTAMP) else "DATETIME"
        own = code(f"{name}(fsp={kind.fsp})" if kind.fsp else name, **{name: _MYSQL})
    elif isinstance(kind, mysql.TIMESTAMP):
        own = code("TIMESTAMP(fsp=6)", TIMESTAMP=_MYSQL)
    elif isinstance(kind, postgresql.TIMESTAMP) and kind.precision is not None and kind.precision != 6:
        own = code(f"TIMESTAMP(precision={kind.precision})", TIMESTAMP="sqlalchemy.dialects.postgresql")
    python = DT_DATE if isinstance(kind, sa.Date) else DT_DATETIME
    return replace(found, python=python, type=own, notes=(*found.notes, *notes))
