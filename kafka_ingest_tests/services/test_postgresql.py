"""PostgreSQL, a real server: the same rows as elsewhere, writers of one key in any order, and nothing changed without a word."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import (
    AccessDenied,
    ConfigError,
    DatabaseUnavailable,
    KafkaIngestError,
    SchemaMismatch,
    TransactionConflict,
)
from kafka_ingest.findings import Finding
from kafka_ingest.ledger.positions import lock_fences
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.sinks.base import Needs
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables, tables_of
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, one, raw_slice
from kafka_ingest.testing.models import EVERYTHING, MIXED, Everything
from kafka_ingest.testing.target import Crash, Target
from kafka_ingest_tests.support.loads import P0, P1, account, balances, event, gone, names

pytestmark = pytest.mark.services

SECONDS = 20.0
EVERY_COLUMN = ("id", "note", "small", "number", "big", "ratio", "price", "flag", "data", "level", "at", "seen")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgreSQL]:
    found = LocalPostgreSQL.start("postgresql", tmp_path_factory.mktemp("postgresql"))
    yield found
    found.stop()


@pytest.fixture
def url(server: LocalPostgreSQL) -> Iterator[sa.URL]:
    """An empty database."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    yield sa.make_url(server.url(name))
    server.run_as_administrator(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def target(url: sa.URL) -> Iterator[Target]:
    yield from _target(url)


def _target(url: sa.URL) -> Iterator[Target]:
    found = Target(MIXED, PostgreSQLSink(url))
    pin(found, P0, P1)
    yield found
    found.sink.close()


def pin(target: Target, *partitions: TopicPartition) -> None:
    target.pin(dict.fromkeys(partitions, 0))


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def at(partition: int, *messages: Msg, start: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), start=start, partition=partition))


def t(seconds: int) -> int:
    return MORNING_MS + 1_000 * seconds


# --- the same rows as elsewhere ---------------------------------------------------------------------------------------

AWKWARD: list[dict[str, Any]] = [
    {"id": "plain", "note": "n", "small": -32768, "number": 2**31 - 1, "big": -(2**63), "ratio": 0.1, "price": 1.2345},
    {"id": "zero", "small": 0, "ratio": -0.0, "price": 0, "flag": False, "level": 0},
    {"id": "none"},
    {"id": "exp", "ratio": 1e308, "price": 12_345_678.0001, "big": 2**63 - 1, "flag": True},
    {"id": "tiny", "ratio": 5e-324},
    {"id": "third", "ratio": 1 / 3},
    {"id": "json", "data": {"b": [1, None, "x\ny", {"é": 1.10}], "a": 1e5}},
    {"id": "text", "data": "x"},
    {"id": "dates", "at": "2024-02-29 23:59:59.999999", "source": {"seen": "1000-01-01T00:00:00Z"}},
    {"id": "last", "at": "9999-12-31T23:59:59.999999Z"},
]
AWKWARD += [
    {"id": f"t{number}", "note": text}
    for number, text in enumerate(
        [
            "",
            " ",
            "a ",
            "NULL",
            "\\N",
            "\\.",
            "\n\\.\n",
            '"',
            "\r\n",
            "\t",
            "\x1d",
            "\x1d\x1f\x1d",
            "'; --",
            "%s %%",
            "naïve 中文 😀",
        ]
    )
]


def test_a_slice_gives_the_rows_that_it_gives_on_sqlite(url: sa.URL) -> None:
    found = []
    for sink in (PostgreSQLSink(url), SQLiteSink(sa.make_url("sqlite://"))):
        target = Target(EVERYTHING, sink)
        pin(target, TopicPartition("everything", 0))
        result = target.load(one(*({"type": "e", **fields} for fields in AWKWARD), topic="everything"))
        assert (result.total("rows"), result.total("dead_letters")) == (len(AWKWARD), 0)
        found.append([plain(row) for row in target.rows(Everything, *EVERY_COLUMN)])
        sink.close()
    assert found[0] == found[1]


