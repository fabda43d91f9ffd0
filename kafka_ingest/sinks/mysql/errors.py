"""Errors of MySQL and MariaDB by their numbers: what is a row's, what passes, what a person has to see to."""

from __future__ import annotations

import pymysql
import sqlalchemy as sa

from kafka_ingest.errors import (
    AccessDenied,
    DatabaseUnavailable,
    KafkaIngestError,
    PermanentError,
    SchemaMismatch,
    TransactionConflict,
)
from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.mysql.merge import DuplicateKey
from kafka_ingest.sinks.mysql.tls import tls_refusal

# Error numbers: MySQL Error Message Reference; MariaDB shares them below 1900 and has its own from 1900 and 4000 on.
# What the value of one row can bring about. LOAD DATA makes a warning of each, so all but SCHEMA are a row's there.
ROW_ERRORS = frozenset(
    {
        1022,  # duplicate key on write
        1048,  # column cannot be NULL
        1062,  # duplicate entry
        1118,  # the row is too large for a page
        1153,  # packet larger than max_allowed_packet: one row of a statement
        1216, 1452,  # foreign key, child row
        1217, 1451,  # foreign key, parent row: a tombstone for a row that others refer to
        1264,  # out of range
        1265,  # data truncated
        1292,  # incorrect datetime value
        1300,  # invalid character string
        1365, 1411, 1441, 1690,  # in a generated column: division by 0, wrong value, out of range
        1366, 1367,  # incorrect value for column
        1406,  # data too long
        1526,  # no partition for the value
        1586,  # duplicate entry, with the key's name
        1644,  # SIGNAL from a trigger
        3140, 3141, 3150, 3151, 3157,  # JSON: invalid, too large, a name too long, nested too deep
        3156, 3751, 3903, 3904, 3905, 3906, 3907, 3908,  # JSON or text that an index over an expression does not take
        3819, 4025,  # check constraint (MySQL, MariaDB)
    }
)  # fmt: skip
_DUPLICATE_ENTRY = frozenset({1062, 1586})
_DATA_TOO_LONG = 1406
_LONGER = "; a TEXT or BLOB holds 65,535 bytes, a LONGTEXT or LONGBLOB 4 GiB"
LOCKED = frozenset({3572, 1205})  # NOWAIT on MySQL, and on MariaDB
# The server has ended the transaction, or would not wait longer, as another one wants the same rows. Never a fault of a row.
_CONFLICTS = frozenset(
    {
        1020,  # record has changed since it was read (MariaDB, innodb_snapshot_isolation)
        1205,  # lock wait timeout
        1213,  # deadlock
        1467,  # a deadlock where AUTO_INCREMENT is waited for (MDEV-33593; innodb_autoinc_lock_mode=1)
        1305,  # a savepoint is gone: the server has rolled the whole transaction back
    }
)
_RETRYABLE = frozenset(
    {
        1021,  # disk full
        1040,  # too many connections
        1041,  # out of memory
        1047,  # WSREP has not yet prepared node (MariaDB Galera, while a node joins)
        1053,  # server shutdown in progress
        1077,  # normal shutdown
        1080,
        1114,  # table is full (temporary space, usually)
        1129,  # host is blocked
        1158, 1159, 1160, 1161,  # network packets
        1180,  # error during commit
        1203, 1226,  # too many connections of this user
        1290,  # read-only (failover in progress)
        1317,  # query interrupted
        1412,  # table definition has changed
        1615,  # prepared statement needs to be re-prepared
        1792,  # read-only transaction
        1836,  # read-only mode
        1927,  # connection was killed (MariaDB)
        2002, 2003, 2004, 2005, 2006, 2012, 2013, 2014, 2055,  # connection trouble (client errors)
        3024,  # execution time exceeded
        3100,  # error on observer while running replication hook
        4031,  # disconnected for inactivity
    }
)  # fmt: skip
_DENIED = frozenset({1044, 1045, 1142, 1143, 1227, 1370, 1698, 1820, 1862, 2026, 2059, 2061, 3118, 3159, 4151})
# No database, no column, number of columns, no table, no view, no default for a column nobody writes.
SCHEMA = frozenset({1049, 1054, 1136, 1146, 1051, 1176, 1347, 1356, 1364})
# A statement took longer than it may (MySQL, a kill, MariaDB).
TOO_LONG = frozenset({3024, 1317, 1969})
# The server or its configuration forbids LOCAL INFILE.
NO_LOCAL_INFILE = frozenset({1148, 2068, 3948, 3950, 4166})


def classified(error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
    """By the numbers above; a refused certificate by the error's cause, as its number is that of a lost connection."""
    error = _first(error)
    original = getattr(error, "orig", None)
    number = error_number(original)
    if isinstance(error, sa.exc.PendingRollbackError):
        return DatabaseUnavailable(f"{doing}: the connection was lost. It is retried.")
    if number is None:
        kind = DatabaseUnavailable if isinstance(original, pymysql.err.InterfaceError) else PermanentError
        return kind(f"{doing}: {type(error).__name__}: {original or error}")
    text = f"{doing}: {error_text(original)} (error {number})"
    refused = tls_refusal(original)
    if refused is not None:
        return AccessDenied(
            f"{text}. TLS refused a certificate; check the ssl_ options of KAFKA_INGEST_DATABASE_URL, and that the "
            "certificates are for this host and user and not expired.",
            code=number,
        )
    if number in _CONFLICTS:
        return TransactionConflict(f"{text}. Another transaction wants the same rows.", code=number)
    if number in _RETRYABLE:
        return DatabaseUnavailable(f"{text}. It is retried; if it stays, run `kafka-ingest doctor`.", code=number)
    if number in _DENIED:
        return AccessDenied(
            f"{text}. Check the user, password and grants of KAFKA_INGEST_DATABASE_URL; see `kafka-ingest doctor`.",
            code=number,
        )
    if number in SCHEMA:
        return SchemaMismatch(f"{text}. The database or a table is missing or was altered under us.", code=number)
    return PermanentError(text, code=number)


def _first(error: sa.exc.SQLAlchemyError) -> sa.exc.SQLAlchemyError:
    """The error that came first, where this one only follows from it: a savepoint cannot be rolled back when a deadlock has
    ended its transaction (InnoDB rolls all of it back), and a lost connection cannot be used."""
    found, at = error, error.__context__
    while at is not None and (
        isinstance(found, sa.exc.PendingRollbackError) or error_number(getattr(found, "orig", None)) == 1305
    ):
        if isinstance(at, sa.exc.SQLAlchemyError):
            found = at
        at = at.__context__
    return found


def rejected(error: BaseException | None) -> RowsRejected:
    kind = DuplicateKey if error_number(error) in _DUPLICATE_ENTRY else RowsRejected
    advice = _LONGER if error_number(error) == _DATA_TOO_LONG else ""
    return kind(f"{error_text(error)} (error {error_number(error)}){advice}")


def error_number(error: BaseException | None) -> int | None:
    number = error.args[0] if error is not None and error.args else None
    return number if isinstance(number, int) and number else None


def error_text(error: BaseException | None) -> str:
    return str(error.args[1]) if error is not None and len(error.args) > 1 else str(error)
