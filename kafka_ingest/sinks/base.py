"""What a database has to do for us. The extension point for databases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.findings import Finding
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.misfits import Misfit, lacks, missing_columns
from kafka_ingest.streams.target import TargetTable


class RowsRejected(Exception):
    """The database refuses some of the rows it was given; the savepoint around them has to be rolled back.

    Never leaves `sinks/`: the load finds the rows by bisection and makes dead letters of them.
    """


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
    """One target database. Not thread-safe; `close()` it.

    A writer method runs inside the load's transaction, raises RowsRejected where the database refuses a row's data, and
    lets every other driver error through, for `classify_error` to classify. It never commits.
    """

    backends: ClassVar[tuple[str, ...]]
    """SQLAlchemy backend names (`mysql` of `mysql+pymysql://`) this sink serves."""

    kind: ClassVar[str] = "sql"
    """What Dagster's UI shows on the assets, an icon where it knows the name."""

    loads_in_parallel: ClassVar[bool] = False
    """Whether several slices may be loaded at the same time, over a connection each, and gain by it."""

    engine: sa.Engine

    @abstractmethod
    def __init__(self, url: sa.URL) -> None: ...

    @abstractmethod
    def prepare_staging(self, connection: sa.Connection, targets: Sequence[TargetTable]) -> None:
        """Make ready, outside a transaction, what a load into `targets` needs (staging tables, session settings)."""

    @abstractmethod
    def insert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """Add rows to an append table."""

    @abstractmethod
    def upsert(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """Insert or replace by business key, except where the table holds a higher position. Keys are distinct."""

    def stage(  # noqa: B027  # a database without a staging table has nothing to do
        self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame
    ) -> None:
        """Bring the rows of an upsert near, without a look at the target: done while other slices are being loaded."""

    def upsert_staged(self, connection: sa.Connection, target: TargetTable, rows: pd.DataFrame) -> None:
        """`upsert` of the very rows that were staged last for this table, in the same transaction."""
        self.upsert(connection, target, rows)

    @abstractmethod
    def delete(self, connection: sa.Connection, target: TargetTable, keys: pd.DataFrame) -> None:
        """Delete by business key, except where the table holds a higher position, and remember the tombstones."""

    @abstractmethod
    def classify_error(self, error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
        """Our error for the driver's, retryable or permanent, by error number; no secret in its text."""

    def is_locked(self, error: sa.exc.DBAPIError) -> bool:
        """Whether a statement that does not wait for locks was refused because another transaction holds one."""
        return False

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
            for column in missing_columns(connection, table)
        ]

    def is_single_float(self, kind: sa.types.TypeEngine[Any]) -> bool:
        """Whether the database keeps a column of this type in four bytes."""
        return False

    def readable(self, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
        """The column as an expression whose value is exact, for comparison: JSON and decimals as text."""
        if isinstance(column.type, sa.JSON):
            return sa.type_coerce(column, sa.Text).label(column.name)
        if isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float):
            return sa.cast(column, sa.String).label(column.name)
        return column

    def count_rows(self, connection: sa.Connection, table: sa.Table, *, seconds: float) -> RowCount:
        """How many rows a table has, for a person who waits about `seconds` for it: an estimate where counting takes longer.

        The default counts however long it takes.
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

        The default is for databases whose transactions already see to it.
        """
        yield

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise ours where SQLAlchemy raises the driver's."""
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
    """Use `factory` for database URLs of these backends in this process, before any other sink for them.

    A sink that is installed as a package needs no call: an entry point of the group `kafka_ingest.sinks` names its class
    (sinks/registry.py).
    """
    for backend in backends:
        registered[backend] = factory
