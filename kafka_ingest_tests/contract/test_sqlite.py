"""SQLite keeps the contract of a sink."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from kafka_ingest.testing import SinkContract


class TestSQLite(SinkContract):
    locks_rows: ClassVar[bool] = False

    @pytest.fixture
    def database_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/contract.db"
