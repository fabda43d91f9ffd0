"""Target tables: created where missing; a missing column is an error that names the ALTER, or is added."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.ledger import METADATA, create_ledger
from kafka_ingest.streams.model import MICROSECONDS, TOPIC_TYPE, Model, deletes_on_tombstone, table_of
from kafka_ingest.streams.stream import Stream


def prepare_tables(sink: Sink, stream: Stream) -> None:
    """Make the ledger and the stream's tables fit. Idempotent; DDL, so outside any transaction.

    The ledger's tables get what this version adds to them, whatever the stream says of its own.

    Raises SchemaMismatch with the statements to run where an existing table lacks columns and the stream does not `evolve`.
    """
    doing = f"preparing the tables of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection, sink.only_one(connection):
        create_ledger(connection)
        for own in METADATA.sorted_tables:
            for statement in _missing_columns(connection, own):
                connection.exec_driver_sql(statement)
            for index in own.indexes:
                index.create(connection, checkfirst=True)
        connection.commit()
        for model in stream.models:
            table = table_of(model)
            table.create(connection, checkfirst=True)
            if deletes_on_tombstone(model):
                tombstone_table(model).create(connection, checkfirst=True)
            connection.commit()
            statements = _missing_columns(connection, table)
            if statements and not stream.evolve:
                raise SchemaMismatch(_lacks(model, statements, connection.dialect))
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.commit()


def explain_missing_columns(connection: sa.Connection, stream: Stream) -> str | None:
    """What `prepare_tables` would refuse, without changing anything; None where it would not."""
    for model in stream.models:
        table = table_of(model)
        if not stream.evolve and sa.inspect(connection).has_table(table.name, schema=table.schema):
            statements = _missing_columns(connection, table)
            if statements:
                return _lacks(model, statements, connection.dialect)
    return None


def _lacks(model: type[Model], statements: Sequence[str], dialect: sa.Dialect) -> str:
    # Written for the driver, where a % is doubled.
    plain = (s.replace("%%", "%") if dialect.paramstyle in ("format", "pyformat") else s for s in statements)
    return (
        f"table {table_of(model).name} lacks {len(statements)} column(s) of model {model.__name__}. Run\n  "
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


def fits(connection: sa.Connection, model: type[Model]) -> bool:
    """Whether a model's table is there with all its columns. Reads only."""
    tables = [table_of(model), *([tombstone_table(model)] if deletes_on_tombstone(model) else [])]
    inspector = sa.inspect(connection)
    return all(inspector.has_table(t.name, schema=t.schema) for t in tables) and not _missing_columns(
        connection, tables[0]
    )


def tombstone_table(model: type[Model]) -> sa.Table:
    """Where deletes of a model are remembered: business key and position, so that an older message, loaded again by a
    backfill, does not bring a deleted row back."""
    table = table_of(model)
    name = f"{table.name}_tombstones"
    if name in table.metadata.tables:
        return table.metadata.tables[name]
    keys = [sa.Column(c.name, c.type, primary_key=True, autoincrement=False) for c in table.columns if c.primary_key]
    return sa.Table(
        name,
        table.metadata,
        *keys,
        sa.Column("_kafka_topic", TOPIC_TYPE, nullable=False),
        sa.Column("_kafka_partition", sa.Integer, nullable=False),
        sa.Column("_kafka_offset", sa.BigInteger, nullable=False),
        sa.Column("_kafka_timestamp", MICROSECONDS),
        **dict(table.dialect_kwargs),
    )


def column_names(model: type[Model]) -> Sequence[str]:
    """Columns of the target table in the model's order."""
    return [c.name for c in table_of(model).columns]
