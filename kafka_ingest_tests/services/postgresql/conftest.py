"""The PostgreSQL server of this folder's tests, and an empty database for each."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.postgresql.steps import pin
from kafka_ingest_tests.support.loads import P0, P1


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgreSQL]:
    """One for this folder, whose settings and processes its tests touch."""
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
