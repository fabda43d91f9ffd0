"""Target tables: created where missing; one that does not fit its model is an error that names the ALTER to run."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError, SchemaMismatch
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.ledger.version import bring_up_to_date, check_version
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.misfits import Misfit, add_column, add_nullable_column, missing_columns
from kafka_ingest.streams.model import filled_by_database
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.type_names import SqlColumn


@dataclass(frozen=True, slots=True)
class Comparison:
    """The existing tables of a stream beside its models.

    to_add: missing columns that a run adds by itself. refused: what a person has to see to first.
    """

    to_add: tuple[Misfit, ...]
    refused: tuple[Misfit, ...]


def prepare_tables(sink: Sink, stream: Stream) -> None:
    """Make the ledger and the stream's tables fit. Idempotent; DDL, so outside any transaction.

    1. the ledger's tables get what this version adds to them, whatever the stream says of its own
    2. all existing tables of the stream, those of tombstones too, are compared with what the models declare
    3. the missing ones are made, and looked at where the database is to fill some of their columns: not each fills what its DDL
       lets a model say
    4. missing columns are added: ours always, the model's where the stream says `evolve`

    Raises ConfigError where two tables are one, as the database's own schema is also named by a model, or where a model has kept
    columns and the sink cannot keep them, and SchemaMismatch with
    all that 2 found and the statements to run; 3 and 4 are then not begun.
    """
    _check_kept(sink, stream)
    doing = f"preparing the tables of stream {stream.name}"
    with sink.errors(doing), sink.engine.connect() as connection, sink.ddl_lock(connection):
        check_version(connection)
        _check_distinct(connection, stream)
        METADATA.create_all(connection, checkfirst=True)  # 1
        inspector = sa.inspect(connection)
        for own in METADATA.sorted_tables:
            for column in missing_columns(inspector, own):
                _run(connection, add_column(connection.dialect, column))
            held = {index["name"] for index in inspector.get_indexes(own.name)}
            for index in own.indexes:
                if index.name not in held:
                    index.create(connection)
        bring_up_to_date(connection, now=dt.datetime.now(dt.timezone.utc))
        connection.commit()
        found = compare_tables(sink, connection, stream)  # 2
        _refuse(stream, found)
        for table in tables_of(stream):  # 3
            with sink.errors(f"making table {table.fullname} of stream {stream.name}"):
                table.create(connection, checkfirst=True)
        connection.commit()
        if any(filled_by_database(column) for table in tables_of(stream) for column in table.columns):
            _refuse(stream, compare_tables(sink, connection, stream))
        for misfit in found.to_add:  # 4
            _run(connection, misfit.statement)
        connection.commit()


def _refuse(stream: Stream, found: Comparison) -> None:
    if found.refused:
        raise SchemaMismatch(
            explain(stream, found.refused),
            stream=stream.name,
            tables=tuple(dict.fromkeys(m.table.fullname for m in found.refused)),
            statements=tuple(dict.fromkeys(m.statement for m in found.refused)),
        )


def _check_kept(sink: Sink, stream: Stream) -> None:
    for target in stream.targets:
        if target.kept and not sink.keeps_columns:
            raise ConfigError(
                f"stream {stream.name}: model {target.model_name} has columns with keep_absent "
                f"({', '.join(bound.name for bound in target.kept)}), and {type(sink).__name__} replaces whole rows only",
                stream=stream.name,
                model=target.model_name,
            )


def _check_distinct(connection: sa.Connection, stream: Stream) -> None:
    home = sa.inspect(connection).default_schema_name or ""
    owners = {(home.lower(), table.name): "the ledger" for table in METADATA.sorted_tables}
    for target in stream.targets:
        for table in target.tables:
            owner = owners.setdefault(((table.schema or home).lower(), table.name.lower()), target.label)
            if owner != target.label:
                raise ConfigError(
                    f"stream {stream.name}: table {table.fullname} of model {target.model_name} is also a table of {owner}: "
                    f"{home} is the database that KAFKA_INGEST_DATABASE_URL names; give the model another table or schema",
                    stream=stream.name,
                    model=target.model_name,
                )


def compare_tables(sink: Sink, connection: sa.Connection, stream: Stream) -> Comparison:
    """What `prepare_tables` would find. Reads only."""
    to_add: list[Misfit] = []
    refused: list[Misfit] = []
    for misfit in sink.misfits(connection, tables_of(stream)):
        column = misfit.adds
        if column is None:
            refused.append(misfit)
        elif is_ours(column):
            to_add.append(misfit)
        elif not column.nullable and column.server_default is None and _has_rows(connection, column.table):
            refused.append(_cannot_be_filled(connection.dialect, column))
        else:
            (to_add if stream.evolve else refused).append(misfit)
    return Comparison(tuple(to_add), tuple(refused))


def explain(stream: Stream, misfits: Sequence[Misfit]) -> str:
    """The refusal: by table what does not fit, and the statements to run, each in a line of its own."""
    parts = [f"stream {stream.name}: existing tables do not fit its models; nothing was loaded."]
    for table in dict.fromkeys(m.table for m in misfits):
        own = [m for m in misfits if m.table is table]
        parts.append(f"table {table.fullname}:")
        parts += [f"  - {m.problem}" for m in own]
        parts.append("Run")
        parts += [f"  {statement};" for statement in dict.fromkeys(m.statement for m in own)]
    if any(m.adds is not None for m in misfits):
        parts.append("Missing columns are added by the next run where the stream is declared with evolve=True.")
    return "\n".join(parts)


def explain_misfits(sink: Sink, connection: sa.Connection, stream: Stream) -> str | None:
    """What `prepare_tables` would refuse, without changing anything; None where it would not."""
    refused = compare_tables(sink, connection, stream).refused
    return explain(stream, refused) if refused else None


def is_ours(column: SqlColumn) -> bool:
    """Whether a missing column is one this package keeps for itself, which a newer version may bring: added without asking, as
    it may be NULL and so changes nothing for the rows that are there."""
    return column.name.startswith("_kafka_") and column.nullable is True


def tables_of(stream: Stream) -> list[sa.Table]:
    """The stream's target tables, each followed by that of its tombstones where it has one."""
    return [
        table
        for target in stream.targets
        # The user's own, with its constraints and indexes.
        for table in (stream.model_of(target).__table__, *target.tables[1:])
    ]


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    return connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None


def _cannot_be_filled(dialect: sa.Dialect, column: SqlColumn) -> Misfit:
    """A missing NOT NULL column of a table that has rows: the database would make up a value for them, 0 or ''."""
    problem = (
        f"column {column.name} is missing and NOT NULL, and the table has rows, for which 0 or '' would be made up: give it a "
        "server_default, or let it be nullable; or add it as below, fill it, and make it NOT NULL"
    )
    return Misfit(column.table, problem, add_nullable_column(dialect, column))


def _run(connection: sa.Connection, statement: str) -> None:
    """A statement as a person would run it: with no parameters, so that a % in it is one."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def fits(connection: sa.Connection, target: TargetTable) -> bool:
    """Whether a table is there with all its columns, and its tombstones are. Reads only."""
    inspector = sa.inspect(connection)
    are_there = all(inspector.has_table(table.name, schema=table.schema) for table in target.tables)
    return are_there and not missing_columns(inspector, target.table)
