"""Which of our errors an error of PostgreSQL is, by its SQLSTATE (manual, "PostgreSQL Error Codes")."""

from __future__ import annotations

import re

import psycopg
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

# What the value of one row can bring about: data exceptions, integrity constraints (a child without its parent, a parent with
# children, a value no partition takes), WITH CHECK OPTION of a view, and what triggers say in PL/pgSQL.
_ROW_CLASSES = frozenset({"22", "23", "44", "P0"})
_ROW_CODES = frozenset({"54000"})  # a row, or its entry in an index, is too large for a page
_NO_ROW = frozenset(
    {
        "22P04",  # what COPY was sent is no CSV: our own fault
    }
)
TOO_LONG = "57014"  # statement_timeout, or a cancel
_LOCKED = "55P03"  # a lock is not available at once, or not within lock_timeout
# The server has ended the transaction, or would not wait longer, as another one wants the same rows. Never a fault of a row.
_CONFLICTS = frozenset({"40001", "40P01", _LOCKED})
_READ_ONLY = "25006"  # a standby, or a failover in progress
# Connections; disk full, memory, too many connections; cancelled, shutting down, starting up; the system around the server.
_RETRYABLE_CLASSES = frozenset({"08", "40", "53", "57", "58"})
_RETRYABLE = frozenset(
    {
        _READ_ONLY,
        "25P03",  # idle in a transaction for too long
        "25P04",  # the transaction took too long
        "55006",  # an object is in use
    }
)
_DENIED_CLASSES = frozenset({"28"})
_DENIED = frozenset({"42501"})
_NO_SCHEMA = "3F000"
_SCHEMA = frozenset(
    {
        "3D000", "3F000",  # no database, no schema
        "42P01", "42703", "42704",  # no table, no column, no type
        "42P10",  # no unique index on the business key
        "42804", "42883",  # a column has another type, for which there is no such operator
        "428C9",  # a generated column
        "42809",  # no table but something else
    }
)  # fmt: skip
# A connection that is refused has no SQLSTATE: libpq gives its text alone. These are the server's words in English (auth.c,
# postinit.c) and libpq's own; in another language such a refusal is retried, and its text says what it is.
_REFUSED_SIGN_IN = re.compile(
    r"(?P<denied>FATAL: +(?:\S+ authentication failed for user|no pg_hba\.conf entry|pg_hba\.conf rejects|"
    r"role .* (?:does not exist|is not permitted to log in)|permission denied for database|"
    r"connection requires a valid client certificate)|no password supplied|certificate verify failed|"
    r"server does not support SSL, but SSL was required|root certificate file .* does not exist|"
    r"server certificate for .* does not match host name)"
    r'|(?P<missing>FATAL: +database "[^"]*" does not exist)'
)
_SIGN_IN: dict[str, type[PermanentError]] = {"denied": AccessDenied, "missing": SchemaMismatch}
_CHECK_ACCOUNT = "Check the user, password and grants of KAFKA_INGEST_DATABASE_URL; see `kafka-ingest doctor`."
_ABORTED = "25P02"  # the transaction has failed before: what came first counts
_BAD_TEXT = "22021"
NO_NUL = "text in PostgreSQL cannot hold U+0000"


def sqlstate(error: BaseException | None) -> str | None:
    """The code of a driver's error; None for one that did not come from the server."""
    return error.sqlstate if isinstance(error, psycopg.Error) else None


def is_locked(error: BaseException | None) -> bool:
    """As `Sink.is_locked`."""
    return sqlstate(error) == _LOCKED


def is_denied(error: BaseException | None) -> bool:
    """Whether it is for want of a privilege, or of a schema to make a table in."""
    return sqlstate(error) in (*_DENIED, _NO_SCHEMA, _READ_ONLY)


def is_of_a_row(error: BaseException | None) -> bool:
    """Whether the data of one row have brought it about."""
    code = sqlstate(error)
    return code is not None and code not in _NO_ROW and (code[:2] in _ROW_CLASSES or code in _ROW_CODES)


def rejected(error: BaseException | None) -> RowsRejected:
    """The refusal of rows that such an error is."""
    text = _message(error)
    if sqlstate(error) == _BAD_TEXT:
        text += f": {NO_NUL}, nor what is not UTF-8"
    return RowsRejected(f"{text} (SQLSTATE {sqlstate(error)})")


def classify(error: sa.exc.SQLAlchemyError, doing: str) -> KafkaIngestError:
    """Our error for SQLAlchemy's, with the driver's inside."""
    error = _first(error)
    original = getattr(error, "orig", None)
    if isinstance(error, sa.exc.PendingRollbackError):
        return DatabaseUnavailable(f"{doing}: the connection was lost. It is retried.")
    code = sqlstate(original)
    if code is None:
        is_connection = isinstance(original, psycopg.OperationalError | psycopg.InterfaceError)
        text = f"{doing}: {_message(original) if original else error}"
        refusal = _REFUSED_SIGN_IN.search(text) if is_connection else None
        if refusal is not None:
            return _SIGN_IN[str(refusal.lastgroup)](f"{text}. {_CHECK_ACCOUNT}")
        return (DatabaseUnavailable if is_connection else PermanentError)(text)
    text = f"{doing}: {_message(original)} (SQLSTATE {code})"
    if code in _CONFLICTS:
        return TransactionConflict(f"{text}. Another transaction wants the same rows.", code=code)
    if code[:2] in _RETRYABLE_CLASSES or code in _RETRYABLE:
        return DatabaseUnavailable(f"{text}. It is retried; if it stays, run `kafka-ingest doctor`.", code=code)
    if code[:2] in _DENIED_CLASSES or code in _DENIED:
        return AccessDenied(f"{text}. {_CHECK_ACCOUNT}", code=code)
    if code in _SCHEMA:
        return SchemaMismatch(f"{text}. The database or a table is missing or was altered under us.", code=code)
    return PermanentError(text, code=code)


def _first(error: sa.exc.SQLAlchemyError) -> sa.exc.SQLAlchemyError:
    """The error that came first, where this one only follows from it: after an error the server refuses everything until the
    transaction is rolled back, and a lost connection cannot be used."""
    found, at = error, error.__context__
    while at is not None and _follows(found):
        if isinstance(at, sa.exc.SQLAlchemyError):
            found = at
        at = at.__context__
    return found


def _follows(error: sa.exc.SQLAlchemyError) -> bool:
    original = getattr(error, "orig", None)
    return isinstance(error, sa.exc.PendingRollbackError) or sqlstate(original) == _ABORTED


def _message(error: BaseException | None) -> str:
    """The server's own words, with its details, in one line."""
    if not isinstance(error, psycopg.Error) or error.diag.message_primary is None:
        return " ".join(str(error).split())
    parts = (error.diag.message_primary, error.diag.message_detail, error.diag.context)
    return " ".join("; ".join(part for part in parts if part).split())
