"""The doctor's look at the database: server, settings, privileges, tables."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing

import sqlalchemy as sa

from kafka_ingest.cli.doctor.findings import Finding, fail, ok, warn
from kafka_ingest.cli.doctor.scratch import check_privileges, check_sqlite
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, METADATA, OFFSETS
from kafka_ingest.ledger.version import check_version
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.misfits import missing_columns
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import Comparison, compare_tables, tables_of
from kafka_ingest.streams.stream import Stream

MIN_MYSQL = (8, 0)
MIN_MARIADB = (10, 6)
SKEW_SECONDS = 2.0
# Dead letters keep a message's bytes whole; Kafka's own default limit is 1 MiB, and 16 MiB leaves room for larger ones.
MIN_PACKET_BYTES = 16 * 1024 * 1024
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
    where = f"{url.host or 'localhost'}:{url.port or 3306}/{url.database}" if url.host else str(url.database)
    try:
        with sink.errors(f"connecting to the database at {where}"), sink.engine.connect() as connection:
            dialect = connection.dialect.name
            version = str(
                connection.exec_driver_sql(
                    "SELECT sqlite_version()" if dialect == "sqlite" else "SELECT VERSION()"
                ).scalar()
            )
    except KafkaIngestError as error:
        yield fail("database", str(error), _URL)
        return
    yield ok("database", f"{where} answers")
    try:
        with sink.errors("checking the database"), sink.engine.connect() as connection:
            found = [(stream, compare_tables(sink, connection, stream)) for stream in streams]
            if dialect == "sqlite":
                yield ok("database server", f"SQLite {version}: for trying things out, not for production")
                yield from check_sqlite(connection)
            else:
                yield from _server(connection, version)
                yield from check_privileges(
                    connection,
                    makes_tables=_makes_tables(connection, streams),
                    adds_columns=_adds_columns(connection, [comparison for _, comparison in found]),
                )
            yield from _tables(connection, found)
    except KafkaIngestError as error:
        yield fail("database checks", str(error), "See the message; `kafka-ingest doctor` again shows the rest.")


def _makes_tables(connection: sa.Connection, streams: Collection[Stream]) -> bool:
    """Whether the next run finds a table missing."""
    inspector = sa.inspect(connection)
    wanted = [*METADATA.sorted_tables, *(table for stream in streams for table in tables_of(stream))]
    return any(not inspector.has_table(table.name, schema=table.schema) for table in wanted)


def _adds_columns(connection: sa.Connection, found: Iterable[Comparison]) -> bool:
    """Whether the next run adds a column to a table, by itself or as the stream says."""
    existing = set(sa.inspect(connection).get_table_names())
    own = [table for table in METADATA.sorted_tables if table.name in existing]
    return any(each.to_add for each in found) or any(missing_columns(connection, table) for table in own)


def _server(connection: sa.Connection, version: str) -> Iterator[Finding]:
    name, least = ("MariaDB", MIN_MARIADB) if "mariadb" in version.lower() else ("MySQL", MIN_MYSQL)
    found = re.search(r"(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    numbers = (int(found[1]), int(found[2])) if found else (0, 0)
    if numbers < least:
        yield fail("database server", f"{name} {version}", f"Use {name} {least[0]}.{least[1]} or newer.")
    else:
        yield ok("database server", f"{name} {version}")
    yield from _clock(connection)

    def variable(name: str) -> str:
        row = connection.execute(sa.text("SHOW VARIABLES LIKE :name"), {"name": name}).one_or_none()
        return "" if row is None else str(row[1])

    if variable("local_infile") == "ON":
        yield ok("local_infile", "ON: rows go by LOAD DATA")
    else:
        yield warn(
            "local_infile",
            "OFF: rows go by multi-row INSERT, two to four times slower",
            "SET PERSIST local_infile = ON (MariaDB: local_infile=ON in the server's configuration).",
        )
    packet = int(variable("max_allowed_packet") or 0)
    if packet >= MIN_PACKET_BYTES:
        yield ok("max_allowed_packet", f"{packet / 1024 / 1024:,.0f} MiB")
    else:
        yield warn(
            "max_allowed_packet",
            f"{packet / 1024 / 1024:,.1f} MiB: larger messages cannot be stored, not even as dead letters",
            f"SET GLOBAL max_allowed_packet = {4 * MIN_PACKET_BYTES}.",
        )
    if variable("log_bin") == "ON" and variable("binlog_format") == "STATEMENT":
        # MySQL manual, "Transaction Isolation Levels": with READ COMMITTED only row-based logging is possible.
        yield fail(
            "binlog_format",
            "STATEMENT: InnoDB refuses to write with READ COMMITTED",
            "Set binlog_format=ROW (or MIXED).",
        )
    else:
        yield ok("binlog_format", variable("binlog_format") if variable("log_bin") == "ON" else "binary log off")
    engine = variable("default_storage_engine")
    if engine == "InnoDB":
        yield ok("storage engine", "InnoDB")
    else:
        yield warn(
            "storage engine",
            f"the default is {engine}",
            "Tables made here are InnoDB anyway; check those made by hand.",
        )


def _clock(connection: sa.Connection) -> Iterator[Finding]:
    before = dt.datetime.now(dt.timezone.utc)
    answer = connection.exec_driver_sql("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)").scalar()
    after = dt.datetime.now(dt.timezone.utc)
    theirs = dt.datetime.fromisoformat(str(answer)).replace(tzinfo=dt.timezone.utc)
    # Theirs was read somewhere between the two: only what lies outside is skew for sure.
    skew = max((theirs - after).total_seconds(), (before - theirs).total_seconds(), 0.0)
    if skew > SKEW_SECONDS:
        side = "ahead of" if theirs > after else "behind"
        yield warn("database clock", f"{skew:.1f} s {side} this machine's", "Synchronise both clocks (NTP).")
    else:
        yield ok("database clock", f"within {max(skew, (after - before).total_seconds()):.2f} s of this machine's")


def _tables(connection: sa.Connection, found: Sequence[tuple[Stream, Comparison]]) -> Iterator[Finding]:
    existing = set(sa.inspect(connection).get_table_names())
    ledger_names = [t.name for t in METADATA.sorted_tables]
    absent = [name for name in ledger_names if name not in existing]
    if len(absent) == len(ledger_names):
        yield ok("ledger", "not there yet: the first run makes its tables")
    elif not check_version(connection):
        yield ok("ledger", "of an older version: the next run brings it up to date")
    elif absent:
        yield warn("ledger", f"{', '.join(absent)} missing", "The next run makes them; were they dropped by hand?")
    else:
        yield from _ledger_writable(connection)
    for stream, comparison in found:
        yield from _targets(connection, stream, comparison)
    yield from _engines(connection, [stream for stream, _ in found])


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


def _engines(connection: sa.Connection, streams: Collection[Stream]) -> Iterator[Finding]:
    if connection.dialect.name == "sqlite":
        return
    targets = (target for stream in streams for target in stream.targets)
    tables = [*METADATA.sorted_tables, *(table for target in targets for table in target.tables)]
    home = connection.exec_driver_sql("SELECT DATABASE()").scalar_one()
    ours = {(table.schema or home, table.name) for table in tables}
    query = sa.text(
        "SELECT table_schema, table_name, engine FROM information_schema.tables WHERE table_schema IN :schemas"
    )
    found = connection.execute(query.bindparams(sa.bindparam("schemas", [s for s, _ in ours], expanding=True)))
    others = [
        f"{name if schema == home else f'{schema}.{name}'} ({engine})"
        for schema, name, engine in found
        if (schema, name) in ours and engine != "InnoDB"
    ]
    if others:
        yield fail(
            "transactions",
            f"not InnoDB: {', '.join(others)}",
            "ALTER TABLE ... ENGINE=InnoDB; other engines cannot roll back.",
        )
