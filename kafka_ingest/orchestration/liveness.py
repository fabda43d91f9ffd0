"""Is the process of a run still there? Dagster's default launcher does not say after a crash of the whole machine."""

from __future__ import annotations

import os
import socket

from kafka_ingest.processes import boot_id, start_ticks

NO_BOOT_ID = "no-proc"
"""Not Linux: the host's name and the pid have to do."""


def this_process() -> str:
    """`host:boot:pid:start` of this process: never the same for two processes, nor across restarts of the machine."""
    return ":".join((socket.gethostname(), _boot_id(), str(os.getpid()), str(start_ticks(os.getpid()) or 0)))


def process_tag(run_id: str) -> str:
    """Value of the tag by which a run names the process it runs in. Dagster copies a run's tags to its re-executions, so
    the run's id is part of it."""
    return f"{run_id}@{this_process()}"


def process_of(tag: str | None, run_id: str) -> str | None:
    """The process this very run has named; None where it has not yet."""
    owner, _, process = (tag or "").partition("@")
    return process if owner == run_id else None


def is_alive(process: str) -> bool | None:
    """Whether the process named by `this_process` runs; None where it belongs to another host and cannot be seen."""
    host, boot, pid, start = process.rsplit(":", 3)
    if host != socket.gethostname():
        return None
    if boot != _boot_id():
        return False
    if boot == NO_BOOT_ID:
        return _number_is_taken(int(pid))
    return start_ticks(int(pid)) == int(start)


def _boot_id() -> str:
    try:
        return boot_id()
    except FileNotFoundError:
        return NO_BOOT_ID


def _number_is_taken(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
