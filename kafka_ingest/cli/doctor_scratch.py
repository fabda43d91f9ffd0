"""Privileges found out by trying: on a table of the doctor's own, rolled back and dropped."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.cli.doctor_findings import Finding, fail, ok, warn
from kafka_ingest.sinks.infile import FORMAT, encode
from kafka_ingest.sinks.local_infile import FILE, OfferingConnection

_GRANT = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, CREATE TEMPORARY TABLES ON the database TO this user."


def _scratch_name() -> str:
    return f"kafka_ingest_doctor_{secrets.token_hex(6)}"


def check_privileges(connection: sa.Connection) -> Iterator[Finding]:
    """What a run does to tables, tried on MySQL or MariaDB."""
    name = _scratch_name()
    error = _try(connection, f"CREATE TABLE {name} (id INT PRIMARY KEY, word VARCHAR(20)) ENGINE=InnoDB")
    if error:
        yield fail("privileges", f"CREATE: {error}", _GRANT)
        return
    try:
        yield from _use(connection, name)
    finally:
        connection.rollback()
        error = _try(connection, f"DROP TABLE {name}")
    if error:
        yield warn("scratch table", f"{name} could not be dropped: {error}", "Drop it by hand, and grant DROP.")


def _use(connection: sa.Connection, name: str) -> Iterator[Finding]:
    statements = {
        "INSERT": f"INSERT INTO {name} VALUES (1, 'one')",  # noqa: S608  the name is made here
        "UPDATE": f"UPDATE {name} SET word = 'two' WHERE id = 1",  # noqa: S608
        "SELECT": f"SELECT word FROM {name} WHERE id = 1 FOR UPDATE",  # noqa: S608
        "DELETE": f"DELETE FROM {name} WHERE id = 2",  # noqa: S608
        "CREATE TEMPORARY TABLES": f"CREATE TEMPORARY TABLE {name}_t LIKE {name}",
    }
    denied = {}
    for privilege, statement in statements.items():
        if privilege == "CREATE TEMPORARY TABLES":
            # Outside the transaction, as the loads do it.
            connection.rollback()
        error = _try(connection, statement, commit=False)
        if error:
            denied[privilege] = error
    connection.rollback()
    if denied:
        yield fail("privileges", "; ".join(f"{p}: {e}" for p, e in denied.items()), _GRANT)
        return
    yield ok("privileges", f"CREATE, DROP, {', '.join(statements)}")
    left = connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar()  # noqa: S608
    if left:
        yield fail(
            "rollback", "a rolled-back row is still there", "The server must use a transactional engine (InnoDB)."
        )
    if connection.exec_driver_sql("SELECT @@local_infile").scalar():
        yield from _load(connection, name)


def _load(connection: sa.Connection, name: str) -> Iterator[Finding]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, OfferingConnection):
        return
    rows = pd.DataFrame({"id": [1, 2], "word": ["one", "two"]})
    try:
        count, warnings = driver.load_local(
            f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {name}_t {FORMAT} (id, word)", encode(rows, ["id", "word"])
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


def _try(connection: sa.Connection, statement: str, *, commit: bool = True) -> str | None:
    """The server's words where it refuses the statement."""
    try:
        connection.exec_driver_sql(statement)
        if commit:
            connection.commit()
    except sa.exc.DBAPIError as error:
        connection.rollback()
        return str(error.orig.args[1] if error.orig is not None and len(error.orig.args) > 1 else error.orig)
    return None
