"""What a database has to do for us. The extension point for databases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.findings import Finding
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.misfits import Misfit, lacks, missing_columns
from kafka_ingest.streams.column_types import BINARIES
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlColumn, SqlExpression, SqlType


class RowsRejected(Exception):
    """The database refuses some of the rows it was given; the savepoint around them has to be rolled back.

    Never leaves `sinks/`: the load makes dead letters of them. Which they are it finds by bisection where `numbers` does not say.

    numbers: of the messages of refused rows, as far as they are known.
    """

    def __init__(self, message: str, numbers: Collection[int] = ()) -> None:
        super().__init__(message)
        self.numbers = frozenset(numbers)


class RowCount(NamedTuple):
    """How many rows a table has."""

    rows: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Needs:
    """What the next run has to be able to do."""

    makes_tables: bool
    adds_columns: bool
    tables: Sequence[sa.Table]
    """All it writes to: those of the streams and the ledger's."""


class Sink(ABC):
    """One target database. `close()` it.

    A load calls, over one connection: `prepare_staging`; then in its transaction, table by table, `insert`, or `upsert` and
    `delete`. Where several slices are loaded at the same time, it writes ahead what needs no look at the tables: `insert`, or
    `stage` before and `upsert_staged` after the wait for the slice before. These writer methods raise RowsRejected where the
    database refuses a row's data, and let every other driver error through, for `classify_error` to classify. They never
    commit. What RowsRejected ends is rolled back to a savepoint, and the same rows come again in smaller parts, until the bad
    ones are found.

    Their frames are indexed by message number (`RawSlice`), which the rows of one message share, one behind the other. They have
    Arrow columns that fit the table's: bytes as text of capital hexadecimal digits, times and UUIDs as text, BITs and years as
    numbers, days as dates; `driver_rows` makes tuples of them. They may have more columns than the table: `TargetTable.columns`
    are written. Threads may share a sink, each over a connection of its own: sensors do, and the loaders of a run with
    `loads_in_parallel`. So what belongs to one connection must not be kept in the sink.
    """

    backends: ClassVar[tuple[str, ...]]
    """SQLAlchemy backend names (`mysql` of `mysql+pymysql://`) this sink serves."""

    kind: ClassVar[str] = "sql"
    """What Dagster's UI shows on the assets, an icon where it knows the name."""

    loads_in_parallel: ClassVar[bool] = False
    """Whether several slices may be loaded at the same time, over a connection each, and gain by it."""

    keeps_columns: ClassVar[bool] = False
    """Whether `upsert` and `delete` keep the columns that a message does not carry (`TargetTable.kept`; sinks/kept_columns.py has
    the SQL). A model with such columns is refused by a sink that does not."""

    engine: sa.Engine

    @abstractmethod
    def __init__(self, url: sa.URL) -> None:
        """Set `engine` up. Connects to nothing yet; raises ConfigError for what the URL must not say."""

    @abstractmethod
    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Make ready, outside a transaction, what a load into `targets` needs (staging tables, session settings). Called before
        every transaction of a load, so it has to be idempotent."""

    @abstractmethod
    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """Add rows to an append table. None of them is there: the load has deleted what the table held of their ranges."""

    @abstractmethod
    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """Insert or replace by business key, each key once, except where the table holds a later row (`is_later_sql`), or the
        table of tombstones a later delete. Idempotent."""

    def stage(  # noqa: B027  # a database without a staging table has nothing to do
        self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame
    ) -> None:
        """Bring the rows of an upsert to where `upsert_staged` finds them, in place of what was staged for this table before,
        without a look at the target: other slices are being loaded into it."""

    def upsert_staged(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """`upsert` of the very rows that were staged last for this table, in the same transaction."""
        self.upsert(connection, target, rows)

    @abstractmethod
    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        """Delete by business key, each key once, except where the table holds a later row, and remember the tombstones in
        `target.tombstones`, except where it holds later ones. For targets that have such a table only. Idempotent.

        keys: `target.delete_columns`.
        """

    @abstractmethod
    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        """Our error for the driver's, retryable or permanent, by error number or SQLSTATE, which becomes its `code`.

        doing: what was being done; the text begins with it. Statement parameters, which SQLAlchemy's own text has, and secrets
        stay out of the text. A TransactionConflict, and no other error, makes the load begin its transaction again at once.
        """

    def is_locked(self, error: sa.exc.DBAPIError) -> bool:
        """Whether a statement that does not wait for locks was refused because another transaction holds one."""
        return False

    def server_identity(self, connection: sa.Connection) -> str:
        """Which server, and which database of it, the connection reaches: the same by whatever way and as whatever user, and
        another for every other one. It takes no privilege of its own, and writes nothing.

        Asked where no ledger stands yet, whose id says more: it stays the same where another server takes over. Nobody sees it
        but as a hash. The default goes by the URL, where two names of one host are two servers.
        """
        url = self.engine.url
        return f"{url.get_backend_name()}://{url.host}:{url.port}/{url.database}"

    def limit_statement_seconds(self, seconds: int) -> None:  # noqa: B027  # a database that is not far away has nothing to do
        """Wait at most so long for the answer to a statement, from the next connection on: for callers that are waited for."""

    def misfits(self, connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
        """What in the existing ones of these tables keeps them from holding every value of the declared columns unchanged.
        Reads only; a table that does not exist has none.

        The default knows of missing columns alone: a database has to say more about its types.
        """
        inspector = sa.inspect(connection)
        return [
            lacks(connection.dialect, column)
            for table in tables
            if inspector.has_table(table.name, schema=table.schema)
            for column in missing_columns(inspector, table)
        ]

    def is_single_float(self, kind: SqlType) -> bool:
        """Whether the database keeps a column of this type in four bytes."""
        return False

    def readable(self, column: SqlColumn) -> SqlExpression:
        """The column as an expression whose value is exact, for comparison: JSON, decimals and times as text, bytes as capital
        hexadecimal digits."""
        if isinstance(column.type, sa.JSON):
            return sa.type_coerce(column, sa.Text).label(column.name)
        if isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float):
            return sa.cast(column, sa.String).label(column.name)
        if isinstance(column.type, sa.Time):
            return sa.cast(column, sa.String).label(column.name)
        if isinstance(column.type, BINARIES):
            return sa.func.hex(column, type_=sa.String).label(column.name)
        return column

    def count_rows(self, connection: sa.Connection, table: sa.Table, *, seconds: float) -> RowCount:
        """How many rows a table has, for a person who waits about `seconds` for it: an estimate where counting takes longer.

        The default counts however long it takes. Raises the driver's error where there is no such table.
        """
        count = sa.select(sa.func.count()).select_from(table)
        return RowCount(int(connection.execute(count).scalar_one()), True)

    def examine(self, connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
        """What `kafka-ingest doctor` says of this database: its version, its clock, settings that matter, and whether the user
        may do what a run needs. Leaves nothing behind. The default has nothing to say."""
        yield from ()

    @classmethod
    def local_server(cls) -> type[LocalDatabaseServer] | None:
        """A server of this kind that can be started on this machine, for demos and tests (`kafka-ingest local up`); None where
        there is none."""
        return None

    @contextmanager
    def ddl_lock(self, connection: sa.Connection) -> Iterator[None]:
        """Lets one process of this database in at a time: two first runs must not both create the tables.

        Held over several transactions of `connection`. Raises DatabaseUnavailable where another process holds it for too long.
        The default does nothing: it is for databases whose transactions already see to it.
        """
        yield

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise ours (`classify_error`) where SQLAlchemy raises the driver's, which becomes its cause."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            raise self.classify_error(error, doing) from error

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A connection whose reads all show the database at one moment, so that ledger and tables can be compared while
        others load.

        The default is for databases whose transactions already read so.
        """
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections. Idempotent."""
        self.engine.dispose()


SinkFactory = Callable[[sa.URL], Sink]

registered: dict[str, SinkFactory] = {}
"""What `register_sink` was given, by backend."""


def register_sink(backends: Sequence[str], factory: SinkFactory) -> None:
    """Use `factory` for database URLs of these backends in this process, before any other sink for them; the last call counts.

    backends: SQLAlchemy backend names, as `Sink.backends`.
    factory: the sink's class, or what makes one from the URL.

    A sink that is installed as a package needs no call: an entry point of the group `kafka_ingest.sinks` names its class
    (sinks/registry.py).
    """
    for backend in backends:
        registered[backend] = factory
