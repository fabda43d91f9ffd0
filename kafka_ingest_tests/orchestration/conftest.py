"""What the tests of the orchestration share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _a_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the environment of a code location. Nothing connects to it."""
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", "sqlite://")
