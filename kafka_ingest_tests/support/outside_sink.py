"""A whole sink of the user's, from outside the package: SQLite by way of SQLAlchemy, with nothing of our own SQLite sink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pandas as pd
import sqlalchemy as sa

from kafka_ingest import (
    KafkaIngestError,
    OrderSql,
    PermanentError,
    RetryableError,
    RowsRejected,
    Sink,
    TargetTable,
    driver_rows,
    errors,
    is_later_sql,
    register_sink,
    same_key_sql,
)


class PlainSink(Sink):
    """Row by row where it is simplest. One transaction writes at a time."""

    backends: ClassVar[tuple[str, ...]] = ("plain",)

    def __init__(self, url: sa.URL) -> None:
        self.engine = sa.create_engine(f"sqlite:///{url.database or ''}", connect_args={"timeout": 30})
        sa.event.listen(
            self.engine, "connect", lambda connection, _record: setattr(connection, "isolation_level", None)
        )
        sa.event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Nothing to stage."""

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self._insert(connection, target.table, target.columns, rows)

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self._replace(connection, target, target.table, target.columns, rows)
        self._bury(connection, target)

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        assert target.tombstones is not None
        names = [column.name for column in target.tombstones.columns]
        self._replace(connection, target, target.tombstones, names, keys)
        self._bury(connection, target)

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        text = f"{doing}: {getattr(error, 'orig', error)}"
        if "locked" in text:
            return RetryableError(text)
        return errors.SchemaMismatch(text) if "no such" in text else PermanentError(text)

    def _insert(self, connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: pd.DataFrame) -> None:
        quote = connection.dialect.identifier_preparer
        columns, marks = ", ".join(map(quote.quote, names)), ", ".join("?" * len(names))
        try:
            connection.exec_driver_sql(
                f"INSERT INTO {quote.format_table(table)} ({columns}) VALUES ({marks})", driver_rows(rows, names)
            )
        except sa.exc.IntegrityError as error:
            raise RowsRejected(str(error.orig)) from error

    def _replace(
        self, connection: sa.Connection, target: TargetTable, table: sa.Table, names: Sequence[str], rows: pd.DataFrame
    ) -> None:
        """By way of a table of the new rows: those that come before what is there are left out, the others take its place."""
        quote = connection.dialect.identifier_preparer.quote
        name = quote(table.name)
        columns = ", ".join(map(quote, names))
        connection.exec_driver_sql("DROP TABLE IF EXISTS temp.new_rows")
        connection.exec_driver_sql(f"CREATE TEMP TABLE new_rows AS SELECT * FROM {name} WHERE 0")
        stage = sa.Table("new_rows", sa.MetaData(), *(sa.Column(n, table.c[n].type) for n in names))
        self._insert(connection, stage, names, rows)
        order = OrderSql(quote, _milliseconds)
        same = same_key_sql(quote, target.key, "n", "t")
        stays = f"EXISTS (SELECT 1 FROM {name} AS t WHERE {same} AND {is_later_sql(target, order, 't', 'n')})"
        connection.exec_driver_sql(f"DELETE FROM new_rows AS n WHERE {stays}")
        connection.exec_driver_sql(f"DELETE FROM {name} AS t WHERE EXISTS (SELECT 1 FROM new_rows AS n WHERE {same})")
        try:
            connection.exec_driver_sql(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM new_rows")
        except sa.exc.IntegrityError as error:
            raise RowsRejected(str(error.orig)) from error

    @staticmethod
    def _bury(connection: sa.Connection, target: TargetTable) -> None:
        """Delete the rows whose tombstone is later."""
        if target.tombstones is None:
            return
        quote = connection.dialect.identifier_preparer.quote
        later = is_later_sql(target, OrderSql(quote, _milliseconds), "g", "t")
        same = same_key_sql(quote, target.key, "g", "t")
        graves, rows = quote(target.tombstones.name), quote(target.table.name)
        connection.exec_driver_sql(
            f"DELETE FROM {rows} AS t WHERE EXISTS (SELECT 1 FROM {graves} AS g WHERE {same} AND {later})"
        )


def _milliseconds(column: str) -> str:
    return f"CAST(strftime('%s', {column}) || substr(strftime('%f', {column}), 4) AS INTEGER)"


def register() -> type[Any]:
    """Use it for `plain://` from now on."""
    register_sink(PlainSink.backends, PlainSink)
    return PlainSink
