"""What the doctor says of PostgreSQL: server, settings and privileges. What it tries is rolled back, DDL too."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Iterator, Sequence

import pandas as pd
import psycopg
import sqlalchemy as sa

from kafka_ingest.findings import Finding, fail, ok, warn
from kafka_ingest.sinks.base import Needs
from kafka_ingest.sinks.clock import clock_finding
from kafka_ingest.sinks.misfits import plain
from kafka_ingest.sinks.postgresql import copy_format
from kafka_ingest.sinks.postgresql.connection import TimedConnection
from kafka_ingest.sinks.postgresql.errors import is_denied

MINIMUM_MAJOR = 12
"""Older ones lack generated columns and nondeterministic collations, which the catalogues are asked for."""
TESTED_MAJOR = 15
# A table, its key's index and a staging table with its own; the same of its tombstones.
LOCKS_PER_TABLE = 4
FEW_CONNECTIONS = 20
"""A run has one for each of its loaders, and sensors and checks have theirs."""
RUNNING = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What every run needs on each of its tables."""

_SETTINGS = """SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000,
  pg_is_in_recovery(), current_setting('transaction_read_only'), current_setting('fsync'), current_setting('lock_timeout'),
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
  (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)
    * current_setting('max_locks_per_transaction')::int,
  (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user), pg_backend_pid()"""
# Of each table that is there: what is not granted on it, whether it may be altered, and whether rows are hidden from us.
_TABLES = """SELECT n.name,
  ARRAY(SELECT p FROM unnest(%s::text[]) AS p WHERE NOT has_table_privilege(c.oid, p)) AS missing,
  pg_has_role(c.relowner, 'USAGE') AS is_owner, row_security_active(c.oid) AS hides_rows,
  ARRAY(SELECT s.oid::regclass::text FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid
        -- In a CASE, as the server may take conditions in any order, and the function refuses an index.
        WHERE d.refobjid = c.oid AND d.deptype = 'a'
          AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(s.oid, 'USAGE') END) AS sequences
FROM unnest(%s::text[]) AS n(name) JOIN pg_class AS c ON c.oid = to_regclass(n.name) ORDER BY n.name"""


def examine_server(connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
    """Version, clock, and the settings that matter."""
    version, major, is_standby, read_only, fsync, lock_timeout, connections, locks, own, pid = (
        connection.exec_driver_sql(_SETTINGS).one()
    )
    if major < MINIMUM_MAJOR:
        yield fail("database server", f"PostgreSQL {version}", f"Use PostgreSQL {TESTED_MAJOR} or newer.")
    elif major < TESTED_MAJOR:
        yield warn(
            "database server",
            f"PostgreSQL {version}: older than what is tested",
            f"Use PostgreSQL {TESTED_MAJOR} or newer.",
        )
    else:
        yield ok("database server", f"PostgreSQL {version}")
    yield _clock(connection)
    if is_standby:
        yield fail("writable", "this server is a standby", "Name the primary, or add target_session_attrs=read-write.")
    elif read_only == "on":
        yield fail(
            "writable", "default_transaction_read_only is on", "ALTER ROLE … SET default_transaction_read_only = off."
        )
    else:
        yield ok("writable", "yes")
    if fsync != "on":
        yield warn("fsync", "off: a crash of the server's machine may destroy the database", "Set fsync = on.")
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection)  # noqa: S101  our creator makes no other
    if driver.info.backend_pid != pid or lock_timeout == "0":
        yield warn(
            "session",
            "a pooler seems to be between, or keeps our settings away from the server",
            "Staging tables and settings belong to a session: use pool_mode=session, and let it pass the parameter "
            "options, or go to the server directly.",
        )
    few = min(connections, own if own >= 0 else connections)
    if few < FEW_CONNECTIONS:
        yield warn(
            "connections",
            f"{few} at most for this user",
            f"Raise max_connections, or the role's CONNECTION LIMIT, to {FEW_CONNECTIONS} or more.",
        )
    else:
        yield ok("connections", f"{few} at most for this user")
    if locks < LOCKS_PER_TABLE * len(needs.tables):
        yield warn(
            "max_locks_per_transaction",
            f"room for {locks} locks on the whole server, and a run may take {LOCKS_PER_TABLE * len(needs.tables)}",
            "Raise max_locks_per_transaction.",
        )


