"""The command line on a real Kafka and MySQL: produce, ingest, status, doctor, demo."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pymysql
import pytest
import sqlalchemy as sa

from kafka_ingest.cli.samples.messages import SampleMessage, sample_messages
from kafka_ingest.local.ports import free_port
from kafka_ingest.local.stack import LocalStack
from kafka_ingest.processes import session_members
from kafka_ingest_tests.docs.pages import ROOT

pytestmark = pytest.mark.services

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')"]
SEED = 11
COUNT = 500


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LocalStack]]:
    root = tmp_path_factory.mktemp("cli") / ".local"
    yield root, LocalStack.up(root, kafka="apache", database="mysql")
    LocalStack.down(root)


@pytest.fixture(scope="module")
def environment(stack: tuple[Path, LocalStack]) -> dict[str, str]:
    """Environment of the commands: the stack, and a Dagster home with this package's settings."""
    root, servers = stack
    home = root / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((files("kafka_ingest.orchestration") / "dagster.yaml").read_text())
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")},
        "KAFKA_BOOTSTRAP_SERVERS": servers.kafka_bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": servers.database_url,
        "DAGSTER_HOME": str(home),
    }


@pytest.fixture(scope="module")
def produced(environment: dict[str, str]) -> list[SampleMessage]:
    """500 messages in the topic, and what they are."""
    answer = run(
        environment, "produce", "--count", str(COUNT), "--rate", "0", "--seed", str(SEED), "--bad-ratio", "0.1"
    )
    assert answer.returncode == 0, answer.stderr
    assert f"Sent {COUNT} messages to information" in answer.stdout
    return list(islice(sample_messages(SEED, 0.1), COUNT))