def plain(row: Sequence[Any]) -> tuple[Any, ...]:
    """A value however its driver gives it: SQLite has no type for dates, decimals, booleans and JSON."""

    def one_value(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name in ("at", "seen"):
            return dt.datetime.fromisoformat(str(value))
        return Decimal(str(value)) if name == "price" else int(value) if name == "flag" else value

    return tuple(one_value(name, value) for name, value in zip(EVERY_COLUMN, row, strict=True))


def test_json_is_stored_to_the_letter(url: sa.URL) -> None:
    target = Target(EVERYTHING, PostgreSQLSink(url))
    pin(target, TopicPartition("everything", 0))
    texts = ['{"b": 1.10, "a": 1e400,  "b": 0.1}', "18446744073709551616.000", '"\\u0000"', "[]"]
    target.load(
        one(*(b'{"type": "e", "id": "x", "data": ' + text.encode() + b"}" for text in texts), topic="everything")
    )
    assert [data for (data,) in target.rows(Everything, "data")] == texts
    target.sink.close()


def test_text_that_cannot_be_stored_is_a_dead_letter_with_its_bytes(url: sa.URL) -> None:
    target = Target(EVERYTHING, PostgreSQLSink(url))
    pin(target, TopicPartition("everything", 0))
    bad = b'{"type": "e", "id": "x", "note": "a\\u0000b"}'
    result = target.load(one({"type": "e", "id": "a"}, bad, {"type": "e", "id": "b"}, topic="everything"))
    assert (result.total("rows"), result.total("dead_letters")) == (2, 1)
    assert target.dead_letters() == [("everything[0]@1", "database", "e", bad)]
    [(error,)] = target.all("SELECT error FROM kafka_ingest_dead_letters")
    assert "cannot hold U+0000" in error
    target.sink.close()


def test_keys_are_told_apart_by_case_accents_and_blanks(target: Target) -> None:
    spellings = ["a", "A", "a ", " a", "á", "a\u0301", "ａ", ""]
    target.load(at(0, *(account(key, number) for number, key in enumerate(spellings))))
    assert balances(target) == {key: number for number, key in enumerate(spellings)}
    target.load(at(0, gone("A"), start=len(spellings)))
    assert sorted(balances(target)) == sorted(set(spellings) - {"A"})


class Kinds(UpsertModel):
    __tablename__ = "t_kinds%"
    id: Mapped[int] = field(sa.BigInteger, primary_key=True)
    colour: Mapped[str | None] = field(sa.Enum("red", "it's", "50%"))
    body: Mapped[str | None] = field(sa.Text(4_000_000))
    data: Mapped[Any | None] = field(sa.JSON)
    at: Mapped[dt.datetime | None] = date_field()


KINDS = Stream(name="kinds", topics="kinds", routes={"kinds": Kinds}, route_by=RouteByTopic())


def test_enumerations_long_texts_and_names_with_a_percent_sign(url: sa.URL) -> None:
    target = Target(KINDS, PostgreSQLSink(url))
    pin(target, TopicPartition("kinds", 0))
    long = "长" * 100_000
    messages = [
        {"id": 1, "colour": "50%", "body": long},
        {"id": 2, "colour": "blue"},
        {"id": 1, "colour": "it's", "body": long},
    ]
    result = target.load(one(*messages, topic="kinds"))
    assert (result.total("rows"), result.total("dead_letters")) == (2, 1)
    assert target.all('SELECT id, colour, body FROM "t_kinds%%"') == [(1, "it's", long)]
    target.sink.close()


# --- writers of one key -----------------------------------------------------------------------------------------------


class Held:
    """A load in a thread of its own that stops before a step until it is let go."""

    def __init__(self, target: Target, raw: RawSlice, step: LoadStep) -> None:
        self._step = step
        self._reached, self._go = threading.Event(), threading.Event()
        self.result = ThreadPoolExecutor(1).submit(target.load, raw, run_id="held", at_step=self._at)
        assert self._reached.wait(SECONDS)

    def _at(self, step: str) -> None:
        if step == self._step:
            self._reached.set()
            assert self._go.wait(SECONDS)

    def let_go(self) -> None:
        self._go.set()
        self.result.result(SECONDS)


def both(target: Target, first: RawSlice, second: RawSlice) -> None:
    """`first` has written all its rows and is not committed as `second` comes, which has to wait for it."""
    held = Held(target, first, LoadStep.DEAD_LETTERS)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, second, run_id="other")
        wait_for_a_lock(target)
        assert not other.done()
        held.let_go()
        other.result(SECONDS)


