"""PostgreSQL: COPY in bulk, into the tables or into staging tables for upserts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pandas as pd
import psycopg
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError, DatabaseUnavailable, KafkaIngestError
from kafka_ingest.findings import Finding
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.base import Needs, RowCount, RowsRejected, Sink
from kafka_ingest.sinks.kept_columns import PlaceSql
from kafka_ingest.sinks.latest_per_key import OrderSql
from kafka_ingest.sinks.misfits import Misfit
from kafka_ingest.sinks.postgresql import copy_format
from kafka_ingest.sinks.postgresql.connection import TimedConnection
from kafka_ingest.sinks.postgresql.dialect import DRIVER
from kafka_ingest.sinks.postgresql.errors import NO_NUL, TOO_LONG, classify, is_locked, is_of_a_row, rejected, sqlstate
from kafka_ingest.sinks.postgresql.examination import examine_privileges, examine_server
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.merge import Statements, bury, drop_buried, merge
from kafka_ingest.sinks.postgresql.misfits import postgresql_misfits
from kafka_ingest.sinks.postgresql.sequences import is_numbered
from kafka_ingest.sinks.postgresql.types import DOUBLE_FROM_BITS
from kafka_ingest.streams.column_types import BINARIES, binary_columns
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlColumn, SqlExpression, SqlType

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_SECONDS = 300  # unless the URL says otherwise, as read_timeout or write_timeout
_TIMEOUTS = ("read_timeout", "write_timeout")  # called as for MySQL; libpq knows neither
# The server ends a statement itself, and says so; where it says nothing, the connection is closed so much later.
_SILENCE_SECONDS = 1
# As long as MySQL waits by default.
LOCK_TIMEOUT_SECONDS = 50
DDL_LOCK_SECONDS = 60
# A client that vanished without a word (a power cut, a cut cable) leaves its transaction, and its locks, until the server gives
# the connection up, which by default it never does. Between two statements of ours are seconds at most.
IDLE_TIMEOUT_SECONDS = 45
# Probes of a connection on which nothing comes; the system's default is two hours.
_KEEPALIVES = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}

# Ours, whatever the server's or the role's default. The URL's own `options` come after them.
_SESSION = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_SECONDS}s",
    "timezone": "UTC",
    "datestyle": "ISO",
    "extra_float_digits": "1",
    "client_min_messages": "warning",
}
_ENCODING = "UTF8"
# Two numbers that name the lock within a database.
_DDL_LOCK = (0x6B61666B, 1)
# Where a connection notes which tables number their rows, by the table's quoted name.
_NUMBERED = "kafka_ingest numbered tables"


class PostgreSQLSink(Sink):
    """Loads into PostgreSQL 12 or newer; tested with 15."""

    backends: ClassVar[tuple[str, ...]] = ("postgresql",)
    kind: ClassVar[str] = "postgresql"
    loads_in_parallel: ClassVar[bool] = True
    keeps_columns: ClassVar[bool] = True

    def __init__(self, url: sa.URL) -> None:
        self._answer_seconds = min(_timeouts(url), default=STATEMENT_TIMEOUT_SECONDS)
        url = url.difference_update_query(_TIMEOUTS).set(drivername=DRIVER)
        self.engine = sa.create_engine(
            url,
            creator=lambda: self._connect(url),
            # Each statement sees what was committed before it: what is compared under a lock is the newest.
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_recycle=1800,
            max_overflow=16,  # beyond the pool's five: one for each loader of a run
        )

    def _connect(self, url: sa.URL) -> TimedConnection:
        _, given = self.engine.dialect.create_connect_args(url)
        seconds = self._answer_seconds
        session = _SESSION | {"statement_timeout": f"{seconds}s"}
        options = " ".join(f"-c {name}={value}" for name, value in session.items())
        arguments: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": "kafka_ingest",
            **_KEEPALIVES,
            **given,
            "options": f"{options} {given.get('options', '')}".strip(),
            "client_encoding": _ENCODING,
            # A statement that the server keeps prepared fails once a table was altered.
            "prepare_threshold": None,
        }
        connection = TimedConnection.connect(**arguments)
        connection.answer_seconds = seconds + _SILENCE_SECONDS
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != _ENCODING:
            connection.close()
            raise ConfigError(
                f"database {url.database} has encoding {encoding}, which does not hold all characters: use one made with "
                f"ENCODING '{_ENCODING}'"
            )
        return connection

    def limit_statement_seconds(self, seconds: int) -> None:
        self._answer_seconds = min(self._answer_seconds, seconds)

    def server_identity(self, connection: sa.Connection) -> str:
        """By the system identifier that initdb gave, which standbys share (manual, "Control Data Functions"). A service that
        keeps it to itself is known by the moment its server was started: that lasts long enough for a first run."""
        may_ask = "SELECT has_function_privilege(to_regprocedure('pg_control_system()')::oid, 'EXECUTE')"
        if connection.exec_driver_sql(may_ask).scalar():
            server = "(SELECT system_identifier FROM pg_control_system())"
        else:
            server = "pg_postmaster_start_time()::text"
        return str(tuple(connection.exec_driver_sql(f"SELECT {server}, current_database(), current_schema()").one()))

    def is_locked(self, error: sa.exc.DBAPIError) -> bool:
        return is_locked(error.orig)

    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        return classify(error, doing)

    def misfits(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
        return postgresql_misfits(connection, tables)

    def is_single_float(self, kind: SqlType) -> bool:
        """FLOAT has four bytes up to a precision of 24, and eight beyond or without one."""
        if isinstance(kind, sa.REAL):
            return True
        precision = getattr(kind, "precision", None)
        return (
            isinstance(kind, sa.Float) and not isinstance(kind, sa.Double) and 0 < (precision or 0) < DOUBLE_FROM_BITS
        )

    def readable(self, column: SqlColumn) -> SqlExpression:
        """As `Sink.readable`; four bytes as the double they stand for."""
        if self.is_single_float(column.type):
            return sa.cast(column, sa.Double).label(column.name)
        if isinstance(column.type, BINARIES):
            return sa.func.upper(sa.func.encode(column, "hex"), type_=sa.String).label(column.name)
        return super().readable(column)

    def count_rows(self, connection: sa.Connection, table: sa.Table, *, seconds: float) -> RowCount:
        """As `Sink.count_rows`; the estimate is the one of the last VACUUM or ANALYZE."""
        name = connection.dialect.identifier_preparer.format_table(table)
        savepoint = connection.begin_nested()
        try:
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}")
            return RowCount(int(connection.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar_one()), True)
        except sa.exc.DBAPIError as error:
            if sqlstate(error.orig) != TOO_LONG:
                raise
        finally:
            savepoint.rollback()  # the limit goes with it
        estimate = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"
        found = connection.exec_driver_sql(estimate, (name.replace("%%", "%"),)).scalar()
        return RowCount(int(found or 0), False)

    def examine(self, connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
        yield from examine_server(connection, needs)
        yield from examine_privileges(connection, needs)

    @classmethod
    def local_server(cls) -> type[LocalDatabaseServer]:
        return LocalPostgreSQL

    @contextmanager
    def ddl_lock(self, connection: sa.Connection) -> Iterator[None]:
        """An advisory lock of the session (manual, "Advisory Locks"); it goes with the connection if we die."""
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{DDL_LOCK_SECONDS}s'")
        try:
            connection.exec_driver_sql("SELECT pg_advisory_lock(%s, %s)", _DDL_LOCK)
        except sa.exc.DBAPIError as error:
            if not is_locked(error.orig):
                raise
            raise DatabaseUnavailable(
                f"another run has been preparing tables for {DDL_LOCK_SECONDS} s; it is retried",
                code=sqlstate(error.orig),
            ) from error
        connection.commit()
        try:
            yield
        finally:
            if not connection.invalidated:  # a lost connection has lost the lock, too
                connection.rollback()
                connection.exec_driver_sql("SELECT pg_advisory_unlock(%s, %s)", _DDL_LOCK)
                connection.commit()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """The first read fixes the moment (manual, "Repeatable Read Isolation Level"); nothing is locked."""
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Staging tables for upserts, and which tables number their rows. Staging tables stay with the connection and are empty
        after each transaction; one whose table was altered meanwhile is made again."""
        staged = [(table, names) for target in targets for table, names in target.staged]
        if not staged:
            return
        quote = connection.dialect.identifier_preparer
        signatures = _signatures(
            connection, [name for table, _ in staged for name in (_stage(table), quote.format_table(table))]
        )
        for table, names in staged:
            stage, source = _stage(table), quote.format_table(table)
            wanted = {name: signatures[source].get(name) for name in names}
            if signatures[stage] == wanted:
                continue
            columns = ", ".join(map(quote.quote, names))
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {stage}")
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE {stage.removeprefix('pg_temp.')} ON COMMIT DELETE ROWS AS "
                f"SELECT {columns} FROM {source} WITH NO DATA"
            )
        tables = {quote.format_table(target.table): target.columns for target in targets if target.staged}
        connection.info[_NUMBERED] = {table: is_numbered(connection, table, names) for table, names in tables.items()}
        connection.commit()

    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        table = connection.dialect.identifier_preparer.format_table(target.table)
        self._copy(connection, target.table, table, target.columns, rows)

    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self.stage(connection, target, rows)
        self.upsert_staged(connection, target, rows)

    def stage(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        self._fill(connection, target.table, target.columns, rows)

    def upsert_staged(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        quote = connection.dialect.identifier_preparer.format_table
        statements, table, stage = self._statements(connection), quote(target.table), _stage(target.table)
        counts = connection.info[_NUMBERED][table]
        if target.tombstones is None:
            merge(statements, target, table, stage, target.columns, len(rows), is_numbered=counts)
            return
        graves = quote(target.tombstones)
        wanted = len(rows) - drop_buried(statements, target, stage, graves)
        merge(statements, target, table, stage, target.columns, wanted, graves, is_numbered=counts)
        bury(statements, target, table, stage, graves)

    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        assert target.tombstones is not None  # noqa: S101  deletes come from models that delete on tombstones only
        quote = connection.dialect.identifier_preparer.format_table
        statements, names = self._statements(connection), target.delete_columns
        graves, stage = quote(target.tombstones), _stage(target.tombstones)
        self._fill(connection, target.tombstones, names, keys)
        merge(statements, target, graves, stage, names, len(keys))
        bury(statements, target, quote(target.table), stage, graves)

    def _fill(self, connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: pd.DataFrame) -> None:
        stage = _stage(table)
        self._run(connection, f"DELETE FROM {stage}")  # what an upsert before left there; quick where it is empty
        self._copy(connection, table, stage, names, rows)

    def _statements(self, connection: sa.Connection) -> Statements:
        return Statements(
            run=lambda sql: self._run(connection, sql).rowcount,
            row=lambda sql: tuple(self._run(connection, sql).one()),
            places=PlaceSql(
                order=OrderSql(connection.dialect.identifier_preparer.quote, _milliseconds, _by_code_point),
                joined=lambda texts: f"({' || '.join(texts)})",
                digits=lambda number: f"({number})::text",
                padded=lambda number: f"lpad(({number})::text, 19, '0')",
                instant=lambda column: f"to_char({column}, 'YYYY-MM-DD HH24:MI:SS.US')",
            ),
            run_with=lambda sql, values: self._run(connection, sql, values).rowcount,
        )

    @staticmethod
    def _run(connection: sa.Connection, sql: str, values: Sequence[object] = ()) -> sa.CursorResult[Any]:
        try:
            return connection.exec_driver_sql(sql, tuple(values) or None)
        except sa.exc.DBAPIError as error:
            if is_of_a_row(error.orig):
                raise rejected(error.orig) from error
            raise

    @staticmethod
    def _copy(connection: sa.Connection, table: sa.Table, into: str, names: Sequence[str], rows: pd.DataFrame) -> None:
        """table: the columns' types. into: the table to write to, quoted; it, or its staging table."""
        columns = ", ".join(map(connection.dialect.identifier_preparer.quote, names))
        # Names are quoted for statements with parameters, where a % is doubled; this one has none.
        statement = f"COPY {into} ({columns}) FROM STDIN {copy_format.OPTIONS}".replace("%%", "%")
        driver = connection.connection.driver_connection
        assert isinstance(driver, TimedConnection)  # noqa: S101  our creator makes no other
        refused = copy_format.with_nul(rows, names)
        if refused:
            raise RowsRejected(NO_NUL, refused)
        try:
            stored = driver.copy_in(statement, copy_format.encode(rows, names, binary_columns(table)))
        except psycopg.Error as error:
            if is_of_a_row(error):
                raise rejected(error) from error
            raise sa.exc.DBAPIError(statement, None, error) from error
        if stored != len(rows):
            raise RowsRejected(
                f"{stored} of {len(rows)} rows were stored: a trigger of table {into} keeps the others out"
            )


def _milliseconds(column: str) -> str:
    return f"floor(extract(epoch FROM {column}) * 1000)::bigint"


def _by_code_point(text: str) -> str:
    """Whatever the database's language."""
    return f'{text} COLLATE "C"'


def _timeouts(url: sa.URL) -> list[int]:
    """In seconds, as the URL has them. Raises ConfigError."""
    found = [(name, value) for name in _TIMEOUTS for value in url.normalized_query.get(name, ())]
    for name, value in found:
        if not value.isdecimal() or int(value) < 1:
            raise ConfigError(f"KAFKA_INGEST_DATABASE_URL has {name}={value}; it takes whole seconds, at least 1")
    return [int(value) for _, value in found]


def _stage(table: sa.Table) -> str:
    """Name of a table's staging table; hashed, as a table's own name may already be as long as one may be."""
    return f"pg_temp._kafka_ingest_stage_{hashlib.sha256(table.fullname.encode()).hexdigest()[:16]}"


def _signatures(connection: sa.Connection, tables: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Of each of these tables (quoted) the types of its columns, by name; nothing of one that is not there."""
    found: dict[str, dict[str, str | None]] = {table: {} for table in tables}
    rows = connection.exec_driver_sql(
        "SELECT n.number, a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attcollation "
        "FROM unnest(%s::text[]) WITH ORDINALITY AS n(name, number) "
        "JOIN pg_attribute AS a ON a.attrelid = to_regclass(n.name) WHERE a.attnum > 0 AND NOT a.attisdropped",
        ([table.replace("%%", "%") for table in tables],),
    )
    for number, name, kind in rows:
        found[tables[number - 1]][name] = kind
    return found
