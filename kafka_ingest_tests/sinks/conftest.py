"""What the tests of the sinks share."""

from __future__ import annotations

import pytest

from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import P0, P1


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0, P1: 0})
    return found
