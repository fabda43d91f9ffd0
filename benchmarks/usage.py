"""What a `dagster dev` uses: CPU seconds by role, and bytes of its home.

The kernel adds a process's CPU to its parent's account when the parent collects it, so runs that have ended are counted to the
last tick, however short they were; nothing is sampled.
"""

import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress

import psutil

from benchmarks.processes import is_run, use_of
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

# By the words of their command lines; the processes of runs are children of the last.
_ROLES = {"dagster._daemon": "daemon", "dagster_webserver": "web server", "code-server": "code server"}
_RUNS_PARENT = ("api", "grpc")
# Beside a SQLite database while it is open.
_OF_THE_MOMENT = ("-wal", "-shm", "-journal")
RUNS = "runs"
DAEMON = "daemon"
CODE_SERVER = "code server"

Seconds = dict[str, float]


def cpu_seconds(dagster: DagsterDev) -> Seconds:
    """User and system time since the start, by role: daemon, code server, web server, runs."""
    used: Seconds = dict.fromkeys([*_ROLES.values(), RUNS], 0.0)
    for process in dagster.children():
        with suppress(psutil.NoSuchProcess):
            use, words = use_of(process), process.cmdline()
            if use is None:
                continue
            role = _role(words)
            used[role or RUNS] += use.cpu_seconds
            if role is None or _is_parent_of_runs(words):
                used[RUNS] += use.ended_children_cpu_seconds
    return used


def has_run_process(dagster: DagsterDev) -> bool:
    """Whether the process of a run is there or has not been collected by its parent: it ends a while after its run."""
    for process in dagster.children():
        with suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE or is_run(process):
                return True
    return False


def _is_parent_of_runs(words: Sequence[str]) -> bool:
    return all(word in words for word in _RUNS_PARENT)


def _role(words: Sequence[str]) -> str | None:
    """Of the process with this command line; None for one of a run."""
    if _is_parent_of_runs(words):
        return CODE_SERVER
    return next((role for word, role in _ROLES.items() if word in words), None)


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> Seconds:
    return {name: value - before[name] for name, value in after.items()}


def idle_cores(dagster: DagsterDev, seconds: float) -> Seconds:
    """Cores in use by role while nothing happens for so long."""
    before, started = cpu_seconds(dagster), time.monotonic()
    time.sleep(seconds)
    used = difference(cpu_seconds(dagster), before)
    return {role: cpu / (time.monotonic() - started) for role, cpu in used.items()}


def home_bytes(dagster: DagsterDev) -> int:
    """Sizes of all files of its home, as written (not as blocks of the disk), the databases' logs worked in first."""
    for database in dagster.home.rglob("*.db"):
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    total = 0
    for path in dagster.home.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() and not path.name.endswith(_OF_THE_MOMENT) else 0
    return total
