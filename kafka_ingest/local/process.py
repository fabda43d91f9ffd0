"""One server process and its pid file, which may be stopped from another Python process than started it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kafka_ingest.local.files import read_json, tail_of, write_private_json
from kafka_ingest.processes import PROC, boot_id, start_ticks

POLL_SECONDS = 0.05


class ServerProcess:
    """Starts a server detached from this process, and signals it only while it surely is that server.

    The pid file holds the pid, the process's start time (clock ticks since boot) and the boot's id. A pid that was
    given to another process since then differs in one of them, or its command line does not name the data folder: it
    counts as dead and is never signalled.
    """

    def __init__(self, data_dir: Path, log_file: Path) -> None:
        self._marker = str(data_dir)
        self._pid_file = data_dir / "server.pid"
        self.log_file = log_file

    def spawn(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
        """Start `command` in a session of its own, its output appended to the log; returns its pid."""
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        # The server outlives this object on purpose; without a return code Popen would warn about that when collected.
        process.returncode = 0
        recorded = {"pid": process.pid, "start_ticks": start_ticks(process.pid), "boot": boot_id()}
        write_private_json(self._pid_file, recorded)
        return process.pid

    def live_pid(self) -> int | None:
        """The server's pid while it runs, else None."""
        recorded = read_json(self._pid_file)
        pid, start = recorded.get("pid"), recorded.get("start_ticks")
        if not isinstance(pid, int) or pid <= 1 or not isinstance(start, int) or recorded.get("boot") != boot_id():
            return None
        return pid if _alive(pid, start) and _command_names(pid, self._marker) else None

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 60.0) -> None:
        """That signal, then SIGKILL when it still runs after the timeout. Does nothing when it does not run."""
        if not self._signal_and_wait(number, timeout_seconds):
            self.kill()
        self._pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """SIGKILL now, and wait until the process is gone."""
        self._signal_and_wait(signal.SIGKILL, 30.0)
        self._pid_file.unlink(missing_ok=True)

    def log_tail(self) -> str:
        """The last lines of the server's log, for error messages."""
        return tail_of(self.log_file)

    def _signal_and_wait(self, number: signal.Signals, timeout_seconds: float) -> bool:
        pid = self.live_pid()
        start = start_ticks(pid) if pid else None
        if pid is None or start is None:
            return True
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return True
        deadline = time.monotonic() + timeout_seconds
        while _alive(pid, start):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        _reap(pid)
        return True


def _alive(pid: int, start: int) -> bool:
    _reap(pid)
    return start_ticks(pid) == start


def _command_names(pid: int, marker: str) -> bool:
    """Whether the command line names the marker; an empty one passes: the process is in exec or on its way out."""
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return not command or marker in command


def _reap(pid: int) -> None:
    """Collect the exit of a child, so that it does not stay as a zombie; others' children are theirs to collect."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
