"""What the tests of the orchestration share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest_tests.support.world import World


@pytest.fixture(autouse=True)
def _a_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the environment of a code location. Nothing connects to it."""
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "sqlite://")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster of the test's own, in memory."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A cluster and a database, which the environment names."""
    found = World(tmp_path, monkeypatch)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", found.url)
    return found
