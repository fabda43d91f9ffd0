"""Is the process of a run still there? Dagster's default launcher does not say after a crash of the whole machine."""

from __future__ import annotations

import multiprocessing
import os
import socket

import dagster as dg

from kafka_ingest.processes import boot_id, pid_namespace, start_ticks

NO_BOOT_ID = "no-proc"
"""Not Linux: the host's name and the pid have to do."""


def this_process(pid: int | None = None) -> str:
    """`host:namespace:boot:pid:start` of this process, or of another one beside it: never the same for two processes, nor across
    restarts of the machine. Containers of one host name are told apart by their namespace of pids."""
    pid = os.getpid() if pid is None else pid
    return ":".join((_here(), _boot_id(), str(pid), str(start_ticks(pid) or 0)))


def process_tag(run_id: str, pid: int | None = None) -> str:
    """Value of the tag by which a run names the process it runs in: this one, where `pid` is None. Dagster copies a run's tags to
    its re-executions, so the run's id is part of it."""
    return f"{run_id}@{this_process(pid)}"


def run_pid(instance: dg.DagsterInstance, run_id: str) -> int:
    """Pid of the process that lives as long as the run: this one, or the one that started it, where an executor gives every
    step a process of its own. Between two steps only that one is there."""
    own, parent = os.getpid(), multiprocessing.parent_process()
    started = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
    pids = {entry.get_dagster_event().engine_event_data.metadata["pid"].value for entry in started}
    return parent.pid or own if parent is not None and str(own) in pids else own


def process_of(tag: str | None, run_id: str) -> str | None:
    """The process this very run has named; None where it has not yet."""
    owner, _, process = (tag or "").partition("@")
    return process if owner == run_id else None


def is_alive(process: str) -> bool | None:
    """Whether the process named by `this_process` runs; None where it belongs to another host or container and cannot be seen."""
    there, boot, pid, start = process.rsplit(":", 3)
    if there != _here():
        return None
    if boot != _boot_id():
        return False
    if boot == NO_BOOT_ID:
        return _number_is_taken(int(pid))
    return start_ticks(int(pid)) == int(start)


def _here() -> str:
    return f"{socket.gethostname()}:{pid_namespace()}"


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
