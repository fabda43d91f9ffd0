"""What the tests of replays share."""

from __future__ import annotations

import pytest

from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.letters import loaded


@pytest.fixture
def target() -> Target:
    """Three events and an account, all of them dead letters."""
    return loaded()
