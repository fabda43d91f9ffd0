"""One tree of errors, drawn where it is defined; every lower library's error has its place in it."""

from __future__ import annotations

import inspect
import pickle
import re
import sqlite3
from typing import Any

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
from kafka_ingest.slices import OffsetRange


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


NEWS = OffsetRange("news", 0, 2, 6)
VALUES: dict[str, Any] = {
    "stream": "news",
    "code": 1213,
    "setting": "group_id",
    "model": "News",
    "place": ("streams", 0, "topics"),
    "step": "translate",
    "table": "shop.news",
    "tables": ("news",),
    "statements": ("ALTER TABLE news ADD COLUMN a TEXT",),
    "range": NEWS,
    "ranges": (NEWS,),
    "next_offset": 1,
    "topics": ("news",),
    "topic": "news",
    "partition": 0,
    "position": 9,
    "end": 4,
    "dead_letters": 3,
    "messages": 100,
    "limit": 0.02,
    "counts": {"rows": 1, "absent": 2},
    "seconds": 60.0,
    "file": "/etc/passwd",
    "expected_cluster": "5L6g3nShT-eMCtK--X86sw",
    "found_cluster": "lkc-2v531",
    "expected_database": "ledger:5a3f",
    "found_database": "server:0123456789ab",
}
CLASSES = [getattr(errors, name) for name in ("KafkaIngestError", *drawn_tree())]


def made_of(kind: type[KafkaIngestError]) -> KafkaIngestError:
    """An error with a value for everything that its constructor takes."""
    names = [name for name in inspect.signature(kind).parameters if name != "message"]
    return kind("what happened", **{name: VALUES[name] for name in names})


@pytest.mark.parametrize("kind", CLASSES)
def test_what_an_error_is_made_with_are_its_attributes_and_its_values(kind: type[KafkaIngestError]) -> None:
    error = made_of(kind)
    taken = inspect.signature(kind).parameters.keys() - {"message"}
    assert error.values() == {name: VALUES[name] for name in taken}
    assert {name: getattr(error, name) for name in taken} == error.values()
    assert str(error) == "what happened"
    assert repr(error) == f"{kind.__name__}('what happened')"


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_comes_out_of_another_process_as_it_went_in(kind: type[KafkaIngestError]) -> None:
    error = made_of(kind)
    found = pickle.loads(pickle.dumps(error))  # noqa: S301  what was pickled here
    assert type(found) is kind
    assert (str(found), found.values(), vars(found)) == (str(error), error.values(), vars(error))


def test_an_error_of_another_package_with_a_constructor_of_its_own_is_pickled_too() -> None:
    found = pickle.loads(pickle.dumps(OtherError(7)))  # noqa: S301  what was pickled here
    assert (type(found), str(found), found.values()) == (OtherError, "seven is 7", {"seven": 7})


class OtherError(PermanentError):
    """As an installed sink may define one."""

    def __init__(self, seven: int) -> None:
        super().__init__(f"seven is {seven}")
        self.seven = seven


def test_what_an_error_does_not_know_is_not_among_its_values() -> None:
    assert errors.DataLoss("gone").values() == {}
    assert errors.OffsetGap("gap", next_offset=0).values() == {"next_offset": 0}
    if hasattr(errors.OffsetGap, "add_note"):  # Python 3.11
        error = errors.OffsetGap("gap")
        error.add_note("a note")
        assert error.values() == {}


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
    assert found.values() == {"code": code}


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
    assert found.values() == {"code": number}


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
    assert found.values() == {"code": errorname}
    assert "a secret value" not in str(found)


@pytest.mark.parametrize("url", ["mysql+pymysql://me:hunter2@127.0.0.1:1/db"])
def test_a_database_that_is_not_there_is_retryable_and_its_password_stays_here(url: str) -> None:
    sink: Sink = MySQLSink(sa.make_url(url))
    with pytest.raises(DatabaseUnavailable) as caught, sink.errors("connecting"), sink.engine.connect():
        pass
    assert "2003" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    sink.close()
