"""Which of our errors each of the server's codes is."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from kafka_ingest.errors import (
    AccessDenied,
    DatabaseUnavailable,
    KafkaIngestError,
    PermanentError,
    RetryableError,
    SchemaMismatch,
    TransactionConflict,
)
from kafka_ingest.sinks.postgresql.errors import classify, is_locked, is_of_a_row


def of(
    code: str | None, text: str = "words", kind: type[psycopg.Error] = psycopg.OperationalError
) -> sa.exc.DBAPIError:
    error = kind(text)
    error.sqlstate = code
    return sa.exc.DBAPIError("SELECT", None, error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("40001", TransactionConflict),
        ("40P01", TransactionConflict),
        ("55P03", TransactionConflict),
        ("08006", DatabaseUnavailable),
        ("25006", DatabaseUnavailable),
        ("25P03", DatabaseUnavailable),
        ("53100", DatabaseUnavailable),
        ("53300", DatabaseUnavailable),
        ("57014", DatabaseUnavailable),
        ("57P01", DatabaseUnavailable),
        ("57P03", DatabaseUnavailable),
        ("58030", DatabaseUnavailable),
        ("28P01", AccessDenied),
        ("28000", AccessDenied),
        ("42501", AccessDenied),
        ("3D000", SchemaMismatch),
        ("42P01", SchemaMismatch),
        ("42703", SchemaMismatch),
        ("42P10", SchemaMismatch),
        ("428C9", SchemaMismatch),
        ("42601", PermanentError),
        ("XX000", PermanentError),
    ],
)
def test_a_code_is_always_the_same_error(code: str, kind: type[KafkaIngestError]) -> None:
    found = classify(of(code), "loading")
    assert type(found) is kind
    assert str(found).startswith(f"loading: words (SQLSTATE {code})")


@pytest.mark.parametrize(
    "code", ["22001", "22003", "22021", "22P02", "23502", "23503", "23505", "23514", "44000", "54000", "P0001"]
)
def test_what_data_bring_about_is_a_rows(code: str) -> None:
    assert is_of_a_row(of(code).orig)


@pytest.mark.parametrize("code", ["22P04", "40001", "40P01", "42P01", "53100", "55P03", "57014", "25P02", None])
def test_what_is_nobodys_data_is_no_rows(code: str | None) -> None:
    assert not is_of_a_row(of(code).orig)


def test_a_lost_connection_has_no_code_and_is_retried() -> None:
    assert isinstance(classify(of(None, "server closed the connection"), "loading"), RetryableError)
    assert isinstance(classify(of(None, "closed", psycopg.InterfaceError), "loading"), RetryableError)
    assert type(classify(of(None, "bad", psycopg.ProgrammingError), "loading")) is PermanentError


def test_what_only_follows_from_a_deadlock_is_the_deadlock() -> None:
    follows = of("25P02")
    follows.__context__ = of("40P01")
    assert isinstance(classify(follows, "loading"), TransactionConflict)


def test_a_lock_that_is_not_there_at_once_is_told_from_the_rest() -> None:
    assert is_locked(of("55P03").orig)
    assert not is_locked(of("40P01").orig)
