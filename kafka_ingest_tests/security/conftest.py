"""The secure servers of this folder's tests, one of each for all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kafka_ingest_tests.security.secure_database import SecureDatabase
from kafka_ingest_tests.security.secure_kafka import SecureKafka


@pytest.fixture(scope="session")
def secure_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    found = SecureKafka.start(tmp_path_factory.mktemp("secure_kafka"))
    yield found
    found.broker.stop()


@pytest.fixture(scope="session")
def secure_mysql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureDatabase]:
    yield from _database("mysql", tmp_path_factory)


@pytest.fixture(scope="session")
def secure_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureDatabase]:
    yield from _database("mariadb", tmp_path_factory)


def _database(kind: str, folders: pytest.TempPathFactory) -> Iterator[SecureDatabase]:
    found = SecureDatabase.start(kind, folders.mktemp(f"secure_{kind}"))
    yield found
    found.server.stop()


@pytest.fixture(params=["mysql", "mariadb"])
def secure_database(request: pytest.FixtureRequest) -> SecureDatabase:
    """Both servers in turn."""
    server: SecureDatabase = request.getfixturevalue(f"secure_{request.param}")
    return server
