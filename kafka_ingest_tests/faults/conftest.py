"""Servers that hosts of their own reach, for the trials over several of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kafka_ingest_tests.e2e.celery_deployment import Servers, servers


@pytest.fixture(scope="session")
def network_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Kafka, MySQL, PostgreSQL and Redis on a network; tests use topics and databases of their own."""
    with servers(tmp_path_factory.mktemp("servers")) as started:
        yield started
