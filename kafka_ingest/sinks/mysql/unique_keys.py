"""The unique keys of tables on MySQL and MariaDB, and the one of them by which rows are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import sqlalchemy as sa

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.sinks.mysql.exact_text import is_mariadb
from kafka_ingest.sinks.mysql.information_schema import ask
from kafka_ingest.type_names import SqlRow

# MySQL names these columns in capitals unless told otherwise. FORCE INDEX refuses an index that the server is told not to use,
# and MariaDB looks nothing up in the hash by which it keeps long text unique.
_KEYS = """SELECT %s AS number, index_name AS name, column_name AS column_name, sub_part AS sub_part, seq_in_index AS place,
  {is_used} AND index_type = 'BTREE' AS is_used
FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s AND non_unique = 0"""
_IS_USED = {False: "is_visible = 'YES'", True: "ignored = 'NO'"}
_PRIMARY = "PRIMARY"


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A primary key or another unique one."""

    name: str
    parts: tuple[str, ...]
    """Columns, in the key's order; of a prefix with its length, `isin(4)`; an expression is empty."""
    is_exact: bool
    """Whether it is one of whole columns that rows can be looked up by."""

    @property
    def is_primary(self) -> bool:
        return self.name == _PRIMARY

    def is_of(self, columns: Sequence[str]) -> bool:
        """Whether rows are looked up by exactly these columns, in any order and case."""
        return self.is_exact and {part.lower() for part in self.parts} == {name.lower() for name in columns}


def unique_keys(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[list[UniqueKey]]:
    """Those of each table, the primary key first; none of a table that is not there. One statement, however many tables."""
    query = _KEYS.format(is_used=_IS_USED[is_mariadb(connection)])
    found = []
    for rows in ask(connection, query, tables):
        rows.sort(key=lambda row: (row.name != _PRIMARY, str(row.name), int(row.place)))
        found.append([_key(name, list(parts)) for name, parts in groupby(rows, key=lambda row: str(row.name))])
    return found


def _key(name: str, parts: Sequence[SqlRow]) -> UniqueKey:
    texts = [f"{row.column_name or ''}{f'({row.sub_part})' if row.sub_part else ''}" for row in parts]
    is_whole = all(row.column_name and not row.sub_part for row in parts)
    return UniqueKey(name, tuple(texts), is_whole and all(row.is_used for row in parts))


def merge_keys(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[str]:
    """Of each table the name of the unique key, the primary one where it can be, that is exactly the model's.

    Raises SchemaMismatch where there is none any longer: `Sink.misfits` has seen one before the load.
    """
    found = []
    for table, keys in zip(tables, unique_keys(connection, tables), strict=True):
        wanted = [column.name for column in table.primary_key.columns]
        name = next((key.name for key in keys if key.is_of(wanted)), None)
        if name is None:
            raise SchemaMismatch(
                f"table {table.fullname} has no unique key of ({', '.join(wanted)}) any longer: it was altered under us. "
                "Nothing was loaded; run again, which says what to do.",
                tables=(table.fullname,),
            )
        found.append(name)
    return found
