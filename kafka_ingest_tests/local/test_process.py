"""Ports and pid files: no server of somebody else is ever signalled, and none of ours is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_ingest.local.files import build_once, write_private_json
from kafka_ingest.local.ports import LOOPBACK, free_port, port_answers, port_is_free
from kafka_ingest.local.process import ServerProcess
from kafka_ingest.local.server import stop_data_dir
from kafka_ingest.processes import boot_id

SLEEP = "import time; time.sleep(120)"
IGNORE_TERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(120)"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path, tmp_path / "test.log")
    yield process
    process.kill()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEP]) as process:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():
            time.sleep(0.001)  # still in exec
        yield process
        process.kill()


def record(folder: Path, pid: int, *, ticks_off: int = 0, boot: str | None = None) -> None:
    start = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    write_private_json(folder / "server.pid", {"pid": pid, "start_ticks": start + ticks_off, "boot": boot or boot_id()})


def test_a_free_port_is_below_the_range_of_outgoing_connections_and_nothing_listens_on_it() -> None:
    port = free_port()
    assert 20_000 <= port < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert port_is_free(port)
    assert not port_answers(port)


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        assert not port_is_free(port)
        assert port_answers(port)


def test_a_started_process_leads_its_own_session_and_a_second_object_can_stop_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    pid = server.spawn([sys.executable, "-c", SLEEP, str(tmp_path)])
    assert os.getsid(pid) == pid
    assert server.live_pid() == pid

    ServerProcess(tmp_path, tmp_path / "test.log").stop()

    assert server.live_pid() is None
    assert not Path(f"/proc/{pid}").exists()
    server.stop()  # again: nothing happens


def test_another_python_process_can_stop_it(server: ServerProcess, tmp_path: Path) -> None:
    pid = server.spawn([sys.executable, "-c", SLEEP, str(tmp_path)])
    code = "import sys, pathlib, kafka_ingest.local.server as s; s.stop_data_dir(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert server.live_pid() is None
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed_after_the_timeout(server: ServerProcess, tmp_path: Path) -> None:
    pid = server.spawn([sys.executable, "-c", IGNORE_TERM, str(tmp_path)])
    deadline = time.monotonic() + 20
    while "up" not in server.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server.stop(timeout_seconds=0.3)
    assert not Path(f"/proc/{pid}").exists()


ONLY_ON_INTERRUPT = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, lambda *_: (pathlib.Path(sys.argv[1], "ended").touch(), sys.exit(0)))
pathlib.Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def test_a_folder_is_stopped_by_the_signal_that_its_server_wants(server: ServerProcess, tmp_path: Path) -> None:
    server.spawn([sys.executable, "-c", ONLY_ON_INTERRUPT, str(tmp_path)])
    write_private_json(tmp_path / "server.json", {"stop_signal": int(signal.SIGINT)})
    deadline = time.monotonic() + 20
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert stop_data_dir(tmp_path)
    assert (tmp_path / "ended").exists()


def test_a_pid_given_to_another_program_is_not_signalled(
    server: ServerProcess, stranger: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    record(tmp_path, stranger.pid)
    assert server.live_pid() is None
    server.kill()
    record(tmp_path, stranger.pid)
    server.stop()
    assert stranger.poll() is None


@pytest.mark.parametrize(("ticks_off", "boot"), [(-1, None), (0, "an earlier boot")])
def test_a_pid_given_to_a_later_process_that_names_the_folder_is_not_signalled(
    server: ServerProcess, tmp_path: Path, ticks_off: int, boot: str | None
) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP, str(tmp_path)]) as later:
        record(tmp_path, later.pid, ticks_off=ticks_off, boot=boot)
        server.kill()
        assert later.poll() is None
        later.kill()


def test_a_process_counts_as_alive_from_the_moment_it_was_started(server: ServerProcess, tmp_path: Path) -> None:
    for _ in range(20):
        pid = server.spawn([sys.executable, "-c", SLEEP, str(tmp_path)])
        assert server.live_pid() == pid
        server.kill()


@pytest.mark.parametrize(
    "text", ["", "not json", "[]", '{"pid": 1, "start_ticks": 1}', '{"pid": -1, "start_ticks": 0}']
)
def test_a_broken_pid_file_means_nothing_runs(server: ServerProcess, tmp_path: Path, text: str) -> None:
    (tmp_path / "server.pid").write_text(text)
    assert server.live_pid() is None
    server.stop()


def test_private_files_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "secret.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private_json(path, {"password": "x"})
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text()) == {"password": "x"}


def test_parallel_callers_build_a_cache_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built: list[Path] = []

    def build(folder: Path) -> None:
        time.sleep(0.1)
        (folder / "file").write_text("whole")
        built.append(folder)

    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(build_once("thing", build))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert found == [tmp_path / "kafka_ingest" / "thing"] * 4
    assert (found[0] / "file").read_text() == "whole"


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def build(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        build_once("thing", build)
    assert [path.name for path in (tmp_path / "kafka_ingest").iterdir()] == ["thing.lock"]
