"""Commands find the servers of a demo that runs in their folder, where nothing else is named, and say so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kafka_ingest.cli.local_servers import use_local_servers
from kafka_ingest.cli.main import cli
from kafka_ingest.local.stack import LocalStack

STACK = LocalStack("127.0.0.1:1", "oracle://u:hunter2@127.0.0.1:2/db", ("one", "two"), "apache", "oracle")


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in whose `.local` servers run; the environment names none."""
    (tmp_path / ".local").mkdir()
    monkeypatch.chdir(tmp_path)
    # Set first, so that what the command sets is undone, too.
    for name in STACK.settings():
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    asked = {tmp_path / ".local": STACK}
    monkeypatch.setattr(LocalStack, "status", lambda root: asked.get(root))
    return tmp_path


def listed() -> Result:
    return CliRunner().invoke(cli, ["dead-letters", "list"])


def test_servers_that_run_below_the_folder_are_taken_and_said_without_the_password(running: Path) -> None:
    result = listed()
    assert result.stderr.splitlines() == [
        "Using what runs below .local: KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:1, "
        "KAFKA_INGEST_DATABASE_URL=oracle://u:***@127.0.0.1:2/db",
        *result.stderr.splitlines()[1:],
    ]
    assert "backend 'oracle'" in result.stderr, "the command went on with them"


@pytest.mark.parametrize("name", STACK.settings())
def test_a_server_that_is_named_keeps_them_all_out(running: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "mariadb://mine")
    environ = dict(os.environ)
    assert use_local_servers(running, environ) is None
    assert environ == dict(os.environ)


def test_a_server_that_the_folders_own_file_names_keeps_them_all_out(running: Path) -> None:
    (running / ".env").write_text("KAFKA_BOOTSTRAP_SERVERS=broker:9092\n")
    assert "KAFKA_INGEST_DATABASE_URL is not set" in listed().stderr


def test_without_running_servers_a_command_refuses_as_anywhere(running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStack, "status", lambda _root: None)
    result = listed()
    assert result.stderr.startswith("Error: KAFKA_INGEST_DATABASE_URL is not set")


@pytest.mark.parametrize("command", ["init", "demo", "local"])
def test_a_command_that_starts_servers_or_needs_none_does_not_look(running: Path, command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"])
    assert "Using" not in result.output
