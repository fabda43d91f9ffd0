"""SQLite, for trying things out and for tests of everything around the database."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import DatabaseUnavailable, KafkaIngestError, PermanentError, SchemaMismatch
from kafka_ingest.findings import Finding
from kafka_ingest.sinks.base import Needs, RowsRejected, Sink
from kafka_ingest.sinks.driver_rows import driver_rows
from kafka_ingest.sinks.kept_columns import PlaceSql, default_of, is_outlived_sql, merged_sql
from kafka_ingest.sinks.latest_per_key import OrderSql, is_later_sql, same_key_sql
from kafka_ingest.sinks.misfits import Misfit
from kafka_ingest.sinks.sqlite.examination import examine_file
from kafka_ingest.sinks.sqlite.misfits import sqlite_misfits
from kafka_ingest.streams.column_types import binary_columns
from kafka_ingest.streams.kept import NEVER, place_column
from kafka_ingest.streams.target import TargetTable

BUSY_TIMEOUT_SECONDS = 30
_MODE_WAIT_SECONDS = 0.01
# A column, a table, or the unique key that rows are merged by.
_GONE = ("no such column", "no such table", "ON CONFLICT clause does not match any PRIMARY KEY or UNIQUE constraint")


class SQLiteSink(Sink):
    """Loads into an SQLite file (3.24 or newer, for upserts)."""

    backends: ClassVar[tuple[str, ...]] = ("sqlite",)
    kind: ClassVar[str] = "sqlite"
    keeps_columns: ClassVar[bool] = True

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
        self._memory = f":memory:{uuid.uuid4()}"
        sa.event.listen(self.engine, "connect", _on_connect)
        sa.event.listen(self.engine, "begin", _on_begin)

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Nothing to stage."""

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        quote = connection.dialect.identifier_preparer.quote
        names = target.columns
        columns = ", ".join(map(quote, names))
        table = connection.dialect.identifier_preparer.format_table(target.table)
        self._run(
            connection,
            f"INSERT INTO {table} ({columns}) VALUES ({_marks(names)})",
            _driver_rows(target.table, rows, names),
        )

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """By ON CONFLICT, whose condition keeps a later row."""
        names = target.columns
        self._run(
            connection,
            self._upsert_sql(connection, target, target.table, names),
            _driver_rows(target.table, rows, names),
        )
        if target.tombstones is not None:
            self._delete_buried(connection, target, target.tombstones)

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        graves, names = target.tombstones, target.delete_columns
        assert graves is not None  # noqa: S101  deletes come from models that delete on tombstones only
        self._run(connection, self._upsert_sql(connection, target, graves, names), _driver_rows(graves, keys, names))
        self._delete_buried(connection, target, graves)

    def _delete_buried(self, connection: sa.Connection, target: TargetTable, graves: sa.Table) -> None:
        """Rows a later tombstone has deleted go; an older message loaded again does not bring one back."""
        quote = connection.dialect.identifier_preparer
        table, grave = quote.format_table(target.table), quote.format_table(graves)
        same = same_key_sql(quote.quote, target.key, "t", "g")
        places = _places(connection)
        later = is_later_sql(target, places.order, "g", "t")
        self._run(
            connection,
            f"DELETE FROM {table} AS t WHERE EXISTS (SELECT 1 FROM {grave} AS g WHERE {same} AND {later})",
            [()],
        )
        for bound in target.kept:
            value, place = quote.quote(bound.name), quote.quote(place_column(bound.name))
            outlived = is_outlived_sql(target, places, bound.name, "t", "g")
            self._run(
                connection,
                f"UPDATE {table} AS t SET {value} = ?, {place} = '{NEVER}' "
                f"WHERE EXISTS (SELECT 1 FROM {grave} AS g WHERE {same} AND {outlived})",
                [(default_of(target, bound),)],
            )

    def examine(self, connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
        return examine_file(connection)

    def server_identity(self, connection: sa.Connection) -> str:
        """The file, whatever links lead to it. A database in memory is this sink's own."""
        files = {name: file for _, name, file in connection.exec_driver_sql("PRAGMA database_list")}
        return str(Path(files["main"]).resolve()) if files["main"] else self._memory

    def misfits(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
        return sqlite_misfits(connection, tables)

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        """By SQLite's name of the error where Python gives it, which 3.10 does not; else by its text."""
        original = getattr(error, "orig", None)
        name = getattr(original, "sqlite_errorname", "") or ""
        text = f"{doing}: {original or type(error).__name__} ({name or 'SQLite'})"
        # Python 3.10 gives no error code, only the text.
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or str(original).endswith("is locked"):
            return DatabaseUnavailable(f"{text}. Another process writes to the file; it is retried.", code=name or None)
        if any(gone in str(original) for gone in _GONE):
            return SchemaMismatch(
                f"{text}. The table was altered or dropped under us; run again to create it.", code=name or None
            )
        if name.startswith(("SQLITE_IOERR", "SQLITE_FULL", "SQLITE_CANTOPEN")):
            return DatabaseUnavailable(f"{text}. Check the disk and the file's folder.", code=name or None)
        return PermanentError(text, code=name or None)

    def _upsert_sql(self, connection: sa.Connection, target: TargetTable, table: sa.Table, names: Sequence[str]) -> str:
        quote = connection.dialect.identifier_preparer.quote
        into = connection.dialect.identifier_preparer.format_table(table)
        # The right-hand sides see the row as it was before the update (SQLite manual, "UPSERT").
        places = _places(connection)
        values = {n: f"excluded.{quote(n)}" for n in names if n not in target.key}
        where = f"NOT ({is_later_sql(target, places.order, into, 'excluded')})"
        if target.kept and table is target.table:
            merged = merged_sql(target, places, into, "excluded")
            values, where = dict(merged.columns), merged.differs
        changes = ", ".join(f"{quote(name)} = {value}" for name, value in values.items())
        return (
            f"INSERT INTO {into} ({', '.join(map(quote, names))}) VALUES ({_marks(names)}) "
            f"ON CONFLICT ({', '.join(map(quote, target.key))}) DO UPDATE SET {changes} WHERE {where}"
        )

    @staticmethod
    def _run(connection: sa.Connection, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        try:
            connection.exec_driver_sql(sql, rows)
        except (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.InterfaceError) as error:
            raise RowsRejected(str(error.orig)) from error
        except OverflowError as error:
            raise RowsRejected(f"SQLite has no integer beyond 64 bits: {error}") from error


def _driver_rows(table: sa.Table, rows: pd.DataFrame, names: Sequence[str]) -> list[tuple[object, ...]]:
    """Rows for the driver, bytes as such."""
    found: Sequence[tuple[object, ...]] = driver_rows(rows, names)
    binary = [place for place, name in enumerate(names) if name in binary_columns(table)]
    if not binary:
        return list(found)
    return [
        tuple(bytes.fromhex(str(v)) if i in binary and v is not None else v for i, v in enumerate(row)) for row in found
    ]


def _places(connection: sa.Connection) -> PlaceSql:
    return PlaceSql(
        order=OrderSql(connection.dialect.identifier_preparer.quote, _milliseconds),
        joined=lambda texts: f"({' || '.join(texts)})",
        digits=lambda number: number,
        padded=lambda number: f"printf('%019d', {number})",
        instant=lambda column: column,
    )


def _milliseconds(column: str) -> str:
    # strftime's %f has three decimals (manual, "Date And Time Functions").
    return f"CAST(strftime('%s', {column}) || substr(strftime('%f', {column}), 4) AS INTEGER)"


def _marks(names: Sequence[str]) -> str:
    return ", ".join("?" * len(names))


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    # BEGIN is ours (below): the driver's own would come too late for the ledger's lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_wal(cursor)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """The change of a new file's mode fails at once where somebody else is in it: the driver's timeout does not count (manual,
    "PRAGMA journal_mode")."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(_MODE_WAIT_SECONDS)
        else:
            return


def _on_begin(connection: sa.Connection) -> None:
    # SQLite has no row locks; the one write lock stands for FOR UPDATE (manual, "BEGIN IMMEDIATE").
    connection.exec_driver_sql("BEGIN IMMEDIATE")
