"""MySQL and MariaDB: LOAD DATA LOCAL INFILE in bulk, multi-row INSERT where the server forbids it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, NoReturn

import pandas as pd
import pymysql
import sqlalchemy as sa
from sqlalchemy.dialects.mysql import BIT

from kafka_ingest.errors import (
    DatabaseUnavailable,
    KafkaIngestError,
)
from kafka_ingest.findings import Finding
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.base import Needs, RowCount, RowsRejected, Sink
from kafka_ingest.sinks.driver_rows import driver_rows
from kafka_ingest.sinks.kept_columns import PlaceSql
from kafka_ingest.sinks.latest_per_key import OrderSql
from kafka_ingest.sinks.misfits import Misfit
from kafka_ingest.sinks.mysql import auto_increment as _auto_increment  # noqa: F401  how SQLAlchemy writes it
from kafka_ingest.sinks.mysql import load_data_format
from kafka_ingest.sinks.mysql.errors import (
    LOCKED,
    NO_LOCAL_INFILE,
    ROW_ERRORS,
    SCHEMA,
    TOO_LONG,
    classified,
    error_number,
    error_text,
    rejected,
)
from kafka_ingest.sinks.mysql.exact_text import is_mariadb
from kafka_ingest.sinks.mysql.examination import examine_engines, examine_privileges, examine_server
from kafka_ingest.sinks.mysql.load_data_connection import FILE, OfferingConnection
from kafka_ingest.sinks.mysql.merge import Statements, bury, delete_buried, drop_buried, merge, merged_stage
from kafka_ingest.sinks.mysql.misfits import mysql_misfits
from kafka_ingest.sinks.mysql.tls import split_tls
from kafka_ingest.sinks.mysql.unique_keys import merge_keys
from kafka_ingest.sinks.mysql.values import inexact_json, values_sql
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlColumn, SqlExpression, SqlType

LOGGER = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 300  # unless the URL says otherwise, as read_timeout and write_timeout
DDL_LOCK_TIMEOUT_SECONDS = 60
# A client that vanished without a word (a power cut, a cut cable) leaves its transaction, and its locks, until the server
# gives the connection up: after 8 hours by default. Between two statements of ours are seconds at most.
IDLE_TIMEOUT_SECONDS = 45

# Ours, whatever the server's default: every value that does not fit is an error, instants are UTC, and statements read and change
# all rows they name (sql_select_limit, sql_safe_updates and max_join_size guard people at a prompt).
_SESSION = (
    "SET SESSION wait_timeout = {idle}, time_zone = '+00:00', sql_select_limit = 18446744073709551615, sql_safe_updates = 0, "
    "sql_big_selects = 1, "
    "sql_mode = 'STRICT_ALL_TABLES,STRICT_TRANS_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,"
    "ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
)

# Where a connection notes the unique keys by which its next transaction merges, by the table's name.
_MERGE_KEYS = "kafka_ingest merge keys"
# FLOAT has 24 bits up to this precision (MySQL manual, "Floating-Point Types").
_SINGLE_PRECISION = 24


class MySQLSink(Sink):
    """Loads into MySQL 8 or newer and MariaDB 10.6 or newer, InnoDB tables."""

    backends: ClassVar[tuple[str, ...]] = ("mysql", "mariadb")
    kind: ClassVar[str] = "mysql"
    loads_in_parallel: ClassVar[bool] = True
    keeps_columns: ClassVar[bool] = True

    def __init__(self, url: sa.URL) -> None:
        self.uses_load_data: bool | None = None
        """Whether rows go by LOAD DATA; None until the first connection has asked the server."""
        url, self._tls = split_tls(url)
        self._statement_seconds: int | None = None
        self.engine = sa.create_engine(
            url,
            creator=lambda: self._connect(url),
            # No gap locks, so loads of different slices do not wait for each other.
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_recycle=1800,
            max_overflow=16,  # beyond the pool's five: one for each loader of a run
        )

    def _connect(self, url: sa.URL) -> OfferingConnection:
        _, given = self.engine.dialect.create_connect_args(url)
        if isinstance(given.get("password"), str):
            given["password"] = given["password"].encode()  # the driver would write it in Latin-1
        options = {
            "charset": "utf8mb4",
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "read_timeout": STATEMENT_TIMEOUT_SECONDS,
            "write_timeout": STATEMENT_TIMEOUT_SECONDS,
            **given,
            **self._tls.arguments,
            "init_command": _SESSION.format(idle=IDLE_TIMEOUT_SECONDS),
            "defer_connect": True,
        }
        if self._statement_seconds is not None:
            for name in ("read_timeout", "write_timeout"):
                options[name] = min(options[name], self._statement_seconds)
        connection = OfferingConnection(**options)
        with self._tls.handshake():
            connection.connect()
        connection.learn_limits()
        return connection

    def is_locked(self, error: sa.exc.DBAPIError) -> bool:
        return error_number(error.orig) in LOCKED

    def misfits(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
        return mysql_misfits(connection, tables)

    def is_single_float(self, kind: SqlType) -> bool:
        """MySQL's FLOAT has four bytes up to a precision of 24, and eight beyond."""
        is_double = isinstance(kind, sa.Double) or (getattr(kind, "precision", None) or 0) > _SINGLE_PRECISION
        return isinstance(kind, sa.Float) and not is_double

    def readable(self, column: SqlColumn) -> SqlExpression:
        """As `Sink.readable`; a FLOAT as the double it stands for, a BIT as its number."""
        if self.is_single_float(column.type):
            # Shown with six digits, unless it is part of an expression of doubles.
            return (sa.type_coerce(column, sa.Double) + sa.literal_column("0e0", sa.Double)).label(column.name)
        if isinstance(column.type, BIT):
            return (sa.type_coerce(column, sa.Integer) + 0).label(column.name)
        return super().readable(column)

    def count_rows(self, connection: sa.Connection, table: sa.Table, *, seconds: float) -> RowCount:
        """As `Sink.count_rows`; the estimate is the server's own, from information_schema."""
        count = sa.select(sa.func.count()).select_from(table)
        if is_mariadb(connection):
            text = f"SET STATEMENT max_statement_time={seconds:g} FOR {count.compile(connection)}"
        else:
            text = str(count.prefix_with(f"/*+ MAX_EXECUTION_TIME({seconds * 1000:.0f}) */").compile(connection))
        try:
            return RowCount(int(connection.exec_driver_sql(text).scalar_one()), True)
        except sa.exc.DBAPIError as error:
            if error_number(error.orig) not in TOO_LONG:
                raise
        estimate = sa.text(
            "SELECT table_rows FROM information_schema.tables "
            "WHERE table_schema = COALESCE(:schema, DATABASE()) AND table_name = :name"
        )
        found = connection.execute(estimate, {"schema": table.schema, "name": table.name}).scalar()
        return RowCount(int(found or 0), False)

    def examine(self, connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
        yield from examine_server(connection)
        yield from examine_privileges(connection, needs)
        yield from examine_engines(connection, needs.tables)

    def server_identity(self, connection: sa.Connection) -> str:
        """By `server_uuid`, which MySQL makes with its data (manual, "server_uuid"). MariaDB has none: there it is the host, the
        port and the folder of the data."""
        server = "@@hostname, @@port, @@datadir" if is_mariadb(connection) else "@@server_uuid"
        return str(tuple(connection.exec_driver_sql(f"SELECT {server}, DATABASE()").one()))

    @classmethod
    def local_server(cls) -> type[LocalDatabaseServer]:
        return LocalDatabase

    def limit_statement_seconds(self, seconds: int) -> None:
        self._statement_seconds = seconds

    @contextmanager
    def ddl_lock(self, connection: sa.Connection) -> Iterator[None]:
        """A named lock of the session (MySQL manual, "Locking Functions"); it goes with the connection if we die."""
        name = f"kafka_ingest:{hashlib.sha256(str(connection.engine.url.database).encode()).hexdigest()[:32]}"
        if not connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (name, DDL_LOCK_TIMEOUT_SECONDS)).scalar():
            raise DatabaseUnavailable(
                f"another run has been preparing tables for {DDL_LOCK_TIMEOUT_SECONDS} s; it is retried"
            )
        try:
            yield
        finally:
            if not connection.invalidated:  # a lost connection has lost the lock, too
                connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (name,))

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """The first read fixes the moment (MySQL manual, "Consistent Nonlocking Reads"); nothing is locked."""
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Empty staging tables for upserts, and the keys to merge by. Before the transaction: a server that enforces GTID
        consistency refuses CREATE TEMPORARY TABLE inside one (MySQL manual, "Restrictions on Replication with GTIDs")."""
        if self.uses_load_data is None:
            self.uses_load_data = bool(connection.exec_driver_sql("SELECT @@local_infile").scalar())
            if not self.uses_load_data:
                self._say_insert("the server has local_infile=OFF")
        for target in targets:
            for table, names in target.staged:
                _make_stage(connection, _stage(table), target, table, names)
            if target.kept:
                _make_stage(connection, merged_stage(_stage(target.table)), target, target.table, target.columns)
        merged = [table for target in targets for table, _ in target.staged]
        keys = zip(merged, merge_keys(connection, merged), strict=True)
        connection.info[_MERGE_KEYS] = {table.fullname: key for table, key in keys}
        connection.commit()

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """By LOAD DATA where the server takes it, else by INSERT with many rows."""
        table = connection.dialect.identifier_preparer.format_table(target.table)
        self._bulk(connection, target.table, table, target.columns, rows)

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """By way of the staging table: one merge is quicker than as many statements as rows."""
        self.stage(connection, target, rows)
        self.upsert_staged(connection, target, rows)

    def stage(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self._stage(connection, target.table, target.columns, rows)

    def upsert_staged(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        quote = connection.dialect.identifier_preparer.format_table
        statements, table, stage = self._statements(connection, target), quote(target.table), _stage(target.table)
        if target.tombstones is None:
            merge(statements, target, table, stage, target.columns, len(rows))
            return
        graves = quote(target.tombstones)
        wanted = len(rows) - drop_buried(statements, target, stage, graves)
        merge(statements, target, table, stage, target.columns, wanted)
        bury(statements, target, table, stage, graves)

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        """The tombstones first, by way of their staging table; then the rows that they delete."""
        assert target.tombstones is not None  # noqa: S101  deletes come from models that delete on tombstones only
        quote = connection.dialect.identifier_preparer.format_table
        statements, names = self._statements(connection, target), target.delete_columns
        graves, stage = quote(target.tombstones), _stage(target.tombstones)
        self._stage(connection, target.tombstones, names, keys)
        merge(statements, target, graves, stage, names, len(keys))
        delete_buried(statements, target, quote(target.table), stage)

    def _stage(self, connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: pd.DataFrame) -> None:
        stage = _stage(table)
        self._run(connection, f"DELETE FROM {stage}")  # what an upsert before left there; quick where it is empty
        self._bulk(connection, table, stage, names, rows)

    def _statements(self, connection: sa.Connection, target: TargetTable) -> Statements:
        quote = connection.dialect.identifier_preparer
        keys = connection.info[_MERGE_KEYS]
        return Statements(
            run=lambda sql: self._run(connection, sql),
            count=lambda sql: int(connection.exec_driver_sql(sql).scalar_one()),
            places=PlaceSql(
                order=OrderSql(quote.quote, _milliseconds),
                joined=lambda texts: f"CONCAT({', '.join(texts)})",
                digits=lambda number: number,
                padded=lambda number: f"LPAD({number}, 19, '0')",
                instant=lambda column: f"CAST(CAST({column} AS DATETIME(6)) AS CHAR CHARACTER SET ascii)",
            ),
            run_with=lambda sql, values: self._run(connection, sql, tuple(values)),
            indexes={quote.format_table(table): quote.quote(keys[table.fullname]) for table in target.tables},
        )

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        """As `Sink.classify_error`, by MySQL's error numbers."""
        return classified(error, doing)

    def _bulk(
        self, connection: sa.Connection, table: sa.Table, into: str, names: Sequence[str], rows: pd.DataFrame
    ) -> None:
        """Rows into a table by LOAD DATA or by INSERT, both equally strict: LOCAL turns every error into a warning and goes on
        (MySQL manual, "LOAD DATA Statement", Error Handling), and INSERT cuts decimals and blanks with a mere note, so a
        warning or a missing row means that the table is not what was sent.

        table: the columns' types. into: the table to write to, quoted; it, or its staging table.
        """
        inexact = {} if is_mariadb(connection) else inexact_json(table, rows)
        if inexact:
            raise RowsRejected(next(iter(inexact.values())), inexact)
        quote = connection.dialect.identifier_preparer.quote
        driver = connection.connection.driver_connection
        assert isinstance(driver, OfferingConnection)  # noqa: S101  our creator makes no other
        values = values_sql(table, names)
        if self.uses_load_data:
            # Names are quoted for statements with parameters, where a % is doubled; this one has none.
            columns = load_data_format.columns_sql([quote(name) for name in names], values)
            statement = f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {into} {load_data_format.FORMAT} {columns}".replace(
                "%%", "%"
            )
            try:
                stored, warnings = driver.load_local(statement, load_data_format.encode_rows(rows, names))
            except pymysql.err.MySQLError as error:
                if error_number(error) not in NO_LOCAL_INFILE:
                    self._raise(error, statement)
                self.uses_load_data = False
                self._say_insert(error_text(error))
            else:
                self._expect(connection, statement, stored, warnings, len(rows))
                return
        marks = ", ".join("%s" if value is None else value.format("%s") for value in values)
        statement = f"INSERT INTO {into} ({', '.join(map(quote, names))}) VALUES ({marks})"
        try:
            stored, warnings = driver.insert_rows(statement, driver_rows(rows, names))
        except pymysql.err.MySQLError as error:
            self._raise(error, statement)
        else:
            self._expect(connection, statement, stored, warnings, len(rows))

    def _expect(self, connection: sa.Connection, statement: str, stored: int, warnings: int, sent: int) -> None:
        """Refuses where not all rows were stored as sent: by RowsRejected, or as the error of the table that a warning says."""
        if not warnings and stored == sent:
            return
        found = connection.exec_driver_sql("SHOW WARNINGS").all()
        for _level, number, message in found:
            if number in SCHEMA:
                self._raise(pymysql.err.OperationalError(number, message), statement)
        shown = "; ".join(f"{message} (error {number})" for _level, number, message in found[:3])
        raise RowsRejected(shown or f"{stored} of {sent} rows were stored")

    def _run(self, connection: sa.Connection, sql: str, values: Sequence[object] | None = None) -> int:
        """Rows affected."""
        if values == []:
            return 0
        try:
            return connection.exec_driver_sql(sql, values).rowcount
        except sa.exc.DBAPIError as error:
            if error_number(error.orig) in ROW_ERRORS:
                raise rejected(error.orig) from error
            raise

    @staticmethod
    def _raise(error: pymysql.err.MySQLError, statement: str) -> NoReturn:
        """Raise a driver error met below SQLAlchemy as SQLAlchemy's, so that it is classified in one place."""
        if error_number(error) in ROW_ERRORS:
            raise rejected(error) from error
        raise sa.exc.DBAPIError(statement, None, error) from error

    @staticmethod
    def _say_insert(why: str) -> None:
        LOGGER.warning("rows go by multi-row INSERT, two to four times slower than LOAD DATA: %s", why)


