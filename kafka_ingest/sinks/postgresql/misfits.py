"""What keeps an existing table of PostgreSQL from holding a model's values as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.misfits import (
    Misfit,
    alter,
    is_key_beside,
    is_key_fit,
    key_problem,
    lacks,
    never_filled,
    plain,
    quoted,
    refuse_view,
)
from kafka_ingest.sinks.postgresql.types import ColumnType, change, declared_type, parse_type
from kafka_ingest.streams.model import filled_by_database
from kafka_ingest.type_names import SqlColumn, SqlType

# A domain is what its base type is.
_COLUMNS = """SELECT n.number, c.relkind, c.relpersistence, a.attname AS name, a.attnotnull AS is_required,
  a.atthasdef AS has_default, a.attidentity AS identity, a.attgenerated AS generated,
  CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE format_type(a.atttypid, a.atttypmod) END AS type,
  ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid IN (t.oid, t.typbasetype)
        ORDER BY e.enumsortorder) AS members,
  o.collname AS collation, COALESCE(o.collisdeterministic, true) AS is_exact
FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, number)
JOIN pg_class AS c ON c.oid = to_regclass(n.name)
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_collation AS o ON o.oid = a.attcollation
ORDER BY n.number, a.attnum"""
# ON CONFLICT takes an index for its arbiter whatever its collations and operator classes, which may take two keys for one.
_KEYS = """SELECT n.number, r.relname AS name, i.indisprimary AS is_primary, NOT i.indimmediate AS is_deferrable,
  i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND NOT i.indisexclusion AND NOT EXISTS (
    SELECT FROM generate_series(0, i.indnkeyatts - 1) AS p(place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.place]
    JOIN pg_opclass AS o ON o.oid = i.indclass[p.place]
    WHERE NOT o.opcdefault OR i.indcollation[p.place] <> a.attcollation) AS is_exact,
  ARRAY(SELECT COALESCE(a.attname::text, '') FROM generate_series(0, i.indnkeyatts - 1) AS p(place)
    LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p.place] ORDER BY p.place) AS columns
FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, number)
JOIN pg_index AS i ON i.indrelid = to_regclass(n.name) AND i.indisunique
JOIN pg_class AS r ON r.oid = i.indexrelid"""
_TOPIC = "_kafka_topic"
# A topic's name is no longer (Kafka: org.apache.kafka.common.internals.Topic). The rest of what we declare is for the id put
# behind it when the topic was made anew, which is refused where it does not fit, not cut.
_TOPIC_CHARACTERS = 249
# A longer name is cut without a word (manual, "Identifiers and Key Words"), and then is the name of another table or column.
_NAME_BYTES = 63


def postgresql_misfits(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
    """See `Sink.misfits`. Two statements, whatever the number of tables. Raises ConfigError for a name that is too long,
    and for a view of upserts."""
    for table in tables:
        for name in (table.name, *(column.name for column in table.columns)):
            if len(name.encode()) > _NAME_BYTES:
                raise ConfigError(
                    f"table {table.fullname}: the name {name} has more than the {_NAME_BYTES} bytes PostgreSQL takes"
                )
    dialect = connection.dialect
    names = [plain(dialect, dialect.identifier_preparer.format_table(table)) for table in tables]
    columns: list[list[Any]] = [[] for _ in tables]
    for row in connection.exec_driver_sql(_COLUMNS, (names,)):
        columns[row.number - 1].append(row)
    keys: list[list[Any]] = [[] for _ in tables]
    for row in connection.exec_driver_sql(_KEYS, (names,)):
        keys[row.number - 1].append(row)
    return [
        misfit
        for number, table in enumerate(tables)
        if columns[number]
        for misfit in _Comparison(dialect, table, columns[number]).misfits(keys[number])
    ]


class _Comparison:
    """One table. `rows`: its columns as the server describes them."""

    def __init__(self, dialect: sa.Dialect, table: sa.Table, rows: Sequence[Any]) -> None:
        self._dialect = dialect
        self._table = table
        self._alter = alter(dialect, table)
        self._rows = {str(row.name): row for row in rows}
        self._is_view = rows[0].relkind in ("v", "m")
        self._is_unlogged = rows[0].relpersistence == "u"

    def misfits(self, keys: Sequence[Any]) -> Iterator[Misfit]:
        """In an order in which the statements can be run."""
        for column in self._table.columns:
            row = self._rows.get(column.name)
            if row is None:
                yield lacks(self._dialect, column)
            elif not self._is_view and not filled_by_database(column):
                yield from self._column(column, row)
        if self._is_view:
            refuse_view(self._table)
            return
        yield from self._key(keys)
        yield from self._others()
        if self._is_unlogged:
            problem = "it is UNLOGGED: a crash of the server empties it, and not the ledger"
            yield Misfit(self._table, problem, f"{self._alter} SET LOGGED")

    def _column(self, column: SqlColumn, row: Any) -> Iterator[Misfit]:
        declared = plain(self._dialect, str(column.type.compile(dialect=self._dialect)))
        want = declared_type(declared, _members(column.type))
        if column.name == _TOPIC:
            want = replace(want, length=_TOPIC_CHARACTERS)
        have = parse_type(str(row.type), tuple(row.members))
        name = quoted(self._dialect, [column.name])
        problems, changes = [], []
        if row.generated:
            problems.append("is generated, and cannot be written")
            changes.append(f"ALTER COLUMN {name} DROP EXPRESSION")
        if row.identity == "a":
            problems.append("is GENERATED ALWAYS AS IDENTITY, and cannot be written")
            changes.append(f"ALTER COLUMN {name} DROP IDENTITY")
        changed = change(have, want)
        is_key_merged = column.primary_key and (not row.is_exact or have.name == "citext")
        if changed is not None:
            problems.append(f"is {row.type}, and {declared} is wanted: {changed}")
        if is_key_merged:
            problems.append(f"is {row.type} with collation {row.collation}, which would take 'a' and 'A' for one key")
        if changed is not None or is_key_merged:
            if row.has_default and not row.generated:
                changes.append(f"ALTER COLUMN {name} DROP DEFAULT")
            changes.append(_to_type(name, declared, have, want))
        if column.nullable and row.is_required:
            problems.append("is NOT NULL, and may be missing in a message")
            changes.append(f"ALTER COLUMN {name} DROP NOT NULL")
        if column.primary_key and not row.is_required:
            problems.append("may be NULL, and is part of the key")
            changes.append(f"ALTER COLUMN {name} SET NOT NULL")
        if problems:
            yield Misfit(
                self._table, f"column {column.name} {'; it '.join(problems)}", f"{self._alter} {', '.join(changes)}"
            )

    def _key(self, keys: Sequence[Any]) -> Iterator[Misfit]:
        wanted = [c.name for c in self._table.primary_key.columns]
        primary = next((key for key in keys if key.is_primary), None)
        held = [] if primary is None else list(primary.columns)
        is_beside = is_key_beside(wanted, held)
        # One of them is enough for ON CONFLICT to refuse these columns.
        deferrable = [key for key in keys if key.is_deferrable and is_key_fit(wanted, key.columns)]
        is_fit = is_key_fit(wanted, held) or (
            is_beside and any(key.is_exact and set(key.columns) == set(wanted) for key in keys)
        )
        if is_fit and not deferrable:
            return
        dropped = list(deferrable)
        if primary is not None and not is_fit and not is_beside and primary not in dropped:
            dropped.append(primary)
        changes = [f"DROP CONSTRAINT {quoted(self._dialect, [str(key.name)])}" for key in dropped]
        if primary in dropped or not is_fit:
            kind = "PRIMARY KEY" if primary is None or primary in dropped else "UNIQUE"
            changes.append(f"ADD {kind} ({quoted(self._dialect, wanted)})")
        if deferrable:
            late = "its primary key" if deferrable[0].is_primary else f"its key {deferrable[0].name}"
            problem = f"{late} is DEFERRABLE: rows cannot be put in the place of others by ({', '.join(wanted)})"
        else:
            problem = key_problem(wanted, held, is_beside=is_beside)
        yield Misfit(self._table, problem, f"{self._alter} {', '.join(changes)}")

    def _others(self) -> Iterator[Misfit]:
        """Columns that we do not write."""
        written = {c.name for c in self._table.columns if not filled_by_database(c)}
        known = {c.name for c in self._table.columns}
        for name, row in self._rows.items():
            if name in written or not row.is_required or row.has_default or row.identity or row.generated:
                continue
            yield Misfit(
                self._table,
                f"column {name} {never_filled(is_declared=name in known)}",
                f"{self._alter} ALTER COLUMN {quoted(self._dialect, [name])} DROP NOT NULL",
            )


def _members(kind: SqlType) -> tuple[str, ...]:
    """All that is ever written into a column of a declared enumeration."""
    return tuple(kind.enums) if isinstance(kind, sa.Enum) and not isinstance(kind, mysql.SET) else ()


def _to_type(name: str, declared: str, have: ColumnType, want: ColumnType) -> str:
    collate = ' COLLATE "C"' if want.is_text and "COLLATE" not in declared.upper() else ""
    # By way of text there is a conversion from anything; what is no such value ends the statement with an error.
    through = "" if have.is_text or want.is_text else "::text"
    return f"ALTER COLUMN {name} TYPE {declared}{collate} USING {name}{through}::{declared}"
