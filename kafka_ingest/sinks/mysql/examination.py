"""What the doctor says of MySQL and MariaDB: server, settings, privileges and engines. It leaves nothing behind."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Iterator, Sequence

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.findings import Finding, fail, ok, warn
from kafka_ingest.sinks.base import Needs
from kafka_ingest.sinks.clock import clock_finding
from kafka_ingest.sinks.mysql.load_data_connection import FILE, OfferingConnection
from kafka_ingest.sinks.mysql.load_data_format import FORMAT, encode_rows

MIN_MYSQL = (8, 0)
MIN_MARIADB = (10, 6)
# Dead letters keep a message's bytes whole; Kafka's own default limit is 1 MiB, and 16 MiB leaves room for larger ones.
MIN_PACKET_BYTES = 16 * 1024 * 1024
RUNNING = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES")
"""What every run needs."""
FIRST_RUN = ("CREATE", "INDEX")
"""What the run that makes the tables needs besides."""
# The privilege is looked at before the table is: MySQL and MariaDB answer with these, or that there is no such table.
_DENIED = frozenset({1044, 1142, 1143, 1227})


def examine_server(connection: sa.Connection) -> Iterator[Finding]:
    """Version, clock, and the settings that matter."""
    version = str(connection.exec_driver_sql("SELECT VERSION()").scalar())
    name, least = ("MariaDB", MIN_MARIADB) if "mariadb" in version.lower() else ("MySQL", MIN_MYSQL)
    found = re.search(r"(\d+)\.(\d+)", version.removeprefix("5.5.5-"))
    numbers = (int(found[1]), int(found[2])) if found else (0, 0)
    if numbers < least:
        yield fail("database server", f"{name} {version}", f"Use {name} {least[0]}.{least[1]} or newer.")
    else:
        yield ok("database server", f"{name} {version}")
    yield _clock(connection)
    yield from _settings(connection)


def _settings(connection: sa.Connection) -> Iterator[Finding]:
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


def _clock(connection: sa.Connection) -> Finding:
    before = dt.datetime.now(dt.timezone.utc)
    answer = connection.exec_driver_sql("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)").scalar()
    after = dt.datetime.now(dt.timezone.utc)
    theirs = dt.datetime.fromisoformat(str(answer)).replace(tzinfo=dt.timezone.utc)
    return clock_finding(before, theirs, after)


def examine_privileges(connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
    """What a run does, asked with statements that cannot succeed, so that nothing is left behind."""
    name = f"kafka_ingest_doctor_{secrets.token_hex(6)}"
    statements = {
        "SELECT": f"SELECT 1 FROM {name}",
        "INSERT": f"INSERT INTO {name} VALUES (1)",
        "UPDATE": f"UPDATE {name} SET id = 1",
        "DELETE": f"DELETE FROM {name}",
        "CREATE": f"CREATE TABLE {name} (id INT, id INT)",
        "INDEX": f"CREATE INDEX i ON {name} (id)",
        "CREATE TEMPORARY TABLES": f"CREATE TEMPORARY TABLE {name} (id INT, id INT)",
    }
    denied = {privilege for privilege, statement in statements.items() if _is_denied(connection, statement)}
    missing = [p for p in RUNNING if p in denied]
    if missing:
        yield fail("privileges", f"not granted: {', '.join(missing)}", _grant(missing))
    else:
        yield ok("privileges", ", ".join(RUNNING))
    first = [p for p in FIRST_RUN if p in denied]
    if first and needs.makes_tables:
        detail = f"not granted: {', '.join(first)}; the next run has to make tables"
        yield fail("privileges to make tables", detail, _grant(first))
    elif first:
        detail = f"not granted: {', '.join(first)}; not needed, as all tables are there"
        yield ok("privileges to make tables", detail)
    else:
        yield ok("privileges to make tables", ", ".join(FIRST_RUN))
    if needs.adds_columns and _is_denied(connection, f"ALTER TABLE {name} ADD COLUMN id INT"):
        yield fail(
            "privileges to add columns", "not granted: ALTER; the next run has to add columns", _grant(["ALTER"])
        )
    if "CREATE TEMPORARY TABLES" not in denied:
        yield from _use(connection, name)


def _grant(privileges: list[str]) -> str:
    return f"GRANT {', '.join(privileges)} ON the database TO this user."


def _is_denied(connection: sa.Connection, statement: str) -> bool:
    try:
        connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError as error:
        connection.rollback()
        return error.orig is not None and error.orig.args[0] in _DENIED
    connection.rollback()
    return False


def _use(connection: sa.Connection, name: str) -> Iterator[Finding]:
    """Rollback and LOAD DATA, tried on a temporary table: that needs no privilege but the one to make it."""
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} (id INT PRIMARY KEY, word VARCHAR(20)) ENGINE=InnoDB")
    connection.commit()
    try:
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES (1, 'one')")
        connection.rollback()
        if connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar():
            yield fail(
                "rollback", "a rolled-back row is still there", "The server must use a transactional engine (InnoDB)."
            )
        if connection.exec_driver_sql("SELECT @@local_infile").scalar():
            yield from _load(connection, name)
    finally:
        connection.rollback()
        connection.exec_driver_sql(f"DROP TEMPORARY TABLE {name}")


def _load(connection: sa.Connection, name: str) -> Iterator[Finding]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, OfferingConnection):
        return
    rows = pd.DataFrame({"id": [1, 2], "word": ["one", "two"]})
    try:
        count, warnings = driver.load_local(
            f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {name} {FORMAT} (id, word)", encode_rows(rows, ["id", "word"])
        )
    except Exception as error:  # noqa: BLE001  the driver's own errors; whatever it is, it is what to report
        yield warn(
            "load data", f"LOAD DATA LOCAL fails: {error}", "Is a proxy between? Rows go by INSERT where it is refused."
        )
        return
    if (count, warnings) == (2, 0):
        yield ok("load data", "LOAD DATA LOCAL works")
    else:
        yield warn(
            "load data",
            f"2 rows sent, {count} arrived, {warnings} warnings",
            "Check the server's sql_mode and proxies.",
        )


def examine_engines(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[Finding]:
    """Tables that cannot roll back."""
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
