"""What the doctor says of SQLite."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import sqlalchemy as sa

from kafka_ingest.findings import Finding, fail, ok


def examine_file(connection: sa.Connection) -> Iterator[Finding]:
    """The library's version, and whether the file can be written."""
    version = connection.exec_driver_sql("SELECT sqlite_version()").scalar()
    yield ok("database server", f"SQLite {version}: for trying things out, not for production")
    name = f"kafka_ingest_doctor_{secrets.token_hex(6)}"
    try:
        connection.exec_driver_sql(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql(f"INSERT INTO {name} VALUES (1)")
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
