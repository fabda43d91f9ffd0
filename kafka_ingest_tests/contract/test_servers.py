"""MySQL, MariaDB and PostgreSQL keep the contract of a sink."""

from __future__ import annotations

import pytest

from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.testing import SinkContract
from kafka_ingest_tests.conftest import fresh_database

pytestmark = pytest.mark.services


class TestServers(SinkContract):
    @pytest.fixture
    def database_url(self, any_database: LocalDatabaseServer) -> str:
        return fresh_database(any_database)
