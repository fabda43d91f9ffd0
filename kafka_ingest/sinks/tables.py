"""Target tables: created where missing; a missing column is an error that names the ALTER, or is added."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from kafka_ingest.errors import ConfigError, SchemaMismatch
from kafka_ingest.records import NO_ORDER
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.ledger import METADATA
from kafka_ingest.sinks.ledger_version import bring_up_to_date, check_version
from kafka_ingest.streams.model import ORDER_COLUMN
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable


def prepare_tables(sink: Sink, stream: Stream) -> None:
    """Make the ledger and the stream's tables fit. Idempotent; DDL, so outside any transaction.

    The ledger's tables get what this version adds to them, whatever the stream says of its own.

    Raises ConfigError where two of them are one table, as the database's own schema is also named by a model, and
    SchemaMismatch with the statements to run where an existing table lacks columns and the stream does not `evolve`.
    """
    doing = f"preparing the tables of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection, sink.only_one(connection):
        check_version(connection)
        _check_distinct(connection, stream)
        METADATA.create_all(connection, checkfirst=True)
        for own in METADATA.sorted_tables:
            for statement in _missing_columns(connection, own):
                connection.exec_driver_sql(statement)
            for index in own.indexes:
                index.create(connection, checkfirst=True)
        bring_up_to_date(connection, now=dt.datetime.now(dt.timezone.utc))
        connection.commit()
        for target in stream.targets:
            table = stream.model_of(target).__table__  # the user's own, with its constraints and indexes
            for each in (table, *target.tables[1:]):
                each.create(connection, checkfirst=True)
            for ordered in target.tables:
                if ORDER_COLUMN in ordered.c:
                    _add_order(sink, connection, ordered)
            connection.commit()
            statements = _missing_columns(connection, table)
            if statements and not stream.evolve:
                raise SchemaMismatch(_lacks(target, statements, connection.dialect))
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()


def _add_order(sink: Sink, connection: sa.Connection, table: sa.Table) -> None:
    """The order's column in a table of an older version, and in its rows the first part of what it would have been."""
    column = table.c[ORDER_COLUMN]
    if column.name in existing_columns(connection, table):
        return
    quote = connection.dialect.identifier_preparer.format_table
    added = CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {added}")
    stamp = sink.milliseconds_sql("_kafka_timestamp")
    connection.exec_driver_sql(f"UPDATE {quote(table)} SET {column.name} = COALESCE({stamp}, {NO_ORDER})")


def _check_distinct(connection: sa.Connection, stream: Stream) -> None:
    home = sa.inspect(connection).default_schema_name or ""
    owners = {(home.lower(), table.name): "the ledger" for table in METADATA.sorted_tables}
    for target in stream.targets:
        for table in target.tables:
            owner = owners.setdefault(((table.schema or home).lower(), table.name.lower()), target.label)
            if owner != target.label:
                raise ConfigError(
                    f"stream {stream.name}: table {table.fullname} of model {target.model_name} is also a table of {owner}: "
                    f"{home} is the database that KAFKA_INGEST_DATABASE_URL names; give the model another table or schema"
                )


def explain_missing_columns(connection: sa.Connection, stream: Stream) -> str | None:
    """What `prepare_tables` would refuse, without changing anything; None where it would not."""
    for target in stream.targets:
        if not stream.evolve and sa.inspect(connection).has_table(target.name, schema=target.schema):
            statements = _missing_columns(connection, stream.model_of(target).__table__)
            if statements:
                return _lacks(target, statements, connection.dialect)
    return None


def _lacks(target: TargetTable, statements: Sequence[str], dialect: sa.Dialect) -> str:
    # Written for the driver, where a % is doubled.
    plain = (s.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else s for s in statements)
    return (
        f"table {target.label} lacks {len(statements)} column(s) of model {target.model_name}. Run\n  "
        + ";\n  ".join(plain)
        + ";\nor declare the stream with evolve=True."
    )


def _missing_columns(connection: sa.Connection, table: sa.Table) -> list[str]:
    """ALTER statements, for the driver, for the columns the existing table does not have."""
    existing = existing_columns(connection, table)
    quote = connection.dialect.identifier_preparer.format_table
    return [
        f"ALTER TABLE {quote(table)} ADD COLUMN {CreateColumn(column).compile(dialect=connection.dialect)}"
        for column in table.columns
        if column.name.lower() not in existing
    ]


def existing_columns(connection: sa.Connection, table: sa.Table) -> set[str]:
    """Names, in lower case, of the columns the database's table has."""
    names = [str(c["name"]) for c in sa.inspect(connection).get_columns(table.name, schema=table.schema)]
    # SQLAlchemy reads MySQL's SHOW CREATE TABLE, and leaves a backtick in a column's name doubled.
    return {name.replace("``", "`").lower() for name in names}


def fits(connection: sa.Connection, target: TargetTable) -> bool:
    """Whether a table is there with all its columns, and its tombstones are. Reads only."""
    inspector = sa.inspect(connection)
    are_there = all(inspector.has_table(table.name, schema=table.schema) for table in target.tables)
    return are_there and not _missing_columns(connection, target.table)
