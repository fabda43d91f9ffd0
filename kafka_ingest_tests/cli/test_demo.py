"""Parts of the demo that need no servers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from kafka_ingest.cli.demo.command import demo_environment
from kafka_ingest.cli.demo.dagster_dev import DemoDagster, choose_port, dagster_home
from kafka_ingest.cli.demo.view import DemoState, panel, plain_line
from kafka_ingest.cli.interrupts import Interrupts
from kafka_ingest.errors import ConfigError
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.ports import free_port
from kafka_ingest.local.stack import LocalStack
from kafka_ingest.processes import session_members
from kafka_ingest_tests.support.status import STATUS

STACK = LocalStack("127.0.0.1:9", "sqlite:///x.db", ("one", "two"), "apache", "sqlite")


def test_a_taken_port_gives_way_to_the_next_free_one() -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert choose_port(port) > port


def test_the_demo_keeps_the_users_settings_for_other_servers_out() -> None:
    environ = {
        "PATH": "/bin",
        "KAFKA_SASL_PASSWORD": "x",
        "KAFKA_INGEST_STREAMS": "mine",
        "KAFKA_INGEST_DATABASE_URL": "mysql://y",
    }
    assert demo_environment(environ, STACK) == {
        "PATH": "/bin",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
        "KAFKA_INGEST_DATABASE_URL": "sqlite:///x.db",
    }


def test_dagster_home_is_made_with_the_packaged_settings_or_is_the_users_untouched(tmp_path: Path) -> None:
    home = dagster_home(tmp_path / "root", {})
    assert "run_queue" in (home / "dagster.yaml").read_text()
    assert dagster_home(tmp_path / "root", {"DAGSTER_HOME": str(tmp_path)}) == tmp_path
    assert not (tmp_path / "dagster.yaml").exists()
    with pytest.raises(ConfigError, match="no folder"):
        dagster_home(tmp_path, {"DAGSTER_HOME": str(tmp_path / "missing")})


def test_the_views_show_all_numbers() -> None:
    state = DemoState(12.0, 1_234, 37, 20.0, STATUS, {"success": 2, "started": 1}, "1 failed run(s)")
    line = plain_line(state)
    for part in (
        "12 s: 1,234 produced (37 bad)",
        "information 3,200 rows",
        "dead letters 90",
        "lag 107",
        "runs 3 (1 started, 2 success)",
        "1 failed run(s)",
    ):
        assert part in line
    console = Console(width=100, record=True, quiet=False, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(panel(state, ui="http://127.0.0.1:3000"))
    shown = console.export_text()
    console.file.close()
    for part in ("1,234", "3,200", "107", "1 started, 2 success", "1 failed run(s)", "http://127.0.0.1:3000"):
        assert part in shown


def test_a_signal_is_a_keyboard_interrupt_and_waits_for_the_end_of_a_deferred_part() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        reached = False
        with pytest.raises(KeyboardInterrupt), interrupts.deferred():  # noqa: PT012  the signal comes in between
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            reached = True
        assert reached
        with pytest.raises(KeyboardInterrupt):  # noqa: PT012  the signal comes in between
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        interrupts.ignore()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGTERM) is before


def test_stopping_ends_every_process_of_the_session_the_stubborn_ones_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.cli.demo.dagster_dev.STOP_STEPS", ((signal.SIGINT, 0.5), (signal.SIGKILL, 5.0)))
    stubborn = "import signal,time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"
    code = f"import subprocess,sys,time; subprocess.Popen([sys.executable, '-c', {stubborn!r}]); time.sleep(60)"
    dagster = DemoDagster(home=tmp_path, log_file=tmp_path / "log", port=1, environ=os.environ)
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    dagster._process = process
    deadline = time.monotonic() + 10
    while len(session_members(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # for the child to ignore SIGINT
    assert len(session_members(process.pid)) == 2
    assert dagster.stop() == []
    assert session_members(process.pid) == []
    process.wait(5)


def test_a_dagster_that_ended_is_said_with_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "dagster.log"
    dagster = DemoDagster(home=tmp_path, log_file=log, port=free_port(), environ=os.environ)
    assert dagster.stop() == []
    dagster.check()
    log.write_text("first\nlast words\n")
    dagster._process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    dagster._process.wait(10)
    with pytest.raises(LocalServerError, match=r"exit code 3; end of (.|\n)*last words"):
        dagster.wait_until_ready()
