"""Real servers for the tests that need them, started by the project's own code. A server that does not start is a failure."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from hypothesis import settings

from kafka_ingest import redaction
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.registry import LocalRegistry
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest_tests.support.made import Make, making

# Hypothesis gives an example 200 ms, which a machine that is busy with something else takes now and then.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


# A module that imports one of these starts a Dagster, or installs the package: it takes minutes.
_TAKES_LONG = {"DagsterDev", "DagsterServices", "FreshEnvironment", "Shell"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take long come first: of the workers that share them, none is left alone with one in the end."""
    items.sort(key=lambda item: not (isinstance(item, pytest.Function) and _TAKES_LONG & vars(item.module).keys()))


@pytest.fixture(autouse=True)
def _no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process hides for good what a resource gave it; a short password of one test would cut the texts of the next."""
    monkeypatch.setattr(redaction, "_remembered", set())


@pytest.fixture(scope="session", autouse=True)
def _migrations_of_dagster_are_read_once() -> Iterator[None]:
    """Dagster imports its ninety migrations for each database it makes: two an instance, and one a run in SQLite files."""
    read: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in read:
            read[place] = reading(config)
        return read[place]

    reading = ScriptDirectory.from_config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """One Apache Kafka broker; tests use topics of their own."""
    broker = LocalKafka.start(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabase]:
    yield from _database("mysql", tmp_path_factory.mktemp("mysql"))


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabase]:
    yield from _database("mariadb", tmp_path_factory.mktemp("mariadb"))


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabaseServer]:
    server_class = PostgreSQLSink.local_server()
    server = server_class.start("postgresql", tmp_path_factory.mktemp("postgresql"))
    yield server
    server.stop()


def _database(kind: str, folder: Path) -> Iterator[LocalDatabase]:
    server = LocalDatabase.start(kind, folder)
    yield server
    server.stop()


@pytest.fixture(params=["mysql", "mariadb"])
def database(request: pytest.FixtureRequest) -> LocalDatabase:
    """Both servers in turn."""
    server: LocalDatabase = request.getfixturevalue(request.param)
    return server


@pytest.fixture(params=["mysql", "mariadb", "postgresql"])
def any_database(request: pytest.FixtureRequest) -> LocalDatabaseServer:
    """Each server in turn, for what is about none of them."""
    server: LocalDatabaseServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def mysql_url(mysql: LocalDatabase) -> str:
    """An empty database for what takes long and does not depend on the server."""
    return fresh_database(mysql)


@pytest.fixture
def mariadb_url(mariadb: LocalDatabase) -> str:
    """An empty database for what does not depend on the server."""
    return fresh_database(mariadb)


@pytest.fixture
def postgresql_url(postgresql: LocalDatabaseServer) -> str:
    """An empty database for what does not depend on the server."""
    return fresh_database(postgresql)


@pytest.fixture
def database_url(database: LocalDatabase) -> str:
    """An empty database of the test's own."""
    return fresh_database(database)


@pytest.fixture
def any_database_url(any_database: LocalDatabaseServer) -> str:
    """An empty database of the test's own."""
    return fresh_database(any_database)


def fresh_database(server: LocalDatabaseServer) -> str:
    name = f"t_{uuid.uuid4().hex[:12]}"
    server.create_database(name)
    return server.url(name)


@pytest.fixture
def topic(kafka: LocalKafka) -> str:
    """A topic of the test's own with four partitions."""
    return make_topic(kafka, partitions=4)


def make_topic(kafka: LocalKafka, *, partitions: int, **config: str) -> str:
    """Create a topic; config names have `_` for `.`. Retention is off: test messages carry old timestamps."""
    name = f"topic-{uuid.uuid4().hex[:12]}"
    settings = {"retention.ms": "-1"} | {k.replace("_", "."): v for k, v in config.items()}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_topics([NewTopic(name, partitions, 1, config=settings)])[name].result(30)
    deadline = time.monotonic() + 30
    while not all(_has_leader(admin, name, number) for number in range(partitions)):  # a busy broker takes its time
        assert time.monotonic() < deadline, f"{name} has no leaders"
        time.sleep(0.05)
    return name


def _has_leader(admin: AdminClient, topic: str, number: int) -> bool:
    asked = admin.list_offsets({KafkaTopicPartition(topic, number): OffsetSpec.latest()}, request_timeout=10)
    (answer,) = asked.values()
    return answer.exception(10) is None


@pytest.fixture
def made() -> Iterator[Make]:
    """Makes models at run time; see `support.made`."""
    with making() as make:
        yield make


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """One schema registry; tests use subjects of their own."""
    server = LocalRegistry.start(tmp_path_factory.mktemp("registry"))
    yield server
    server.stop()
