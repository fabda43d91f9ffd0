"""A database server that asks for the client's files, met by a whole run: see also sinks/mysql/test_load_data_connection.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kafka_ingest_tests.support.mysql_server import Server, ask_for

pytestmark = pytest.mark.services


@pytest.mark.parametrize("command", [("ingest", "information"), ("doctor",)], ids=lambda c: c[0])
def test_the_run_fails_saying_so_and_the_server_gets_nothing(command: tuple[str, ...], tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the client's own file")
    with Server(lambda _statement: ask_for(str(secret).encode())) as server:
        environ = {
            "KAFKA_INGEST_DATABASE_URL": f"mysql+pymysql://u:hunter2@127.0.0.1:{server.port}/db",
            "KAFKA_INGEST_STREAMS": "kafka_ingest.streams",
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
            "DAGSTER_HOME": str(tmp_path),
        }
        done = subprocess.run(
            [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli()", *command],
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert f"the database server asked for the file '{secret}', which was not offered; it got nothing" in said
    assert "hunter2" not in said
    assert server.statements
    assert server.received == []
