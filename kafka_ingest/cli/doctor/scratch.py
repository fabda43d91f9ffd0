"""Privileges found out by trying, without leaving anything behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.cli.doctor.findings import Finding, fail, ok, warn
from kafka_ingest.sinks.mysql.load_data_connection import FILE, OfferingConnection
from kafka_ingest.sinks.mysql.load_data_format import FORMAT, encode

RUNNING = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES")
"""What every run needs."""
FIRST_RUN = ("CREATE", "INDEX")
"""What the run that makes the tables needs besides."""
# The privilege is looked at before the table is: MySQL and MariaDB answer with these, or that there is no such table.
_DENIED = frozenset({1044, 1142, 1143, 1227})


def _scratch_name() -> str:
    return f"kafka_ingest_doctor_{secrets.token_hex(6)}"


def check_privileges(connection: sa.Connection, *, makes_tables: bool, adds_columns: bool) -> Iterator[Finding]:
    """What a run does, asked of MySQL or MariaDB with statements that cannot succeed, so that nothing is left behind.

    makes_tables, adds_columns: whether the next run has to.
    """
    name = _scratch_name()
    statements = {
        "SELECT": f"SELECT 1 FROM {name}",  # noqa: S608  the name is made here
        "INSERT": f"INSERT INTO {name} VALUES (1)",  # noqa: S608
        "UPDATE": f"UPDATE {name} SET id = 1",  # noqa: S608
        "DELETE": f"DELETE FROM {name}",  # noqa: S608
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
    if first and makes_tables:
        detail = f"not granted: {', '.join(first)}; the next run has to make tables"
        yield fail("privileges to make tables", detail, _grant(first))
    elif first:
        detail = f"not granted: {', '.join(first)}; not needed, as all tables are there"
        yield ok("privileges to make tables", detail)
    else:
        yield ok("privileges to make tables", ", ".join(FIRST_RUN))
    if adds_columns and _is_denied(connection, f"ALTER TABLE {name} ADD COLUMN id INT"):
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
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES (1, 'one')")  # noqa: S608  the name is made here
        connection.rollback()
        if connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar():  # noqa: S608
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
            f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {name} {FORMAT} (id, word)", encode(rows, ["id", "word"])
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


def check_sqlite(connection: sa.Connection) -> Iterator[Finding]:
    """The file can be written."""
    name = _scratch_name()
    try:
        connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES (1)")  # noqa: S608
    except sa.exc.DBAPIError as error:
        yield fail(
            "privileges",
            f"the database file cannot be written: {error.orig}",
            "Check the rights on the file and its folder.",
        )
    else:
        yield ok("privileges", "the database file can be written")
    finally:
        connection.rollback()
