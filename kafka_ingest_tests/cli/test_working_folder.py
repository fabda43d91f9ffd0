"""A command takes its settings and its modules from the folder it is run in, as `dagster dev` does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kafka_ingest.cli.working_folder import use_working_folder

STREAM = """
from sqlalchemy import String
from sqlalchemy.orm import Mapped
from kafka_ingest import AppendModel, Stream, field


class Quote(AppendModel):
    __tablename__ = "quotes"
    symbol: Mapped[str] = field(String(16))


STREAM = Stream(name="quotes", topics="quotes", routes={"quote": Quote})
"""


def test_the_file_counts_before_the_environment_and_the_folder_is_looked_in_last(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KAFKA_INGEST_STREAMS=mine\n# a comment\nKAFKA_GROUP_ID='a b'\nEMPTY\n")
    environ, module_path = {"KAFKA_INGEST_STREAMS": "other", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}, ["/first"]
    use_working_folder(tmp_path, environ, module_path)
    use_working_folder(tmp_path, environ, module_path)
    assert environ == {"KAFKA_INGEST_STREAMS": "mine", "KAFKA_BOOTSTRAP_SERVERS": "k:1", "KAFKA_GROUP_ID": "a b"}
    assert module_path == ["/first", str(tmp_path)]


def test_without_the_file_nothing_changes(tmp_path: Path) -> None:
    environ = {"A": "1"}
    use_working_folder(tmp_path, environ, [])
    assert environ == {"A": "1"}


def test_a_command_finds_streams_and_database_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "my_streams").mkdir()
    (tmp_path / "my_streams" / "__init__.py").touch()
    (tmp_path / "my_streams" / "quotes.py").write_text(STREAM)
    database = tmp_path / "rows.db"
    (tmp_path / ".env").write_text(f"KAFKA_INGEST_STREAMS=my_streams\nKAFKA_INGEST_DATABASE_URL=sqlite:///{database}\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA")}
    code = "from kafka_ingest.cli.main import cli; cli()"
    done = subprocess.run(
        [sys.executable, "-c", code, "dead-letters", "list", "--stream", "quotes"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
