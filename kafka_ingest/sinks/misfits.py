"""What keeps an existing table from holding a model's values as they are. Each database's rules stand in a module of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from kafka_ingest.errors import ConfigError
from kafka_ingest.type_names import SqlColumn

_POSITION_COLUMN = "_kafka_offset"  # part of the primary key of append tables, and of no other


@dataclass(frozen=True, slots=True)
class Misfit:
    """One difference between an existing table and the one a model declares.

    problem: what differs, and what would become of a value; a person reads it in SchemaMismatch.
    statement: what a person runs to mend it, without a semicolon.
    adds: the missing column, where the statement does nothing but add it.
    """

    table: sa.Table
    problem: str
    statement: str
    adds: SqlColumn | None = None


def missing_columns(inspector: sa.Inspector, table: sa.Table) -> list[SqlColumn]:
    """Columns the existing table does not have, in the model's order. inspector: one that has looked at the table keeps what it
    saw."""
    existing = existing_columns(inspector, table)
    return [column for column in table.columns if column.name.lower() not in existing]


def existing_columns(inspector: sa.Inspector, table: sa.Table) -> set[str]:
    """Names, in lower case, of the columns the database's table has."""
    names = [str(c["name"]) for c in inspector.get_columns(table.name, schema=table.schema)]
    # SQLAlchemy reads MySQL's SHOW CREATE TABLE, and leaves a backtick in a column's name doubled.
    return {name.replace("``", "`").lower() for name in names}


def is_key_fit(wanted: Collection[str], held: Collection[str]) -> bool:
    """Whether a table with the primary key `held` is right for a model with the key `wanted`; names in one case.

    The order does not matter. Rows of append tables come into ranges of offsets that are empty, so such a key may have further
    columns, as a table with partitions asks for. In a table of upserts two rows of one key would stand beside each other.
    """
    return set(wanted) <= set(held) and (len(wanted) == len(held) or _POSITION_COLUMN in wanted)


def is_key_beside(wanted: Collection[str], held: Collection[str]) -> bool:
    """Whether a table of upserts with the primary key `held`, which is none for such a model, or with none at all, is right where
    it also has a unique key of exactly the columns `wanted`; names in one case.

    So are tables that count their rows in an `id` of their own. A primary key of fewer of these columns allows too few rows.
    """
    return _POSITION_COLUMN not in wanted and (not held or not set(held) <= set(wanted))


def key_problem(wanted: Sequence[str], held: Sequence[str], *, is_beside: bool) -> str:
    """What is wrong where neither `is_key_fit` nor, where `is_beside`, another key makes the table right."""
    have = f"its primary key is ({', '.join(held)})" if held else "it has no primary key"
    wish = f"({', '.join(wanted)}) is wanted{', there or as another unique key' if is_beside else ''}"
    return f"{have}, and {wish}: one row would take the place of another, or stand beside it"


def refuse_view(table: sa.Table) -> None:
    """For a table that is a view on the server. Raises ConfigError unless rows are only appended: it has no key to merge by."""
    if _POSITION_COLUMN not in table.primary_key.columns:
        raise ConfigError(
            f"table {table.fullname} is a view, and rows are upserted into tables only: name the table behind it in __tablename__"
        )


def lacks(dialect: sa.Dialect, column: SqlColumn) -> Misfit:
    """A column that is missing."""
    return Misfit(column.table, f"column {column.name} is missing", add_column(dialect, column), adds=column)


def never_filled(*, is_declared: bool) -> str:
    """What is wrong with a column that has to have a value and gets none from anyone."""
    what = "is to be filled by the database, as the model says," if is_declared else "is not in the model,"
    return f"{what} NOT NULL and without a default: no row can be inserted"


def add_column(dialect: sa.Dialect, column: SqlColumn) -> str:
    """The statement that adds a column to its table."""
    return f"{alter(dialect, column.table)} ADD COLUMN {plain(dialect, str(CreateColumn(column).compile(dialect=dialect)))}"


def add_nullable_column(dialect: sa.Dialect, column: SqlColumn) -> str:
    """The statement that adds a column to its table as one that may be NULL, whatever the model says."""
    kind = plain(dialect, str(column.type.compile(dialect=dialect)))
    return f"{alter(dialect, column.table)} ADD COLUMN {quoted(dialect, [column.name])} {kind} NULL"


def alter(dialect: sa.Dialect, table: sa.Table) -> str:
    """The beginning of an ALTER TABLE statement."""
    return f"ALTER TABLE {plain(dialect, dialect.identifier_preparer.format_table(table))}"


def quoted(dialect: sa.Dialect, names: Iterable[str]) -> str:
    """Column names as a list of SQL."""
    return ", ".join(plain(dialect, dialect.identifier_preparer.quote(name)) for name in names)


def plain(dialect: sa.Dialect, sql: str) -> str:
    """SQL as a person runs it: SQLAlchemy doubles each % for drivers that put parameters in with that sign."""
    return sql.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else sql
