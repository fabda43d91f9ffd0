"""One tree of errors, drawn where it is defined; every lower library's error has its place in it."""

from __future__ import annotations

import re
import sqlite3

import pymysql
import pytest
import sqlalchemy as sa
from confluent_kafka import KafkaError, KafkaException

from kafka_ingest import errors
from kafka_ingest.errors import (
    AccessDenied,
    ConfigError,
    DatabaseUnavailable,
    KafkaIngestError,
    KafkaUnavailable,
    PermanentError,
    RetryableError,
    SchemaMismatch,
    TransactionConflict,
)
from kafka_ingest.kafka.errors import kafka_error, kafka_errors
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink


def drawn_tree() -> dict[str, str]:
    """Class → parent, as the docstring of errors.py draws it."""
    parents: dict[str, str] = {}
    above = ["KafkaIngestError"]
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^( {4}[│├└─ ]*[├└]── )(\w+)", line)
        if found:
            depth = len(found[1]) // 4 - 1
            parents[found[2]] = above[depth - 1]
            above = [*above[:depth], found[2]]
    return parents


def test_the_tree_drawn_in_errors_py_is_the_tree_of_classes() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception) and value is not KafkaIngestError
    }
    assert drawn_tree() == {name: value.__bases__[0].__name__ for name, value in classes.items()}
    assert all(value.__doc__ for value in classes.values())


def test_every_error_is_either_retryable_or_permanent() -> None:
    for name in drawn_tree():
        assert issubclass(getattr(errors, name), RetryableError) != issubclass(getattr(errors, name), PermanentError)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (KafkaError._TRANSPORT, KafkaUnavailable),
        (KafkaError._ALL_BROKERS_DOWN, KafkaUnavailable),
        (KafkaError._TIMED_OUT, KafkaUnavailable),
        (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaUnavailable),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaUnavailable),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaUnavailable),
        (KafkaError._AUTHENTICATION, AccessDenied),
        (KafkaError.SASL_AUTHENTICATION_FAILED, AccessDenied),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError._SSL, AccessDenied),
        (KafkaError._INVALID_ARG, ConfigError),
        (KafkaError._CONFLICT, ConfigError),
        (KafkaError.UNKNOWN_MEMBER_ID, PermanentError),
        (KafkaError.NON_EMPTY_GROUP, PermanentError),
        (KafkaError.TOPIC_EXCEPTION, PermanentError),
        (KafkaError.OFFSET_METADATA_TOO_LARGE, PermanentError),
        (KafkaError.UNSUPPORTED_VERSION, PermanentError),
    ],
)
def test_kafka_errors_are_classified_by_code(code: int, expected: type[KafkaIngestError]) -> None:
    found = kafka_error(KafkaError(code), "listing topics")
    assert type(found) is expected
    assert str(found).startswith("listing topics: ")
    assert KafkaError(code).name() in str(found)


def test_a_live_member_of_the_group_is_named_as_the_trouble() -> None:
    found = kafka_error(KafkaError(KafkaError.NON_EMPTY_GROUP), "committing offsets of consumer group g")
    assert "Another consumer is a live member of this consumer group" in str(found)
    assert "group_id" in str(found)


def test_an_exception_of_librdkafka_becomes_ours_with_its_cause() -> None:
    with pytest.raises(KafkaUnavailable, match="doing it") as caught, kafka_errors("doing it"):
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))
    assert isinstance(caught.value.__cause__, KafkaException)


def mysql_error(number: int, text: str = "the server's words") -> sa.exc.DBAPIError:
    original = pymysql.err.OperationalError(number, text)
    return sa.exc.OperationalError("INSERT INTO t VALUES (%s)", ("a secret value",), original)


MYSQL = [
    *[(n, DatabaseUnavailable) for n in (1040, 1047, 1053, 1290, 1836, 1927, 2003, 2006, 2013, 4031)],
    *[(n, TransactionConflict) for n in (1020, 1205, 1213, 1305)],
    *[(n, AccessDenied) for n in (1044, 1045, 1142, 1227, 1698, 2026)],
    *[(n, SchemaMismatch) for n in (1049, 1054, 1146)],
    *[(n, PermanentError) for n in (1064, 1406, 3999)],
]


@pytest.mark.parametrize(("number", "expected"), MYSQL)
def test_mysql_errors_are_classified_by_number(number: int, expected: type[KafkaIngestError]) -> None:
    sink = MySQLSink(sa.make_url("mysql+pymysql://me:hunter2@h/db"))
    found = sink.classify_error(mysql_error(number), "loading x")
    assert type(found) is expected
    assert str(found).startswith(f"loading x: the server's words (error {number})")
    assert "a secret value" not in str(found)
    assert "hunter2" not in str(found)


def test_a_connection_closed_below_mysql_is_retryable() -> None:
    sink = MySQLSink(sa.make_url("mysql+pymysql://me:hunter2@h/db"))
    error = sa.exc.InterfaceError("SELECT 1", None, pymysql.err.InterfaceError(0, ""))
    assert type(sink.classify_error(error, "loading")) is DatabaseUnavailable


def sqlite_error(errorname: str, text: str) -> sa.exc.DBAPIError:
    original = sqlite3.OperationalError(text)
    original.sqlite_errorname = errorname
    return sa.exc.OperationalError("INSERT", ("a secret value",), original)


@pytest.mark.parametrize(
    ("errorname", "text", "expected"),
    [
        ("SQLITE_BUSY", "database is locked", DatabaseUnavailable),
        ("SQLITE_LOCKED", "database table is locked", DatabaseUnavailable),
        ("SQLITE_FULL", "database or disk is full", DatabaseUnavailable),
        ("SQLITE_IOERR_WRITE", "disk I/O error", DatabaseUnavailable),
        ("SQLITE_CANTOPEN", "unable to open database file", DatabaseUnavailable),
        ("SQLITE_ERROR", "no such column: x", SchemaMismatch),
        ("SQLITE_ERROR", "no such table: x", SchemaMismatch),
        ("SQLITE_ERROR", 'near "FORM": syntax error', PermanentError),
    ],
)
def test_sqlite_errors_are_classified(errorname: str, text: str, expected: type[KafkaIngestError]) -> None:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    found = sink.classify_error(sqlite_error(errorname, text), "loading x")
    assert type(found) is expected
    assert "a secret value" not in str(found)


@pytest.mark.parametrize("url", ["mysql+pymysql://me:hunter2@127.0.0.1:1/db"])
def test_a_database_that_is_not_there_is_retryable_and_its_password_stays_here(url: str) -> None:
    sink: Sink = MySQLSink(sa.make_url(url))
    with pytest.raises(DatabaseUnavailable) as caught, sink.errors("connecting"), sink.engine.connect():
        pass
    assert "2003" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    sink.close()
