"""The doctor's look at the database: server, settings, privileges, tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

import sqlalchemy as sa

from kafka_ingest.engine.fingerprint import database_of
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.findings import Finding, fail, ok, warn
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, METADATA, OFFSETS
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Needs, Sink
from kafka_ingest.sinks.misfits import missing_columns
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import Comparison, compare_tables, tables_of
from kafka_ingest.streams.stream import Stream

# A person waits for the answer.
STATEMENT_SECONDS = 20
_URL = "Set KAFKA_INGEST_DATABASE_URL, such as mysql+pymysql://user:password@host:3306/database; is the server up?"


def check_database(settings: Settings, streams: Collection[Stream]) -> Iterator[Finding]:
    """Reachable first; then the rest. Nothing more where it is not."""
    try:
        sink = open_sink(settings.database_url)
    except (KafkaIngestError, ImportError, sa.exc.ArgumentError) as error:
        yield fail("database", f"{type(error).__name__}: {error}", _URL)
        return
    sink.limit_statement_seconds(STATEMENT_SECONDS)
    with closing(sink):
        yield from _check(sink, settings, streams)


def _check(sink: Sink, settings: Settings, streams: Collection[Stream]) -> Iterator[Finding]:
    url = settings.database_url
    port = f":{url.port}" if url.port else ""
    where = f"{url.host}{port}/{url.database}" if url.host else str(url.database)
    try:
        with sink.errors(f"connecting to the database at {where}"), sink.engine.connect():
            pass
    except KafkaIngestError as error:
        yield fail("database", str(error), _URL)
        return
    yield ok("database", f"{where} answers")
    try:
        with sink.errors("checking the database"), sink.engine.connect() as connection:
            found = [(stream, compare_tables(sink, connection, stream)) for stream in streams]
            needs = Needs(
                makes_tables=_makes_tables(connection, streams),
                adds_columns=_adds_columns(connection, [comparison for _, comparison in found]),
                tables=[*METADATA.sorted_tables, *(table for stream in streams for table in tables_of(stream))],
            )
            yield from sink.examine(connection, needs)
            yield from _ledger(connection)
            for stream, comparison in found:
                yield from _targets(connection, stream, comparison)
        yield ok("database identity", database_of(sink))
    except KafkaIngestError as error:
        yield fail("database checks", str(error), "See the message; `kafka-ingest doctor` again shows the rest.")


def _makes_tables(connection: sa.Connection, streams: Collection[Stream]) -> bool:
    """Whether the next run finds a table missing."""
    inspector = sa.inspect(connection)
    wanted = [*METADATA.sorted_tables, *(table for stream in streams for table in tables_of(stream))]
    return any(not inspector.has_table(table.name, schema=table.schema) for table in wanted)


def _adds_columns(connection: sa.Connection, found: Iterable[Comparison]) -> bool:
    """Whether the next run adds a column to a table, by itself or as the stream says."""
    inspector = sa.inspect(connection)
    existing = set(inspector.get_table_names())
    own = [table for table in METADATA.sorted_tables if table.name in existing]
    return any(each.to_add for each in found) or any(missing_columns(inspector, table) for table in own)


def _ledger(connection: sa.Connection) -> Iterator[Finding]:
    existing = set(sa.inspect(connection).get_table_names())
    ledger_names = [t.name for t in METADATA.sorted_tables]
    absent = [name for name in ledger_names if name not in existing]
    if len(absent) == len(ledger_names):
        yield ok("ledger", "not there yet: the first run makes its tables")
    elif check_version(connection) != VERSION:
        yield ok("ledger", "of an older version: the next run brings it up to date")
    elif absent:
        yield warn("ledger", f"{', '.join(absent)} missing", "The next run makes them; were they dropped by hand?")
    else:
        yield from _ledger_writable(connection)


def _ledger_writable(connection: sa.Connection) -> Iterator[Finding]:
    c = OFFSETS.c
    values = {
        "stream": "kafka_ingest_doctor",
        "topic": "doctor",
        "kafka_partition": 0,
        "next_offset": 0,
        "run_id": "doctor",
    }
    mine = c.stream == values["stream"]
    try:
        try:
            now = dt.datetime.now(dt.timezone.utc).replace(tzinfo=None)
            connection.execute(sa.insert(OFFSETS).values(**values, updated_at=now))
            connection.execute(sa.select(OFFSETS).where(mine).with_for_update())
            connection.execute(sa.update(OFFSETS).where(mine).values(next_offset=1))
            connection.execute(sa.delete(DEAD_LETTERS).where(DEAD_LETTERS.c.stream == values["stream"]))
            connection.execute(sa.select(BATCHES).limit(1))
        finally:
            connection.rollback()
    except sa.exc.DBAPIError as error:
        yield fail("ledger", f"not writable: {error.orig}", "Grant SELECT, INSERT, UPDATE, DELETE on the database.")
    else:
        yield ok("ledger", "its tables are there and can be written")


def _targets(connection: sa.Connection, stream: Stream, found: Comparison) -> Iterator[Finding]:
    for table in tables_of(stream):
        check = f"table {table.fullname}"
        refused = [m for m in found.refused if m.table is table]
        if refused:
            statements = "; ".join(dict.fromkeys(m.statement for m in refused))
            hint = " Or declare the stream with evolve=True." if all(m.adds is not None for m in refused) else ""
            yield fail(check, "; ".join(m.problem for m in refused), f"Run {statements}.{hint}")
        elif not sa.inspect(connection).has_table(table.name, schema=table.schema):
            yield ok(check, "not there yet: the first run makes it")
        elif any(m.table is table for m in found.to_add):
            yield ok(check, "the next run adds columns")
        else:
            yield ok(check, f"its {len(table.columns)} columns hold what the model declares")