def _clock(connection: sa.Connection) -> Finding:
    before = dt.datetime.now(dt.timezone.utc)
    answer = connection.exec_driver_sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    ).scalar()
    after = dt.datetime.now(dt.timezone.utc)
    theirs = dt.datetime.strptime(str(answer), "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=dt.timezone.utc)
    return clock_finding(before, theirs, after)


def examine_privileges(connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
    """On the tables that are there, as the catalogues have them; what has to be made is made, and rolled back."""
    yield from _on_tables(connection, needs)
    name = f"kafka_ingest_doctor_{secrets.token_hex(6)}"
    schemas = sorted({table.schema for table in needs.tables if table.schema})
    quote = connection.dialect.identifier_preparer.quote
    places = [name, *(f"{quote(schema)}.{name}" for schema in schemas)]
    refused = [text for place in places if (text := _refusal(connection, f"CREATE TABLE {place} (id int)")) is not None]
    if refused and needs.makes_tables:
        yield fail(
            "privileges to make tables",
            f"{'; '.join(refused)}; the next run has to make tables",
            "GRANT CREATE ON SCHEMA … TO this user, or give it a schema of its own (search_path).",
        )
    elif refused:
        yield ok("privileges to make tables", f"{'; '.join(refused)}; not needed, as all tables are there")
    else:
        yield ok("privileges to make tables", "CREATE")
    yield from _staging(connection, name)


def _on_tables(connection: sa.Connection, needs: Needs) -> Iterator[Finding]:
    quote, dialect = connection.dialect.identifier_preparer.format_table, connection.dialect
    names = [plain(dialect, quote(table)) for table in needs.tables]
    rows = connection.exec_driver_sql(_TABLES, (list(RUNNING), names)).all()
    connection.rollback()
    missing = [f"{', '.join(row.missing)} ON {row.name}" for row in rows if row.missing]
    missing += [f"USAGE ON SEQUENCE {sequence}" for row in rows for sequence in row.sequences]
    if missing:
        yield fail("privileges", f"not granted: {'; '.join(missing)}", _grants(missing))
    else:
        yield ok("privileges", f"{', '.join(RUNNING)} on the tables that are there ({len(rows)})")
    hidden = [row.name for row in rows if row.hides_rows]
    if hidden:
        yield fail(
            "row security",
            f"policies hide rows of {', '.join(hidden)} from this user: rows could neither be replaced nor counted",
            "Use a role with BYPASSRLS, or the tables' owner, without FORCE ROW LEVEL SECURITY.",
        )
    others = [row.name for row in rows if not row.is_owner]
    if needs.adds_columns and others:
        yield fail(
            "privileges to add columns",
            f"the next run has to add columns, and this user does not own {', '.join(others)}",
            "ALTER TABLE … OWNER TO this user, or make it a member of the owner's role.",
        )


def _grants(missing: Sequence[str]) -> str:
    return " ".join(f"GRANT {each} TO this user;" for each in missing)


def _staging(connection: sa.Connection, name: str) -> Iterator[Finding]:
    """A temporary table filled by COPY, as in every load of rows that replace others."""
    refused = _refusal(connection, f"CREATE TEMPORARY TABLE {name} (id int PRIMARY KEY, word text)")
    if refused is not None:
        yield fail("staging tables", refused, "GRANT TEMPORARY ON DATABASE … TO this user.")
        return
    rows = pd.DataFrame({"id": [1, 2], "word": ["one", None]})
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection)  # noqa: S101  our creator makes no other
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {name} (id int PRIMARY KEY, word text)")
    try:
        driver.copy_in(f"COPY {name} FROM STDIN {copy_format.OPTIONS}", copy_format.encode(rows, ["id", "word"]))
        found = [tuple(row) for row in connection.exec_driver_sql(f"SELECT id, word FROM {name} ORDER BY id")]
    except (psycopg.Error, sa.exc.DBAPIError) as error:
        yield fail("copy", f"COPY FROM STDIN fails: {error}", "Is a proxy between? Go to the server directly.")
    else:
        if found == [(1, "one"), (2, None)]:
            yield ok("copy", "COPY FROM STDIN works")
        else:
            yield fail("copy", f"2 rows sent, {found} arrived", "Is a proxy between? Go to the server directly.")
    finally:
        connection.rollback()


def _refusal(connection: sa.Connection, statement: str) -> str | None:
    """Why a statement is refused; None where it is not. Rolled back."""
    try:
        connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError as error:
        if not is_denied(error.orig):
            raise
        return str(error.orig).splitlines()[0]
    finally:
        connection.rollback()
    return None
