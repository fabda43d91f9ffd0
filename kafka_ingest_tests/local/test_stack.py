"""The stack's choices, fallbacks and state file, with the servers' starts replaced."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from kafka_ingest.cli.local import local
from kafka_ingest.local import stack as stack_module
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress
from kafka_ingest.local.stack import LocalStack, StackPart

PASSWORD = "hunter2-'$x"  # noqa: S105  not a real one
ADDRESSES = {"mysql": f"mysql+pymysql://u:{quote(PASSWORD)}@127.0.0.1:1/db"}
CLIENTS = {"mysql": "mysql --defaults-extra-file=client.conf"}


class Machine:
    """Which servers this pretended machine can start, and which were started."""

    def __init__(self, **missing: str) -> None:
        self.missing = missing
        self.started: list[str] = []
        self.running: set[str] = set()

    def start(self, root: Path, kind: str, progress: Progress, server_class: object = None) -> StackPart:
        if kind in self.missing:
            raise LocalServerError(self.missing[kind])
        if kind not in self.running:
            self.started.append(kind)
            self.running.add(kind)
        progress(f"Starting {kind}")
        (root / kind).mkdir(exist_ok=True)
        return StackPart(kind, ADDRESSES.get(kind, f"address-of-{kind}"), f"{kind} runs", CLIENTS.get(kind))

    def is_running(self, folder: Path) -> bool:
        return folder.name in self.running

    def stop(self, folder: Path) -> bool:
        ran = folder.name in self.running
        self.running.discard(folder.name)
        return ran


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    fake = Machine()
    monkeypatch.setattr(stack_module, "_start_kafka", fake.start)
    monkeypatch.setattr(stack_module, "_start_database", fake.start)
    monkeypatch.setattr(stack_module, "is_running", fake.is_running)
    monkeypatch.setattr(stack_module, "stop_data_dir", fake.stop)
    return fake


def test_auto_takes_the_real_servers_and_a_second_up_starts_nothing(machine: Machine, tmp_path: Path) -> None:
    first = LocalStack.up(tmp_path)
    assert LocalStack.up(tmp_path) == first
    assert machine.started == ["apache", "mysql"]
    assert (first.kafka_bootstrap_servers, first.database_url) == ("address-of-apache", ADDRESSES["mysql"])
    assert first.lines == ("apache runs", "mysql runs")


def test_the_state_file_is_private_and_read_back_by_status(machine: Machine, tmp_path: Path) -> None:
    assert LocalStack.status(tmp_path) is None
    up = LocalStack.up(tmp_path)
    assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert LocalStack.status(tmp_path) == up
    machine.running.discard("mysql")
    assert LocalStack.status(tmp_path) is None


def test_auto_falls_back_and_says_why(machine: Machine, tmp_path: Path) -> None:
    machine.missing = {"apache": "no `java` on PATH\nmore", "mysql": "no apt", "mariadb": "no apt either"}
    said: list[str] = []
    up = LocalStack.up(tmp_path, progress=said.append)
    assert up.lines == (
        "embedded runs; no apache: no `java` on PATH",
        "sqlite runs; no mysql: no apt; no mariadb: no apt either",
    )
    assert "Falling back, no apache: no `java` on PATH" in said


def test_auto_keeps_to_what_already_runs(machine: Machine, tmp_path: Path) -> None:
    LocalStack.up(tmp_path, kafka="embedded", database="mariadb")
    assert (LocalStack.up(tmp_path).kafka, LocalStack.up(tmp_path).database) == ("embedded", "mariadb")


def test_naming_another_kind_stops_the_one_that_runs(machine: Machine, tmp_path: Path) -> None:
    LocalStack.up(tmp_path, database="mariadb")
    LocalStack.up(tmp_path, database="mysql")
    assert machine.running == {"apache", "mysql"}


def test_a_named_kind_that_cannot_be_had_is_an_error_and_not_replaced(machine: Machine, tmp_path: Path) -> None:
    machine.missing = {"apache": "no `java` on PATH"}
    with pytest.raises(LocalServerError, match="no `java` on PATH"):
        LocalStack.up(tmp_path, kafka="apache")
    with pytest.raises(LocalServerError, match="'postgres' is none of: auto, mysql, mariadb, sqlite"):
        LocalStack.up(tmp_path, kafka="embedded", database="postgres")


def test_when_no_broker_can_be_had_every_reason_is_told(machine: Machine, tmp_path: Path) -> None:
    machine.missing = {"apache": "no java", "embedded": "not installed"}
    with pytest.raises(LocalServerError, match="no apache: no java; no embedded: not installed"):
        LocalStack.up(tmp_path)


def test_down_stops_what_runs_and_forgets_the_state(machine: Machine, tmp_path: Path) -> None:
    LocalStack.up(tmp_path)
    (tmp_path / "mysql" / "client.conf").touch()
    assert LocalStack.down(tmp_path) == ["apache", "mysql"]
    assert LocalStack.down(tmp_path) == []
    assert LocalStack.down(tmp_path / "never") == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["apache", "mysql", "stack.lock"]


def test_sqlite_needs_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_start_kafka", lambda root, kind, progress: StackPart(kind, "address", "line"))
    up = LocalStack.up(tmp_path, database="sqlite")
    assert up.database_url == f"sqlite:///{tmp_path}/kafka_ingest.db"
    assert up.client == f"sqlite3 {tmp_path}/kafka_ingest.db"


def test_what_an_older_version_brought_up_is_read(machine: Machine, tmp_path: Path) -> None:
    up = LocalStack.up(tmp_path)
    state = json.loads((tmp_path / "stack.json").read_text())
    del state["client"]
    (tmp_path / "stack.json").write_text(json.dumps(state))
    assert LocalStack.status(tmp_path) == dataclasses.replace(up, client=None)


def test_json_output_is_one_object_on_stdout_and_progress_is_on_stderr(machine: Machine, tmp_path: Path) -> None:
    answer = CliRunner().invoke(local, ["up", "--root", str(tmp_path), "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == {
        "kafka_bootstrap_servers": "address-of-apache",
        "database_url": ADDRESSES["mysql"],
        "lines": ["apache runs", "mysql runs"],
        "schema_registry_url": None,
    }
    assert "Starting apache" in answer.stderr


def test_the_file_for_a_shell_is_private_and_exports_what_reaches_the_servers(machine: Machine, tmp_path: Path) -> None:
    up = LocalStack.up(tmp_path)
    file = tmp_path / "servers.env"
    assert file.stat().st_mode & 0o777 == 0o600
    command = f'. {file} && exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    told = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True, check=True, timeout=60)
    assert up.settings() == {
        "KAFKA_BOOTSTRAP_SERVERS": "address-of-apache",
        "KAFKA_INGEST_DATABASE_URL": ADDRESSES["mysql"],
    }
    assert json.loads(told.stdout).items() >= up.settings().items()


def test_human_output_says_how_to_reach_the_servers_and_shows_no_password(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/mysql" if name == "mysql" else None)
    answer = CliRunner().invoke(local, ["up"])
    assert answer.stdout.splitlines() == [
        "apache runs",
        "mysql runs",
        "In another shell, in this folder:",
        "  kafka-ingest status  # finds these servers by itself",
        "  . .local/servers.env  # exports, with the password:",
        "      KAFKA_BOOTSTRAP_SERVERS=address-of-apache",
        "      KAFKA_INGEST_DATABASE_URL=mysql+pymysql://u:***@127.0.0.1:1/db",
        "  mysql --defaults-extra-file=client.conf",
    ]
    assert CliRunner().invoke(local, ["down"]).stdout == "Stopped apache, mysql\n"


def test_servers_elsewhere_are_not_said_to_be_found_here(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    answer = CliRunner().invoke(local, ["up", "--root", "../a b"])
    assert "finds these servers" not in answer.stdout
    assert "\n  . '../a b/servers.env'  #" in answer.stdout
    assert answer.stdout.endswith("client.conf  # there is no mysql on this machine yet\n")


def test_an_error_is_a_message_and_not_a_traceback(machine: Machine, tmp_path: Path) -> None:
    machine.missing = {"apache": "no `java` on PATH"}
    answer = CliRunner().invoke(local, ["up", "--root", str(tmp_path), "--kafka", "apache"])
    assert answer.exit_code == 1
    assert answer.stderr == "Error: no `java` on PATH\n"
    assert answer.stdout == ""
