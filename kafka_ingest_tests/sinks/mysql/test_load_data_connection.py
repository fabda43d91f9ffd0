"""A server that asks for a file gets the buffer that was offered, once, and nothing else whatever it does."""

from __future__ import annotations

import re
from typing import Any

import pymysql
import pytest
import sqlalchemy as sa
from pymysql.connections import Connection

from kafka_ingest.errors import HostileServer
from kafka_ingest.sinks.mysql.load_data_connection import FILE, OfferingConnection
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest_tests.support.mysql_server import ERROR, OK, OK_AND_WARNED, Answer, Server, ask_for

LOAD = f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE t"
PAYLOAD = memoryview(b"1,2\n" * 300_000)  # more than two packets


def asks_for_what_was_offered(statement: str) -> bytes:
    found = re.search(r"INFILE '([^']+)'", statement)
    return ask_for(found[1].encode()) if found else OK


def asks_for_passwords(_statement: str) -> bytes:
    return ask_for(b"/etc/passwd")


@pytest.fixture(params=["ok", "error", "close"])
def then(request: pytest.FixtureRequest) -> str:
    """What a hostile server does after it was given nothing."""
    return str(request.param)


def connect(server: Server) -> OfferingConnection:
    return OfferingConnection(host="127.0.0.1", port=server.port, user="u", password="p", read_timeout=5)  # noqa: S106


def test_the_buffer_offered_is_served_byte_for_byte_under_a_name_that_cannot_be_guessed() -> None:
    with Server(asks_for_what_was_offered) as server:
        connection = connect(server)
        assert connection.load_local(LOAD, PAYLOAD) == (0, 0)
        assert connection.load_local(LOAD, memoryview(b"")) == (0, 0)
        connection.close()
    assert b"".join(server.received) == bytes(PAYLOAD)
    offered = [re.search(r"INFILE '(kafka_ingest_[0-9a-f]{16})'", s) for s in server.statements if "INFILE" in s]
    assert len({found[1] for found in offered if found}) == 2


def test_a_server_that_asks_for_another_file_gets_nothing_whatever_it_answers_then(then: str) -> None:
    with Server(asks_for_passwords, then) as server:
        connection = connect(server)
        with pytest.raises(
            HostileServer, match="asked for the file '/etc/passwd', which was not offered; it got nothing"
        ):
            connection.load_local(LOAD, PAYLOAD)
        assert not connection.open
    assert server.received == []


def test_a_server_that_answers_a_plain_query_with_a_request_for_a_file_gets_nothing(then: str) -> None:
    with Server(asks_for_passwords, then) as server:
        connection = connect(server)
        with pytest.raises(HostileServer, match="/etc/passwd"), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert server.received == []


def asks_again() -> Answer:
    """Asks for the offered name, and then, in answer to the next query, for the same name again."""
    names: list[bytes] = []

    def answer(statement: str) -> bytes:
        packet = asks_for_what_was_offered(statement)
        if packet != OK:
            names.append(packet)
        return names[-1]

    return answer


def test_an_offer_is_good_for_one_time_only() -> None:
    with Server(asks_again()) as server:
        connection = connect(server)
        connection.load_local(LOAD, memoryview(b"once\n"))
        with pytest.raises(HostileServer), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert server.received == [b"once\n"]


def test_an_offer_is_not_served_again_as_another_result_of_its_own_statement() -> None:
    with Server(asks_for_what_was_offered, "more") as server:
        connection = connect(server)
        with pytest.raises(HostileServer):
            connection.load_local(LOAD, memoryview(b"once\n"))
    assert server.received == [b"once\n"]


def test_an_error_of_the_statement_itself_is_the_drivers_and_takes_the_offer_back() -> None:
    with Server(lambda _statement: ERROR) as server:
        connection = connect(server)
        with pytest.raises(pymysql.err.ProgrammingError, match="you have an error"):
            connection.load_local(LOAD, PAYLOAD)
        assert connection.take_offer(b"anything").nbytes == 0
        connection.close()
    assert server.received == []


def test_the_sink_lets_a_hostile_server_be_called_one() -> None:
    with Server(asks_for_passwords) as server:
        sink = MySQLSink(sa.make_url(f"mysql+pymysql://u:hunter2@127.0.0.1:{server.port}/db"))
        with pytest.raises(HostileServer) as caught, sink.errors("connecting"), sink.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        assert "hunter2" not in str(caught.value)
        sink.close()
    assert server.received == []


def test_connections_without_a_word_on_tls_share_a_context_that_is_as_the_drivers() -> None:
    kinds: tuple[Any, ...] = (OfferingConnection, OfferingConnection, Connection)
    one, other, driver = (kind(host="127.0.0.1", user="u", defer_connect=True).ctx for kind in kinds)
    assert one is other
    for name in ("verify_mode", "check_hostname", "options", "minimum_version", "maximum_version"):
        assert getattr(one, name) == getattr(driver, name)
    assert one.get_ciphers() == driver.get_ciphers()


def test_what_was_committed_is_not_rolled_back_as_well() -> None:
    with Server(lambda _: OK) as server:
        connection = connect(server)
        connection.query("UPDATE t SET a = 1")
        connection.commit()
        connection.rollback()
        connection.rollback()
        connection.query("UPDATE t SET a = 2")
        connection.rollback()
        connection.close()
    assert server.statements[-4:] == ["UPDATE t SET a = 1", "COMMIT", "UPDATE t SET a = 2", "ROLLBACK"]


def test_a_commit_that_fails_is_rolled_back() -> None:
    with Server(lambda statement: ERROR if statement == "COMMIT" else OK) as server:
        connection = connect(server)
        with pytest.raises(pymysql.err.ProgrammingError):
            connection.commit()
        connection.rollback()
        connection.close()
    assert server.statements[-2:] == ["COMMIT", "ROLLBACK"]


INSERT = "INSERT INTO t (a, b) VALUES (%s, %s)"
ROWS = [(number, "x" * 90) for number in range(100)]


def test_an_insert_is_cut_into_statements_that_the_server_takes() -> None:
    with Server(lambda _: OK) as server:
        connection = connect(server)
        connection.max_statement_bytes = 1_000
        assert connection.insert_rows(INSERT, ROWS) == (0, 0)
        connection.close()
    inserts = [s for s in server.statements if s.startswith("INSERT")]
    assert max(map(len, inserts)) < 1_000
    assert sum(s.count("(") - 1 for s in inserts) == len(ROWS)


def test_an_insert_ends_with_the_first_statement_that_has_a_warning() -> None:
    with Server(lambda statement: OK_AND_WARNED if "(9," in statement else OK) as server:
        connection = connect(server)
        connection.max_statement_bytes = 1_000
        assert connection.insert_rows(INSERT, ROWS) == (1, 1)
        connection.close()
    assert "(9," in server.statements[-1]


def test_a_single_row_with_a_warning_is_noticed() -> None:
    with Server(lambda statement: OK_AND_WARNED if "INSERT" in statement else OK) as server:
        connection = connect(server)
        assert connection.insert_rows(INSERT, ROWS[:1]) == (1, 1)
        assert connection.insert_rows(INSERT, []) == (0, 0)
        connection.close()
