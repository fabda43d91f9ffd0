"""Questions about several tables in one statement."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from kafka_ingest.type_names import SqlRow


def ask(connection: sa.Connection, query: str, tables: Sequence[sa.Table], *, names: int = 1) -> list[list[SqlRow]]:
    """Rows of a query of the information schema, by table.

    query: selects its first placeholder as `number`; the others are schema and name of the table, `names` times. As these are
    constants, MariaDB opens these tables and not all of the database (Knowledge Base, "Information Schema Optimizations"); so the
    tables are asked for one by one, and all in one statement.
    """
    values: list[object] = []
    for number, table in enumerate(tables):
        values += [number, *(table.schema or connection.dialect.default_schema_name, table.name) * names]
    rows: list[list[SqlRow]] = [[] for _ in tables]
    if tables:
        union = "\nUNION ALL\n".join([query] * len(tables))
        for row in connection.exec_driver_sql(union, tuple(values)):
            rows[row.number].append(row)
    return rows
