"""Run a peer's program as a process group of its own and watch its rows come into sight."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.job import Job
from benchmarks.peers.result import NotMeasured, Result
from benchmarks.peers.tables import RowWatch
from benchmarks.processes import tree, use_of_all

# How exact the times are. Each look is one index lookup and one walk of /proc.
POLL_SECONDS = 0.02
USAGE_SECONDS = 0.2
TERMINATE_SECONDS = 10.0
LOG_TAIL_LINES = 30
_LOOK = os.WEXITED | os.WNOWAIT | os.WNOHANG
_LIBC = ctypes.CDLL(None)


def measure(
    peer: str,
    command: Sequence[str],
    job: Job,
    *,
    environment: Mapping[str, str],
    note: str,
    required: Sequence[str] = (),
) -> Result:
    """Start `command`, wait until the job's rows are visible or its time is up, end it with all its children.

    required: columns that must be filled in every row loaded, so that a program that loads empty rows is no measurement.

    Raises NotMeasured, with the end of the program's output, where it ended or loaded nothing.
    """
    watch = RowWatch(job.database_url, job.table)
    started = time.monotonic()
    try:
        with PeerProcess(command, environment) as process:
            seen = _follow(process, watch, started, job)
            complete = seen.last_rows >= job.messages
            if not complete and process.has_ended():
                raise NotMeasured(f"{peer}: its program ended by itself:\n{process.tail()}")
            process.end()  # before the count: what is in flight is then in or out
            # Once it is complete the count cannot grow; of a stopped one, only what was seen in time counts.
            rows = min(watch.count(), seen.last_rows)
            if not rows:
                raise NotMeasured(f"{peer}: no row within {job.cap_seconds:.0f} s:\n{process.tail()}")
        _check_filled(peer, watch, required)
        stopped = (
            ""
            if complete
            else f"; stopped after {job.cap_seconds:.0f} s, the rate is that of the rows loaded till then"
        )
        return Result(
            peer=peer,
            rows=rows,
            messages=job.messages,
            seconds=seen.last_at,
            steady_rows=rows - seen.first_rows,
            steady_seconds=seen.last_at - seen.first_at,
            cpu_seconds=seen.cpu_seconds,
            peak_rss_bytes=seen.peak_rss_bytes,
            note=note + stopped,
        )
    finally:
        watch.close()


class PeerProcess:
    """A peer's program, started as a process group of its own. At the end of `with` it is ended with all its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**_own_environment(), **environment},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self.pid = self._process.pid

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._log.close()

    def has_ended(self) -> bool:
        """Whether its leader is gone, by itself or by `end`."""
        return self._process.returncode is not None or os.waitid(os.P_PID, self.pid, _LOOK) is not None

    def tail(self) -> str:
        """The last LOG_TAIL_LINES lines that it has written."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def end(self) -> None:
        """SIGTERM to the process group, SIGKILL to what is left of it after TERMINATE_SECONDS; returns when its leader is gone.

        The leader is collected last: until then its id, which is the group's, is not given to another process.
        """
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + TERMINATE_SECONDS
        while time.monotonic() < deadline and not self.has_ended():
            time.sleep(POLL_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@dataclass(slots=True)
class _Seen:
    """What was seen so far; times in seconds from the process's start."""

    first_at: float = 0.0
    first_rows: int = 0
    last_at: float = 0.0
    last_rows: int = 0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


def _follow(process: PeerProcess, watch: RowWatch, started: float, job: Job) -> _Seen:
    seen = _Seen()
    looked_at = 0.0
    while (now := time.monotonic() - started) < job.cap_seconds:
        rows = watch.at_most()
        if rows >= job.messages:
            rows = watch.count()
        if rows > seen.last_rows:
            seen.last_at, seen.last_rows = time.monotonic() - started, rows
            if not seen.first_rows:
                seen.first_at, seen.first_rows = seen.last_at, rows
        done = seen.last_rows >= job.messages or process.has_ended()
        if done or now >= looked_at:
            use = use_of_all(tree(process.pid))
            seen.peak_rss_bytes = max(seen.peak_rss_bytes, use.rss_bytes)
            seen.cpu_seconds = max(seen.cpu_seconds, use.cpu_seconds)
            looked_at = now + USAGE_SECONDS
        if done:
            break
        time.sleep(POLL_SECONDS)
    return seen


def _check_filled(peer: str, watch: RowWatch, required: Sequence[str]) -> None:
    rows = watch.count()
    empty = {c: rows - n for c, n in watch.filled(required).items() if n < rows} if required else {}
    if empty:
        raise NotMeasured(f"{peer}: of {rows} rows, columns are empty: {empty}")


def _own_environment() -> dict[str, str]:
    """This process's without what would bring our packages into the peer's interpreter."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


def die_with_parent() -> None:
    """In the child, before its program: SIGKILL when this process ends, however it ends (prctl(2), PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGKILL)


def program(name: str) -> str:
    """The path of one of the programs that run in a peer's own venv."""
    return str(Path(__file__).with_name("programs") / name)
