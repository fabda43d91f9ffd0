"""What keeps an existing table of SQLite from holding a model's values as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import sqlalchemy as sa

from kafka_ingest.sinks.misfits import (
    Misfit,
    alter,
    is_key_beside,
    is_key_fit,
    key_problem,
    lacks,
    never_filled,
    quoted,
)
from kafka_ingest.streams.column_types import BINARIES, INTEGERS
from kafka_ingest.streams.model import filled_by_database
from kafka_ingest.type_names import SqlRow, SqlType

_COLUMNS = """SELECT (SELECT type FROM {schema}.sqlite_master WHERE name = ?) AS kind,
  name, type, "notnull" AS is_required, dflt_value, pk, hidden FROM pragma_table_xinfo(?, ?)"""
_KEYS = """SELECT i.name AS index_name, i.origin, i.partial, k.name AS name, k.coll AS collation
FROM pragma_index_list(?, ?) AS i, pragma_index_xinfo(i.name, ?) AS k WHERE i."unique" AND k.key ORDER BY i.seq, k.seqno"""
# pragma_table_xinfo: 1 is a hidden column of a virtual table, 2 and 3 are generated ones.
_GENERATED = (2, 3)

# Affinities under which a value stays as it is written (https://sqlite.org/datatype3.html).
_TEXT = frozenset({"TEXT", "BLOB"})
_INTEGER = frozenset({"INTEGER", "NUMERIC", "BLOB"})
_REAL = frozenset({"REAL", "BLOB"})


def sqlite_misfits(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
    """See `Sink.misfits`. SQLite alters no column, so all problems of a table have one remedy, and are one misfit."""
    dialect = connection.dialect
    found: list[Misfit] = []
    for table in tables:
        schema = table.schema or "main"
        columns = _COLUMNS.format(schema=quoted(dialect, [schema]))
        rows = connection.exec_driver_sql(columns, (table.name, table.name, schema)).all()
        if not rows:
            continue
        have = {str(row.name).lower(): row for row in rows}
        lacking = [c for c in table.columns if c.name.lower() not in have]
        if rows[0].kind == "view":
            found += [lacks(dialect, column) for column in lacking]
            continue
        keys = connection.exec_driver_sql(_KEYS, (table.name, schema, schema)).all()
        own = _Key(table, have, keys)
        # SQLite manual, "ALTER TABLE ADD COLUMN": such a column cannot be added.
        impossible = [c for c in lacking if not c.nullable and c.server_default is None]
        problems = [f"column {c.name} is missing, and NOT NULL without a default" for c in impossible]
        problems += [*_problems(table, have), *own.problems()]
        if problems:
            advice = "SQLite alters no column: rename the table; the next run makes it anew, and a backfill fills it"
            aside = quoted(dialect, [f"{table.name}_before"])
            found.append(
                Misfit(table, f"{'; '.join(problems)}. {advice}", f"{alter(dialect, table)} RENAME TO {aside}")
            )
        elif own.lacks_index:
            name = quoted(dialect, [f"{table.name}_key"])
            at = f"{quoted(dialect, [table.schema])}.{name}" if table.schema else name
            statement = f"CREATE UNIQUE INDEX {at} ON {quoted(dialect, [table.name])} ({quoted(dialect, own.wanted)})"
            found.append(Misfit(table, key_problem(own.wanted, own.held, is_beside=True), statement))
        found += [lacks(dialect, column) for column in lacking if column not in impossible]
    return found


class _Key:
    """How an existing table tells rows apart. have: its columns by name; keys: the columns of its unique indexes."""

    def __init__(self, table: sa.Table, have: Mapping[str, SqlRow], keys: Sequence[SqlRow]) -> None:
        self.wanted = [c.name for c in table.primary_key.columns]
        self.held = [str(row.name) for row in sorted(have.values(), key=lambda row: int(row.pk)) if row.pk]
        self._have = have
        self._is_counted = _is_counted(have, keys)
        self._is_declared = {c.name.lower() for c in table.columns if not filled_by_database(c)}
        names, held = ([name.lower() for name in some] for some in (self.wanted, self.held))
        of_index: dict[str, list[SqlRow]] = {}
        for row in keys:
            if not row.partial:
                of_index.setdefault(str(row.index_name), []).append(row)
        self._own = [rows for rows in of_index.values() if is_key_fit(names, [str(row.name).lower() for row in rows])]
        self._is_primary = is_key_fit(names, held)
        self._is_beside = is_key_beside(names, held) and set(names) <= set(have)

    @property
    def lacks_index(self) -> bool:
        """Whether all that the table lacks is a unique index."""
        return not self._is_primary and self._is_beside and not self._own

    def problems(self) -> Iterator[str]:
        """What an index does not mend."""
        for row in (row for rows in self._own for row in rows):
            # ON CONFLICT may take any index of these columns.
            if row.collation != "BINARY":
                yield f"column {row.name} has collation {row.collation}, which would take different keys for one"
        if self._is_primary:
            return
        if not self._is_beside:
            yield f"its primary key is ({', '.join(self.held)}), and ({', '.join(self.wanted)}) is wanted"
            return
        for name in self.wanted:
            if not self._have[name.lower()].is_required:
                yield f"column {name} may be NULL, and is part of the key"
        for name in self.held:
            row = self._have[name.lower()]
            if name.lower() not in self._is_declared and row.dflt_value is None and not self._is_counted:
                yield f"column {name} is the primary key and filled by nothing, as it is not INTEGER PRIMARY KEY"


def _is_counted(have: Mapping[str, SqlRow], keys: Sequence[SqlRow]) -> bool:
    """Whether the primary key is the rowid (manual, "ROWIDs and the INTEGER PRIMARY KEY"), and so has no index."""
    held = [row for row in have.values() if row.pk]
    return len(held) == 1 and str(held[0].type).upper() == "INTEGER" and all(row.origin != "pk" for row in keys)


def _problems(table: sa.Table, have: Mapping[str, SqlRow]) -> Iterator[str]:
    for column in table.columns:
        row = have.get(column.name.lower())
        if row is None or filled_by_database(column):
            continue
        wanted, becomes = _storage(column.type)
        if affinity(str(row.type)) not in wanted:
            yield f"column {column.name} is {row.type}: {becomes}"
        if row.hidden in _GENERATED:
            yield f"column {column.name} is generated, and cannot be written"
        if column.nullable and row.is_required:
            yield f"column {column.name} is NOT NULL, and may be missing in a message"
    written = {c.name.lower() for c in table.columns if not filled_by_database(c)}
    known = {c.name.lower() for c in table.columns}
    for name, row in have.items():
        if name not in written and row.is_required and row.dflt_value is None and not row.hidden and not row.pk:
            yield f"column {row.name} {never_filled(is_declared=name in known)}"


def affinity(declared: str) -> str:
    """The affinity of a column by its declared type: the five rules, in their order."""
    name = declared.upper()
    if "INT" in name:
        return "INTEGER"
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in name or not name:
        return "BLOB"
    return "REAL" if any(part in name for part in ("REAL", "FLOA", "DOUB")) else "NUMERIC"


def _storage(kind: SqlType) -> tuple[frozenset[str], str]:
    """Affinities that keep a model's values, and what others make of them."""
    if isinstance(kind, (sa.Boolean, *INTEGERS)):
        return _INTEGER, "a number would become text, or lose digits beyond 15"
    if isinstance(kind, sa.Float):
        return _REAL, "a number would become text or an integer"
    if isinstance(kind, (sa.DateTime, sa.Date, sa.Time, *BINARIES)):
        return _TEXT | _INTEGER | _REAL, ""  # text that is no number, and bytes, stay as they are everywhere
    if isinstance(kind, sa.JSON):
        return _TEXT, "the JSON 1.10 would become 1.1, and 1e400 infinity"
    if isinstance(kind, sa.Numeric):
        return _TEXT, "decimals would go through floating point and lose digits beyond 15"
    return _TEXT, "the text '1.10' would become 1.1"