def wait_for_a_lock(target: Target) -> None:
    deadline = time.monotonic() + SECONDS
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while target.all(query) == [(0,)]:
        assert time.monotonic() < deadline, "the second load does not wait for the first one"
        time.sleep(0.02)


@pytest.mark.parametrize("row_is_first", [True, False])
@pytest.mark.parametrize("is_deleted", [True, False])
@pytest.mark.parametrize("before", ["nothing", "a row", "a tombstone"])
def test_a_row_and_a_tombstone_of_one_key_leave_what_is_later(
    target: Target, row_is_first: bool, is_deleted: bool, before: str
) -> None:
    """Each order of arrival, each order of messages, whatever stands there before: neither is committed as the other comes."""
    if before != "nothing":
        target.load(at(0, account("k", 0, timestamp_ms=t(0)) if before == "a row" else gone("k", timestamp_ms=t(0))))
    start = 0 if before == "nothing" else 1
    row = at(0, account("k", 1, timestamp_ms=t(100)), start=start)
    tombstone = at(1, gone("k", timestamp_ms=t(200 if is_deleted else 50)))
    both(target, *((row, tombstone) if row_is_first else (tombstone, row)))
    assert balances(target) == ({} if is_deleted else {"k": 1})
    assert target.all("SELECT id, _kafka_offset FROM t_account_tombstones") == [("k", 0)]  # no claim is left


@pytest.mark.parametrize("first_is_later", [True, False])
def test_a_new_key_of_two_partitions_keeps_the_later_message(target: Target, first_is_later: bool) -> None:
    one_time, other_time = (t(200), t(100)) if first_is_later else (t(100), t(200))
    both(target, at(0, account("k", 1, timestamp_ms=one_time)), at(1, account("k", 2, timestamp_ms=other_time)))
    assert balances(target) == {"k": 1 if first_is_later else 2}
    assert target.dead_letters() == []


def test_many_keys_written_from_both_sides_at_once_keep_the_later_messages(target: Target) -> None:
    keys = [f"k{number}" for number in range(300)]
    rounds = 6

    def side(partition: int) -> None:
        order = keys if partition else keys[::-1]
        for number in range(rounds):
            stamp = t(10 * number + (partition + number) % 2)
            rows = [account(key, 100 * partition + number, timestamp_ms=stamp) for key in order]
            deletes = [gone(key, timestamp_ms=t(10 * number + 2)) for key in keys[number::7]]
            start = 400 * number
            part = Part([*rows, *deletes], partition=partition, start=start, end=start + 400)
            target.load(raw_slice(part), run_id=f"p{partition}")

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(side, 0), pool.submit(side, 1)]:
            each.result(120)
    # In the last round, which has an odd number, partition 0's rows are later, and both sides' tombstones later still.
    assert balances(target) == {key: rounds - 1 for key in keys if key not in keys[rounds - 1 :: 7]}
    assert target.all("SELECT count(*) FROM t_account_tombstones WHERE _kafka_offset < 0") == [(0,)]


@pytest.mark.parametrize("order", [("a", "B"), ("B", "a")])
def test_topics_of_one_time_are_compared_by_code_point(url: sa.URL, order: tuple[str, str]) -> None:
    """In English `a` comes before `B`; by code point, as pandas compares, after it."""
    stream = Stream(name="mixed", topics=("a", "B"), routes=dict(MIXED.routes), route_by=MIXED.route_by)
    target = Target(stream, PostgreSQLSink(url))
    assert target.all("SELECT 'a' < 'B'") == [(True,)], "this server would not tell the difference"
    pin(target, *(TopicPartition(topic, 0) for topic in order))
    for topic in order:
        target.load(raw_slice(Part([account("k", ord(topic), timestamp_ms=t(1))], topic=topic)))
    assert balances(target) == {"k": ord("a")}
    target.sink.close()


# --- trouble ----------------------------------------------------------------------------------------------------------


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


# --- what the doctor says ---------------------------------------------------------------------------------------------