def run(
    environment: dict[str, str], *arguments: str, seconds: float = 180, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def bare_environment() -> dict[str, str]:
    """No settings at all."""
    ours = ("KAFKA_", "DAGSTER_HOME")
    # The program is found from whatever folder it is run in.
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {"PYTHONPATH": str(ROOT)}


def count(environment: dict[str, str], query: str) -> int:
    engine = sa.create_engine(environment["KAFKA_INGEST_DATABASE_URL"])
    try:
        with engine.connect() as connection:
            return int(connection.execute(sa.text(query)).scalar_one())
    finally:
        engine.dispose()


def processes_of(root: Path) -> list[str]:
    """Command lines of processes that name the folder in their command line or environment, but for this test's own."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            command = (entry / "cmdline").read_bytes()
            if command and (str(root).encode() in command or str(root).encode() in (entry / "environ").read_bytes()):
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_produce_then_ingest_then_status_agree_with_independent_counts(
    environment: dict[str, str], produced: list[SampleMessage]
) -> None:
    before = json.loads(run(environment, "status", "information", "--json").stdout)["streams"][0]
    assert before["lag"] == COUNT
    assert {p["state"] for p in before["partitions"]} == {"new"}

    answer = run(environment, "ingest", "information", "--until-caught-up")
    assert answer.returncode == 0, answer.stderr
    news = sum(m.bad is None and m.route == "information" for m in produced)
    notices = [json.loads(m.value or b"")["id"] for m in produced if m.bad is None and m.route == "announcement"]
    bad = sum(m.bad is not None for m in produced)
    assert f"{COUNT} messages" in answer.stdout
    assert f"information: {news} rows" in answer.stdout
    assert f"announcement: {len(notices)} rows" in answer.stdout
    assert f"dead letters: {bad}" in answer.stdout
    assert "dagster" not in answer.stderr.lower()

    status = json.loads(run(environment, "status", "information", "--json").stdout)["streams"][0]
    assert {t["table"]: t["rows"] for t in status["tables"]} == {"information": news, "announcement": len(set(notices))}
    assert status["tables"][0]["rows"] == count(environment, "SELECT COUNT(*) FROM information")
    assert status["tables"][1]["rows"] == count(environment, "SELECT COUNT(*) FROM announcement")
    assert status["dead_letters"] == bad == count(environment, "SELECT COUNT(*) FROM kafka_ingest_dead_letters")
    live = status["loaded"]["live"]
    assert (live["rows"], live["dead_letters"], live["ignored"], live["absent"]) == (news + len(notices), bad, 0, 0)
    assert status["lag"] == 0
    assert status["agrees"] is True
    assert len(status["partitions"]) == 4
    assert sum(p["next_offset"] for p in status["partitions"]) == COUNT
    assert all(p["next_offset"] == p["group_offset"] == p["log_end"] for p in status["partitions"])
    assert status["last_run_id"] in answer.stdout


def test_a_range_is_loaded_again_without_a_second_row(
    environment: dict[str, str], produced: list[SampleMessage]
) -> None:
    run(environment, "ingest", "information", "--until-caught-up")
    rows = count(environment, "SELECT COUNT(*) FROM information")
    answer = run(environment, "ingest", "information", "--range", "information:0:0-20", "--range", "information:1:5-9")
    assert answer.returncode == 0, answer.stderr
    assert "24 messages" in answer.stdout
    assert count(environment, "SELECT COUNT(*) FROM information") == rows
    assert len(produced) == COUNT


def test_a_run_that_fails_says_why_in_one_paragraph(environment: dict[str, str], produced: list[SampleMessage]) -> None:
    run(environment, "ingest", "information", "--until-caught-up")
    answer = run(environment, "ingest", "information", "--range", "information:0:100000-100001", "--kind", "live")
    assert answer.returncode == 1
    assert "starts above the ledger's next offset" in answer.stderr
    assert "Traceback" not in answer.stderr
    unknown = run(environment, "ingest", "information", "--range", "information:77:0-1")
    assert unknown.returncode == 1
    assert "no partition" in unknown.stderr
    assert len(produced) == COUNT


def test_status_says_when_ledger_and_group_disagree(environment: dict[str, str], produced: list[SampleMessage]) -> None:
    run(environment, "ingest", "information", "--until-caught-up")
    other = environment | {"KAFKA_GROUP_ID": "never_committed"}
    answer = run(other, "status", "information")
    assert answer.returncode == 0
    assert "ledger and group disagree: the group is behind" in answer.stdout
    assert json.loads(run(other, "status", "--json").stdout)["streams"][0]["agrees"] is False
    assert len(produced) == COUNT


def test_the_doctor_finds_everything_right_and_leaves_nothing_behind(
    environment: dict[str, str], produced: list[SampleMessage]
) -> None:
    run(environment, "ingest", "information", "--until-caught-up")
    dead_letters = count(environment, "SELECT COUNT(*) FROM kafka_ingest_dead_letters")
    report = json.loads(run(environment, "doctor", "--json").stdout)
    assert [c for c in report["checks"] if c["status"] != "ok"] == []
    assert report["ok"] is True
    names = {c["check"] for c in report["checks"]}
    assert {
        "kafka broker",
        "database server",
        "local_infile",
        "load data",
        "privileges",
        "ledger",
        "DAGSTER_HOME",
    } <= names
    scratch = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name LIKE 'kafka\\_ingest\\_doctor%'"
    assert count(environment, scratch) == 0
    assert count(environment, "SELECT COUNT(*) FROM kafka_ingest_offsets WHERE stream LIKE '%doctor%'") == 0
    assert count(environment, "SELECT COUNT(*) FROM kafka_ingest_dead_letters") == dead_letters
    assert len(produced) == COUNT


def test_the_doctor_names_a_wrong_port_and_goes_on(environment: dict[str, str]) -> None:
    url = sa.make_url(environment["KAFKA_INGEST_DATABASE_URL"])
    wrong = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "KAFKA_INGEST_DATABASE_URL": url.set(port=free_port()).render_as_string(hide_password=False),
    }
    answer = run(environment | wrong, "doctor")
    assert answer.returncode == 1
    assert "fail  kafka broker" in answer.stdout
    assert "fail  database" in answer.stdout
    assert "KAFKA_BOOTSTRAP_SERVERS" in answer.stdout
    assert str(url.password) not in answer.stdout + answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_wrong_password_is_named_and_never_shown(environment: dict[str, str]) -> None:
    url = sa.make_url(environment["KAFKA_INGEST_DATABASE_URL"]).set(password="hunter2 & secret")  # noqa: S106
    wrong = environment | {"KAFKA_INGEST_DATABASE_URL": url.render_as_string(hide_password=False)}
    report = run(wrong, "doctor")
    assert report.returncode == 1
    assert "Access denied" in report.stdout
    for command in (["doctor", "--json"], ["status"], ["ingest", "information"]):
        answer = run(wrong, *command)
        assert answer.returncode == 1, command
        for shown in (report.stdout, report.stderr, answer.stdout, answer.stderr):
            assert "hunter2" not in shown
        assert "Traceback" not in answer.stderr


def test_a_broker_that_does_not_answer_is_a_temporary_failure(environment: dict[str, str]) -> None:
    answer = run(environment | {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}, "status")
    assert answer.returncode == 75
    assert answer.stderr.startswith("Error: ")


def test_a_command_in_the_folder_of_running_servers_finds_them_without_exports(
    stack: tuple[Path, LocalStack], produced: list[SampleMessage]
) -> None:
    root, servers = stack
    answer = run(bare_environment(), "status", "--json", folder=root.parent)
    assert answer.returncode == 0, answer.stderr
    assert sum(p["log_end"] for p in json.loads(answer.stdout)["streams"][0]["partitions"]) >= len(produced)
    assert "Using what runs below .local: KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:" in answer.stderr
    assert str(sa.make_url(servers.database_url).password) not in answer.stdout + answer.stderr


def test_the_databases_own_client_signs_in_with_its_file_alone(stack: tuple[Path, LocalStack]) -> None:
    root, servers = stack
    file = root / "mysql" / "client.conf"
    assert servers.client == f"mysql --defaults-extra-file={file}"
    assert file.stat().st_mode & 0o777 == 0o600
    # Its group [client] as the client reads it; the database stands in [mysql].
    with pymysql.connect(read_default_file=str(file)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@port, CURRENT_USER()")
        assert cursor.fetchone() == (sa.make_url(servers.database_url).port, "kafka_ingest@127.0.0.1")
    assert "[mysql]\ndatabase=kafka_ingest\n" in file.read_text()


def test_the_demo_fills_the_tables_is_found_from_its_folder_and_leaves_no_process_and_no_password(
    tmp_path: Path,
) -> None:
    root = tmp_path / ".local"
    options = ["--kafka", "apache", "--database", "sqlite", "--port", str(free_port())]
    options += ["--seconds", "40", "--rate", "40", "--bad-ratio", "0.1"]
    demo = subprocess.Popen(
        [*PROGRAM, "demo", *options],
        env=bare_environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (root / "servers.env").exists() and demo.poll() is None:
        time.sleep(0.1)
    status = run(bare_environment(), "status", folder=tmp_path)
    out, said = demo.communicate(timeout=240)
    assert demo.returncode == 0, out + said
    assert (status.returncode, "stream information" in status.stdout) == (0, True), status.stderr
    assert "Dagster's UI: http://127.0.0.1:" in said
    assert "First rows after" in said
    assert "  kafka-ingest status  # finds these servers by itself\n  . .local/servers.env  # exports" in said
    assert f"\n  sqlite3 {root}/kafka_ingest.db" in said
    connection = sqlite3.connect(root / "kafka_ingest.db")
    try:
        news = connection.execute("SELECT COUNT(*) FROM information").fetchone()[0]
        dead = connection.execute("SELECT COUNT(*) FROM kafka_ingest_dead_letters").fetchone()[0]
    finally:
        connection.close()
    assert news > 100
    assert dead > 5
    assert f"information: {news:,} rows" in out
    assert processes_of(root) == []
    assert not (root / "servers.env").exists()
    after = run(bare_environment(), "status", folder=tmp_path)
    assert "KAFKA_INGEST_DATABASE_URL is not set" in after.stderr


def test_a_demo_whose_dagster_dies_says_so_and_leaves_the_servers_it_found(
    stack: tuple[Path, LocalStack], environment: dict[str, str]
) -> None:
    root, _ = stack
    options = ["--root", str(root), "--port", str(free_port()), "--no-ui-wait"]
    environ = {k: v for k, v in environment.items() if k != "DAGSTER_HOME"}
    demo = subprocess.Popen(
        [*PROGRAM, "demo", *options], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    session = 0
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if line.startswith("Producing"):
            session = dagster_session(demo.pid)
            time.sleep(5)
            os.kill(session, signal.SIGKILL)
    assert demo.wait(90) == 1, lines
    demo.stdout.close()
    said = "".join(lines)
    assert "dagster dev ended with exit code -9; end of" in said
    assert "Left running, as before: apache, mysql" in said
    assert session_members(session) == []
    assert LocalStack.status(root) is not None


def test_ctrl_c_ends_a_demo_cleanly(stack: tuple[Path, LocalStack], environment: dict[str, str]) -> None:
    root, _ = stack
    options = ["--root", str(root), "--port", str(free_port()), "--no-ui-wait", "--rate", "50"]
    demo = subprocess.Popen(
        [*PROGRAM, "demo", *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert demo.stdout is not None
    session = 0
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if " produced (" in line and not session:
            session = dagster_session(demo.pid)
            demo.send_signal(signal.SIGINT)
    assert demo.wait(90) == 0, lines
    demo.stdout.close()
    assert any(line.startswith("Produced ") for line in lines)
    assert session_members(session) == []
    assert LocalStack.status(root) is not None


def dagster_session(parent: int) -> int:
    """The demo's child: leader of Dagster's session."""
    # Its command line is still empty for a moment after the demo has gone on: exec closes the pipe that Popen waits for first.
    deadline = time.monotonic() + 10
    while not (found := children_named(parent, b"dagster")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(found) == 1
    return found[0]


def children_named(parent: int, name: bytes) -> list[int]:
    # Not from /proc/PID/task/TID/children, which may leave some out while any process ends (proc(5)).
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            own_parent = int(stat.read_text().rpartition(")")[2].split()[1])
            if own_parent == parent and name in stat.with_name("cmdline").read_bytes():
                found.append(int(stat.parent.name))
    return found
