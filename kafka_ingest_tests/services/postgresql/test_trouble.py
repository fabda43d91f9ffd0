"""What a PostgreSQL refuses, says or does not say, as the errors and dead letters that a run goes by."""

from __future__ import annotations

import os
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from kafka_ingest.errors import (
    AccessDenied,
    ConfigError,
    DatabaseUnavailable,
    KafkaIngestError,
    SchemaMismatch,
    TransactionConflict,
)
from kafka_ingest.ledger.positions import lock_fences
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.testing.messages import Msg
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.services.postgresql.steps import at, execute
from kafka_ingest_tests.support.loads import P0, account, balances, event, names

pytestmark = pytest.mark.services


def test_a_run_that_dies_leaves_nothing_and_its_locks_go_with_it(target: Target) -> None:
    def die(step: str) -> None:
        if step == LoadStep.COMMIT:
            raise Crash

    with pytest.raises(Crash):
        target.load(at(0, account("k", 1), event("a")), at_step=die)
    assert (balances(target), names(target)) == ({}, [])
    target.load(at(0, account("k", 1), event("a")))
    assert (balances(target), names(target)) == ({"k": 1}, ["a"])


def test_rows_the_database_refuses_are_dead_letters_and_the_others_load(target: Target) -> None:
    raw = at(
        0, event("a", 13), event("b", code="x"), event("c", code="x"), account("k", 13), account("l", 1), event("d")
    )
    result = target.load(raw)
    assert (result.total("rows"), result.total("dead_letters")) == (3, 3)
    assert (names(target), balances(target)) == (["b", "d"], {"l": 1})
    errors = [error for (error,) in target.all("SELECT error FROM kafka_ingest_dead_letters ORDER BY kafka_offset")]
    assert ["no_thirteen" in errors[0], "23505" in errors[1], "no_thirteen_balance" in errors[2]] == [True] * 3


@pytest.mark.parametrize(("table", "loads"), [("t_event", event("a")), ("t_account", account("k", 1))])
def test_rows_that_a_trigger_swallows_are_no_rows(target: Target, table: str, loads: Msg) -> None:
    execute(
        target,
        "CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        f"CREATE TRIGGER swallow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()",
    )
    result = target.load(at(0, loads))
    assert (result.total("rows"), result.total("dead_letters")) == (0, 1)
    assert "trigger" in target.all("SELECT error FROM kafka_ingest_dead_letters")[0][0]


def failing(url: sa.URL) -> KafkaIngestError:
    sink = PostgreSQLSink(url)
    try:
        with pytest.raises(KafkaIngestError) as caught, sink.errors("connecting"), sink.engine.connect():
            pass
    finally:
        sink.close()
    return caught.value


def test_a_refused_sign_in_says_what_to_check_and_no_secret(server: LocalPostgreSQL, url: sa.URL) -> None:
    error = failing(url.set(password="geheim"))  # noqa: S106  no password of anything
    assert isinstance(error, AccessDenied)
    assert "password authentication failed" in str(error)
    assert "geheim" not in str(error)
    assert isinstance(failing(url.set(username="nobody")), AccessDenied)
    assert isinstance(failing(url.set(database="nowhere")), SchemaMismatch)
    assert isinstance(failing(url.set(port=1)), DatabaseUnavailable)
    role = f"r_{uuid.uuid4().hex[:8]}"
    server.run_as_administrator(f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 0")
    full = failing(url.set(username=role, password="p"))  # noqa: S106
    assert isinstance(full, DatabaseUnavailable)
    assert "too many connections for role" in str(full)


def test_its_own_client_signs_in_with_its_file_alone(server: LocalPostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    file = server.data_dir / "client.conf"
    assert server.client_command() == f"PGSERVICEFILE={file} psql service=kafka_ingest"
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("PGSERVICEFILE", str(file))  # libpq is what psql connects by
    with psycopg.connect("service=kafka_ingest") as connection:
        found = connection.execute("SELECT current_user, current_database()").fetchone()
        assert (found, connection.info.port) == (("kafka_ingest", "kafka_ingest"), server.port)


def test_a_database_that_does_not_hold_all_characters_is_refused(server: LocalPostgreSQL, url: sa.URL) -> None:
    name = f"l_{uuid.uuid4().hex[:8]}"
    server.run_as_administrator(
        f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C' LOCALE_PROVIDER libc"
    )
    with pytest.raises(ConfigError, match="encoding LATIN1"):
        PostgreSQLSink(url.set(database=name)).engine.connect()


@pytest.mark.parametrize(
    ("statement", "kind", "code"),
    [
        ("SELECT pg_sleep(30)", DatabaseUnavailable, "57014"),
        ("SELECT * FROM nothing_here", SchemaMismatch, "42P01"),
        ("SELECT nothing_here FROM t_event", SchemaMismatch, "42703"),
        ("SET transaction_read_only = on; DELETE FROM t_event", DatabaseUnavailable, "25006"),
        ("SELECT * FROM pg_authid", AccessDenied, "42501"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", DatabaseUnavailable, "57P01"),
    ],
)
def test_trouble_is_told_by_its_code(
    target: Target, url: sa.URL, statement: str, kind: type[Exception], code: str
) -> None:
    sink = PostgreSQLSink(url.update_query_dict({"read_timeout": "1"}))
    with pytest.raises(kind) as caught, sink.errors("trying"), sink.engine.connect() as connection:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    sink.close()
    assert code in str(caught.value)


def test_a_lock_is_waited_for_in_bounds_and_not_at_all_where_asked(target: Target, url: sa.URL) -> None:
    sink = PostgreSQLSink(url.update_query_dict({"options": "-c lock_timeout=200ms"}))
    with target.sink.engine.begin() as holder, sink.engine.connect() as other:
        lock_fences(holder, "mixed", [P0])
        with pytest.raises(TransactionConflict, match="55P03"), sink.errors("locking"):
            lock_fences(other, "mixed", [P0])
        other.rollback()
        with pytest.raises(sa.exc.DBAPIError) as caught:
            lock_fences(other, "mixed", [P0], waits=False)
        assert sink.is_locked(caught.value)
    sink.close()


def test_a_server_that_says_nothing_is_given_up_in_time(server: LocalPostgreSQL, url: sa.URL) -> None:
    sink = PostgreSQLSink(url.update_query_dict({"read_timeout": "1"}))
    with sink.engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable, match="no answer for"), sink.errors("asking"):
                connection.exec_driver_sql("SELECT 1")
            assert time.monotonic() - began < 4
        finally:
            os.kill(pid, signal.SIGCONT)
    sink.close()


def test_a_client_that_vanished_in_a_transaction_keeps_its_locks_only_for_a_while(target: Target, url: sa.URL) -> None:
    gone_away = PostgreSQLSink(url.update_query_dict({"options": "-c idle_in_transaction_session_timeout=300ms"}))
    with gone_away.engine.connect() as connection:
        lock_fences(connection, "mixed", [P0])
        target.load(at(0, event("a")))
        with pytest.raises(DatabaseUnavailable), gone_away.errors("going on"):
            connection.exec_driver_sql("SELECT 1")
    gone_away.close()


def test_only_one_prepares_tables_at_a_time(url: sa.URL) -> None:
    sinks = [PostgreSQLSink(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda sink: prepare_tables(sink, MIXED), sinks))
    with sinks[0].engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").scalar_one() == 0
    for sink in sinks:
        sink.close()
