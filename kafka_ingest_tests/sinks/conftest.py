"""What the tests of the sinks share."""

from __future__ import annotations

import pytest

from kafka_ingest_tests.support.database import Target
from kafka_ingest_tests.support.loads import P0, P1
from kafka_ingest_tests.support.models import MIXED


@pytest.fixture
def target() -> Target:
    found = Target(MIXED)
    found.pin({P0: 0, P1: 0})
    return found