def _stage(table: sa.Table) -> str:
    """Name of a table's staging table; hashed, as a table's own name may already have all 64 characters."""
    return f"_kafka_ingest_stage_{hashlib.sha256(table.fullname.encode()).hexdigest()[:16]}"


def _make_stage(
    connection: sa.Connection, stage: str, target: TargetTable, table: sa.Table, names: Sequence[str]
) -> None:
    """Empty, with these columns of the table as the server has them, and the key. Of the table's other properties it has none:
    indexes would only cost, and a temporary table can have no partitions, no FULLTEXT index and no compression, which CREATE …
    LIKE would ask for (MySQL manual, "CREATE TEMPORARY TABLE Statement"). What they forbid the merge is told."""
    quote = connection.dialect.identifier_preparer
    columns, key = (", ".join(map(quote.quote, some)) for some in (names, target.key))
    connection.exec_driver_sql(f"DROP TEMPORARY TABLE IF EXISTS {stage}")
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {stage} (PRIMARY KEY ({key})) ENGINE=InnoDB "
        f"SELECT {columns} FROM {quote.format_table(table)} LIMIT 0"
    )


def _milliseconds(column: str) -> str:
    return f"TIMESTAMPDIFF(MICROSECOND, '1970-01-01', {column}) DIV 1000"