def findings(url: sa.URL, *, makes_tables: bool = False, adds_columns: bool = False) -> dict[str, Finding]:
    sink = PostgreSQLSink(url)
    try:
        with sink.engine.connect() as connection:
            needs = Needs(makes_tables, adds_columns, [*tables_of(MIXED), *METADATA.sorted_tables])
            return {each.check: each for each in sink.examine(connection, needs)}
    finally:
        sink.close()


def catalogue(target: Target) -> list[tuple[Any, ...]]:
    return target.all("SELECT relname FROM pg_class WHERE relname LIKE '%%doctor%%'")


def test_a_server_that_has_all_a_run_needs_is_fine_and_nothing_is_left_behind(target: Target, url: sa.URL) -> None:
    target.load(at(0, event("a")))
    assert {each.verdict for each in findings(url, makes_tables=True, adds_columns=True).values()} == {"ok"}
    assert catalogue(target) == []


def test_what_is_not_granted_is_named_with_the_statement_that_grants_it(
    target: Target, url: sa.URL, server: LocalPostgreSQL
) -> None:
    role, database = f"r_{uuid.uuid4().hex[:8]}", url.database
    server.run_as_administrator(f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 5")
    server.run_as_administrator(f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC")
    execute(
        target,
        f"GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT DELETE ON t_event TO {role}",
        "ALTER TABLE t_account ENABLE ROW LEVEL SECURITY",
    )
    found = findings(url.set(username=role, password="p"), makes_tables=True, adds_columns=True)  # noqa: S106
    assert "DELETE ON t_account" in found["privileges"].detail
    assert "USAGE ON SEQUENCE kafka_ingest_batches_id_seq" in found["privileges"].detail
    assert "t_event" not in found["privileges"].detail
    assert "GRANT DELETE ON t_account TO this user" in str(found["privileges"].fix)
    failed = {check for check, each in found.items() if each.verdict == "fail"}
    wanted = {"privileges", "privileges to make tables", "privileges to add columns", "row security", "staging tables"}
    assert failed == wanted
    assert found["connections"].verdict == "warn"
    assert findings(url.set(username=role, password="p"))["privileges to make tables"].verdict == "ok"  # noqa: S106
    assert catalogue(target) == []


def test_a_database_that_takes_no_writes_is_told(target: Target, url: sa.URL, server: LocalPostgreSQL) -> None:
    server.run_as_administrator(f"ALTER DATABASE {url.database} SET default_transaction_read_only = on")
    found = findings(url)["writable"]
    assert (found.verdict, found.detail) == ("fail", "default_transaction_read_only is on")


def test_counting_that_takes_too_long_is_an_estimate(target: Target) -> None:
    target.load(at(0, event("a"), event("b")))
    table = MIXED.routes["event"].__table__
    assert isinstance(table, sa.Table)
    with target.sink.engine.connect() as connection:
        assert target.sink.count_rows(connection, table, seconds=5) == (2, True)
        before = connection.exec_driver_sql("SHOW statement_timeout").scalar_one()
    execute(target, "ANALYZE t_event")
    with target.sink.engine.begin() as holder, target.sink.engine.connect() as connection:
        holder.exec_driver_sql("LOCK TABLE t_event")
        assert target.sink.count_rows(connection, table, seconds=0.2) == (2, False)
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == before


# --- tables that were there before us ---------------------------------------------------------------------------------


class Fitted(AppendModel):
    """A column of each kind that a table may hold differently."""

    __tablename__ = "pg_fitted"
    code: Mapped[str | None] = field(sa.String(20))
    note: Mapped[str | None] = field(sa.Text)
    amount: Mapped[int | None] = field(sa.Integer)
    big: Mapped[int | None] = field(sa.BigInteger)
    price: Mapped[Decimal | None] = field(sa.Numeric(12, 4))
    ratio: Mapped[float | None] = field(sa.Float)
    flag: Mapped[bool | None] = field(sa.Boolean)
    data: Mapped[Any | None] = field(sa.JSON)
    colour: Mapped[str | None] = field(sa.Enum("red", "it's"))
    at: Mapped[dt.datetime | None] = date_field()
    must: Mapped[int] = field(sa.Integer, default=7)


class Keyed(UpsertModel):
    __tablename__ = "pg_fitted_keys"
    delete_on_tombstone = True
    id: Mapped[str] = field(sa.String(20), primary_key=True)
    amount: Mapped[int | None] = field(sa.Integer)


FITTED = Stream(
    name="pg_fitted", topics=("pg_fitted", "keys"), route_by=RouteByTopic(), routes={"pg_fitted": Fitted, "keys": Keyed}
)


@pytest.fixture
def pg_fitted(url: sa.URL) -> Iterator[Target]:
    found = Target(FITTED, PostgreSQLSink(url))
    pin(found, TopicPartition("pg_fitted", 0), TopicPartition("keys", 0))
    yield found
    found.sink.close()


def refusal(target: Target) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, FITTED)
    return str(caught.value)


def mend(target: Target, text: str) -> None:
    """As a person does who copies the statements."""
    execute(target, *(line.strip(" ;") for line in text.splitlines() if line.strip().startswith("ALTER TABLE")))
    prepare_tables(target.sink, FITTED)


LONG = "x" * 60_000
NEW_YEARS_EVE = dt.datetime(2024, 12, 31, 23, 59, 59, 700_000)

# What the table has instead, a part of the problem's text, the field sent, and the value that has to come back.
CHANGING: list[tuple[str, str, str, Any, Any]] = [
    ("at TYPE timestamp(0)", "would be rounded", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("at TYPE date", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("at TYPE varchar(30)", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("ratio TYPE real", "16777217 to 16777216", "ratio", 16_777_217.0, 16_777_217.0),
    ("ratio TYPE numeric(20,2)", "number would be rounded", "ratio", 0.125, 0.125),
    ("code TYPE char(20)", "blanks at the end", "code", "a  ", "a  "),
    ("code TYPE integer USING 0", "'0930' as 930", "code", "0930", "0930"),
    ("code TYPE date USING NULL", "'240501' as 2024-05-01", "code", "240501", "240501"),
    ("code TYPE varchar(10)", "10 characters", "code", "x" * 20, "x" * 20),
    ("code TYPE uuid USING NULL", "kept as something else", "code", "x", "x"),
    ("code TYPE name", "kept as something else", "code", "x" * 20, "x" * 20),
    ("note TYPE varchar(1000)", "1000 characters", "note", LONG, LONG),
    ("amount TYPE smallint", "-32768 to 32767 only", "amount", 40_000, 40_000),
    ("amount TYPE numeric", "kept as something else", "amount", 7, 7),
    ("amount TYPE text", "kept as something else", "amount", 7, 7),
    ("big TYPE double precision", "kept as something else", "big", 2**62 + 1, 2**62 + 1),
    ("price TYPE numeric(12,2)", "rounded to 2", "price", 1.2345, Decimal("1.2345")),
    ("price TYPE numeric(10,4)", "6 digits fit before", "price", 12_345_678.5, Decimal("12345678.5")),
    ("price TYPE double precision", "decimals would be rounded", "price", 0.1, Decimal("0.1")),
    ("flag TYPE varchar(5)", "kept as something else", "flag", True, True),
    ("data TYPE text", "JSON would be", "data", {"a": LONG}, {"a": LONG}),
    ("colour TYPE varchar(3)", "3 characters", "colour", "it's", "it's"),
    ("code SET NOT NULL", "NOT NULL, and may be missing", "code", None, None),
]


@pytest.mark.parametrize(("column", "problem", "name", "sent", "expected"), CHANGING, ids=[c[0] for c in CHANGING])
def test_a_column_that_would_change_a_value_is_refused_and_right_after_the_statement_given(
    pg_fitted: Target, column: str, problem: str, name: str, sent: Any, expected: Any
) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted ALTER COLUMN {column}")
    text = refusal(pg_fitted)
    assert f"column {name} is" in text
    assert problem in text
    mend(pg_fitted, text)
    result = pg_fitted.load(raw_slice(Part([Msg({name: sent})], topic="pg_fitted")))
    assert result.total("rows") == 1
    [(found,)] = pg_fitted.all(f"SELECT {name} FROM pg_fitted")
    assert (json.loads(found) if name == "data" else found) == expected


WIDER = [
    "ALTER COLUMN code TYPE varchar(100)", "ALTER COLUMN code TYPE text", "ALTER COLUMN code SET DEFAULT 'x'",
    "ALTER COLUMN amount TYPE bigint", "ALTER COLUMN price TYPE numeric(20,8)", "ALTER COLUMN price TYPE numeric",
    "ALTER COLUMN data TYPE jsonb", "ALTER COLUMN at TYPE timestamptz", "ALTER COLUMN colour TYPE text",
    "ALTER COLUMN must DROP NOT NULL", "ADD COLUMN seen timestamptz DEFAULT now() NOT NULL", "ADD COLUMN more text",
    "ADD COLUMN twice bigint GENERATED ALWAYS AS (amount::bigint * 2) STORED", "ADD COLUMN kind integer NOT NULL DEFAULT 0",
    "ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY", "ALTER COLUMN _kafka_topic TYPE varchar(249)",
    'ALTER COLUMN code TYPE varchar(20) COLLATE "C"',
]  # fmt: skip


@pytest.mark.parametrize("alteration", WIDER)
def test_a_table_that_holds_more_than_the_model_asks_for_is_right(pg_fitted: Target, alteration: str) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted {alteration}")
    prepare_tables(pg_fitted.sink, FITTED)
    message = {
        "code": "a ", "note": "n", "amount": 2**31 - 1, "big": 2**63 - 1, "price": 1.2345, "flag": True, "colour": "it's",
        "data": {"a": 1.10}, "at": "2024-12-31T23:59:59.7Z", "must": 1,
    }  # fmt: skip
    pg_fitted.load(raw_slice(Part([Msg(message)], topic="pg_fitted")))
    found = pg_fitted.all(
        "SELECT code, note, amount, big, price, flag, colour, data->>'a', at::timestamp, must FROM pg_fitted"
    )
    assert found == [("a ", "n", 2**31 - 1, 2**63 - 1, Decimal("1.2345"), True, "it's", "1.1", NEW_YEARS_EVE, 1)]


KEY = "_kafka_topic, _kafka_partition, _kafka_offset"
UNFIT: list[tuple[str, str]] = [
    ("ADD COLUMN owner integer NOT NULL", "column owner is not in the model"),
    ("DROP COLUMN amount, ADD COLUMN amount integer GENERATED ALWAYS AS (1) STORED", "column amount is generated"),
    ("DROP COLUMN must, ADD COLUMN must integer GENERATED ALWAYS AS IDENTITY", "GENERATED ALWAYS AS IDENTITY"),
    ("SET UNLOGGED", "it is UNLOGGED"),
    ("DROP CONSTRAINT pg_fitted_pkey", "has no primary key"),
    ("DROP CONSTRAINT pg_fitted_pkey, ADD PRIMARY KEY (_kafka_offset)", "primary key is (_kafka_offset)"),
    (f"DROP CONSTRAINT pg_fitted_pkey, ADD CONSTRAINT own PRIMARY KEY ({KEY}, must)", "primary key is"),
    (f"DROP CONSTRAINT pg_fitted_pkey, ADD PRIMARY KEY ({KEY}) DEFERRABLE", "DEFERRABLE"),
]


@pytest.mark.parametrize(("alteration", "problem"), UNFIT, ids=[u[0] for u in UNFIT])
def test_a_table_that_would_lose_or_refuse_rows_is_refused_and_right_after_the_statements_given(
    pg_fitted: Target, alteration: str, problem: str
) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted {alteration}")
    text = refusal(pg_fitted)
    assert problem in text
    mend(pg_fitted, text)
    pg_fitted.load(raw_slice(Part([Msg({"amount": 5, "must": 0}), Msg({"amount": 6, "must": 1})], topic="pg_fitted")))
    assert pg_fitted.all("SELECT amount, must FROM pg_fitted ORDER BY _kafka_offset") == [(5, 0), (6, 1)]


@pytest.mark.parametrize("table", ["pg_fitted_keys", "pg_fitted_keys_tombstones"])
def test_a_text_key_that_takes_spellings_for_one_is_refused_also_in_the_table_of_tombstones(
    pg_fitted: Target, table: str
) -> None:
    execute(
        pg_fitted,
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        f"ALTER TABLE {table} ALTER COLUMN id TYPE varchar(30) COLLATE loose",
    )
    text = refusal(pg_fitted)
    assert "collation loose" in text
    assert f"table {table}:" in text
    mend(pg_fitted, text)
    spellings = ["a", "A", "a ", "á"]
    pg_fitted.load(raw_slice(Part([Msg({"id": k, "amount": n}) for n, k in enumerate(spellings)], topic="keys")))
    assert sorted(pg_fitted.all("SELECT id, amount FROM pg_fitted_keys")) == sorted(
        zip(spellings, range(4), strict=True)
    )
    pg_fitted.load(raw_slice(Part([Msg(None, key=b'"A"')], topic="keys", start=4)))
    assert pg_fitted.all("SELECT COUNT(*) FROM pg_fitted_keys") == [(3,)]


def test_a_table_altered_between_two_loads_of_one_connection_is_staged_as_it_is_now(pg_fitted: Target) -> None:
    pg_fitted.load(raw_slice(Part([Msg({"id": "a", "amount": 1})], topic="keys")))
    execute(pg_fitted, "ALTER TABLE pg_fitted_keys ALTER COLUMN id TYPE varchar(40), ALTER COLUMN amount TYPE bigint")
    prepare_tables(pg_fitted.sink, FITTED)
    pg_fitted.load(
        raw_slice(Part([Msg({"id": "a", "amount": 2}), Msg({"id": "b", "amount": 3})], topic="keys", start=1))
    )
    assert sorted(pg_fitted.all("SELECT id, amount FROM pg_fitted_keys")) == [("a", 2), ("b", 3)]


def test_a_name_the_server_would_cut_is_refused(url: sa.URL) -> None:
    class Long(AppendModel):
        __tablename__ = "t_" + "long" * 16
        name: Mapped[str] = field(sa.String(8))

    sink = PostgreSQLSink(url)
    with pytest.raises(ConfigError, match="more than the 63 bytes"):
        prepare_tables(sink, Stream(name="long", topics="long", routes={"l": Long}))
    sink.close()


# --- the local server -------------------------------------------------------------------------------------------------


def processes_of(folder: Path) -> list[str]:
    """Command lines that name the folder, and processes that are in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in command or str(folder) in place:
            found.append(command)
    return found


def connect(server: LocalPostgreSQL) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(server.url().replace("+psycopg", ""), autocommit=True)


def test_a_local_server_keeps_its_port_and_what_was_committed_and_leaves_no_process(tmp_path: Path) -> None:
    server = LocalPostgreSQL.start("postgresql", tmp_path, options={"max_connections": "20"})
    try:
        port = server.port
        with connect(server) as connection:
            connection.execute("CREATE TABLE kept (n int)")
            connection.execute("INSERT INTO kept VALUES (1)")
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
            assert connection.execute("SHOW max_connections").fetchone() == ("20",)
        again = LocalPostgreSQL.start("postgresql", tmp_path, options={"max_connections": "20"})
        assert (again.pid, again.port) == (server.pid, port)
        server.kill()
        assert processes_of(tmp_path) == []
        # By now the number that the server's own pid file holds may be another process's.
        stale = tmp_path / "data" / "postmaster.pid"
        stale.write_text(stale.read_text().replace(str(server.pid), str(os.getpid()), 1))
        server = LocalPostgreSQL.start("postgresql", tmp_path)
        assert server.port == port
        with connect(server) as connection:
            assert connection.execute("SELECT n FROM kept").fetchall() == [(1,)]
            began = time.monotonic()
            server.stop()  # though somebody is connected
            assert time.monotonic() - began < 10
        assert processes_of(tmp_path) == []
        assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    finally:
        server.stop()


def test_a_local_server_listens_on_loopback_only_and_asks_for_the_password(server: LocalPostgreSQL) -> None:
    sockets = Path("/proc/net/unix").read_text().splitlines()
    assert not [line for line in sockets if f".s.PGSQL.{server.port}" in line]
    with connect(server) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
    for user in ("postgres", "kafka_ingest"):
        with pytest.raises(psycopg.OperationalError, match=r"no password supplied|authentication failed"):
            psycopg.connect(host="127.0.0.1", port=server.port, user=user, dbname="postgres")


def test_a_wrong_parameter_fails_with_the_servers_own_words(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="unrecognized configuration parameter"):
        LocalPostgreSQL.start("postgresql", tmp_path, options={"no_such_thing": "1"})
    assert processes_of(tmp_path) == []
