"""What a worker's clusters, servers, databases and schemas are told apart by, on real ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from confluent_kafka.admin import AdminClient

from kafka_ingest.engine.fingerprint import check, database_of, look
from kafka_ingest.errors import WrongEnvironment
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.embedded import EmbeddedKafka
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.postgresql.local_server import ADMINISTRATOR, LocalPostgreSQL
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.testing.contract_stream import STREAM
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.support.cluster import FakeMetadata

pytestmark = pytest.mark.services


def opened(url: sa.URL | str) -> closing[Sink]:
    return closing(open_sink(sa.make_url(url)))


def server_of(url: sa.URL | str) -> str:
    """Which server and database this is, whether a ledger stands there or not."""
    with opened(url) as sink:
        return database_of(sink, is_server=True)


def metadata_of(servers: str) -> KafkaMetadata:
    return KafkaMetadata(
        Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": servers, "KAFKA_INGEST_DATABASE_URL": "sqlite://"})
    )


def assert_refused(seen: str, url: sa.URL | str) -> None:
    """A run whose sensor looked at the database `seen` writes nothing into the one of the URL."""
    metadata = FakeMetadata({})
    with opened(seen) as there, opened(url) as here:
        expected, before = look(metadata, there), sa.inspect(here.engine).get_table_names()
        with pytest.raises(WrongEnvironment):
            check(expected, metadata, here, stream=STREAM.name)
        assert sa.inspect(here.engine).get_table_names() == before


# --- clusters


def test_a_cluster_has_one_id_and_another_has_another(kafka: LocalKafka, tmp_path: Path) -> None:
    found = metadata_of(kafka.bootstrap_servers).cluster_id()
    assert found == metadata_of(kafka.bootstrap_servers.replace("127.0.0.1", "localhost")).cluster_id()
    assert found == AdminClient({"bootstrap.servers": kafka.bootstrap_servers}).list_topics(timeout=10).cluster_id
    other = EmbeddedKafka.start(tmp_path / "other")
    try:
        assert metadata_of(other.bootstrap_servers).cluster_id() not in (found, None)
    finally:
        other.stop()


# --- databases


def test_databases_of_one_server_are_told_apart_before_and_after_a_first_run(any_database: LocalDatabaseServer) -> None:
    seen, here = fresh_database(any_database), fresh_database(any_database)
    assert_refused(seen, here)
    with opened(seen) as sink:
        prepare_tables(sink, STREAM)
    assert_refused(seen, here)
    assert_refused(here, seen)
    with opened(here) as sink:
        prepare_tables(sink, STREAM)
    assert_refused(seen, here)


@pytest.mark.parametrize("kind", ["mysql", "mariadb", "postgresql"])
def test_databases_of_one_name_on_two_servers_are_told_apart(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    one: LocalDatabaseServer = request.getfixturevalue(kind)
    other = type(one).start(kind, tmp_path / "other")
    try:
        assert server_of(one.url()) == server_of(one.url())
        assert server_of(one.url()) != server_of(other.url())
    finally:
        other.stop()


def test_another_server_that_takes_over_is_the_same_database_once_a_ledger_stands_there(tmp_path: Path) -> None:
    """As with a replica: the same data under another UUID. Before there is a ledger nothing says that they are the same."""
    metadata = FakeMetadata({})
    server = LocalDatabase.start("mysql", tmp_path / "mysql")
    try:
        with opened(server.url()) as sink:
            first = look(metadata, sink)
            prepare_tables(sink, STREAM)
            expected = look(metadata, sink)
        server.stop()
        (uuid_file,) = (tmp_path / "mysql").rglob("auto.cnf")
        uuid_file.unlink()
        server = LocalDatabase.start("mysql", tmp_path / "mysql")
        with opened(server.url()) as sink:
            assert database_of(sink, is_server=True) != first.database
            check(expected, metadata, sink, stream=STREAM.name)
            with pytest.raises(WrongEnvironment):
                check(first, metadata, sink, stream=STREAM.name)
    finally:
        server.stop()


# --- PostgreSQL


@pytest.fixture
def role(postgresql_url: str, postgresql: LocalPostgreSQL) -> Iterator[sa.URL]:
    """A user with no privilege but to connect and to look at the schema."""
    name = f"r_{uuid.uuid4().hex[:8]}"
    postgresql.run_as_administrator(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield sa.make_url(postgresql_url).set(username=name, password="p")  # noqa: S106
    postgresql.run_as_administrator(f"DROP ROLE {name}")


def test_a_user_without_privileges_sees_the_same_server(role: sa.URL, postgresql_url: str) -> None:
    assert server_of(role) == server_of(postgresql_url)


def test_a_service_that_keeps_its_system_identifier_to_itself_is_known_all_the_same(
    role: sa.URL, postgresql_url: str, postgresql: LocalPostgreSQL
) -> None:
    open_one = server_of(role)
    administrator = psycopg.connect(
        host="127.0.0.1",
        port=postgresql.port,
        user=ADMINISTRATOR,
        password=postgresql._credentials.root,
        dbname=role.database,
        autocommit=True,
    )
    with administrator:
        administrator.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    assert server_of(role) != open_one
    assert server_of(role) == server_of(postgresql_url)
    assert server_of(role) != server_of(fresh_database(postgresql))


def test_schemas_of_one_database_are_told_apart(postgresql_url: str) -> None:
    elsewhere = sa.make_url(postgresql_url).update_query_dict({"options": "-c search_path=elsewhere"})
    with opened(postgresql_url) as sink, sink.engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA elsewhere")
    assert_refused(postgresql_url, elsewhere)
    with opened(postgresql_url) as sink:
        prepare_tables(sink, STREAM)
    assert_refused(postgresql_url, elsewhere)
