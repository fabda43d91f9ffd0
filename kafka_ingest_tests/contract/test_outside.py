"""A sink from outside the package, which imports nothing but what is public, keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from kafka_ingest.sinks import base
from kafka_ingest.testing import SinkContract
from kafka_ingest_tests.support.outside_sink import PlainSink, register


class TestOutside(SinkContract):
    locks_rows: ClassVar[bool] = False

    @pytest.fixture
    def database_url(self, tmp_path: Path) -> Iterator[str]:
        register()
        yield f"plain:///{tmp_path}/contract.db"
        for backend in PlainSink.backends:
            del base.registered[backend]
