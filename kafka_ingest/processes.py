"""What the kernel says of processes: which boot this is, when a process started, who belongs to a session. proc(5)."""

from __future__ import annotations

import os
from pathlib import Path

PROC = Path("/proc")


def boot_id() -> str:
    """What the kernel calls this boot. FileNotFoundError where there is no /proc, that is, not on Linux."""
    return (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()


def pid_namespace() -> int:
    """Which namespace this process' pids are of (pid_namespaces(7)); 0 where there is no /proc."""
    try:
        return (PROC / "self" / "ns" / "pid").stat().st_ino
    except FileNotFoundError:
        return 0


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot (field 22 of /proc/PID/stat); None when it is gone or a zombie.

    With the boot's id it tells a process from a later one under the same number. A killed process with threads left is
    not gone yet: they still hold its ports, files and connections.
    """
    fields = _stat_fields(pid)
    if fields is None or (_has_ended(fields) and _thread_count(pid) <= 1):
        return None
    return int(fields[19])


def session_members(session: int) -> list[int]:
    """Pids of the processes in a session that are not zombies; where there is no /proc, its first one only."""
    if not PROC.is_dir():
        try:
            os.killpg(session, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return [session]
    found = []
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        fields = _stat_fields(pid)
        if fields is not None and int(fields[3]) == session and not _has_ended(fields):
            found.append(pid)
    return found


def _stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from field 3 on (state, ppid, pgrp, session …): the name before it may hold spaces and brackets."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _has_ended(fields: list[str]) -> bool:
    return fields[0] in "ZX"


def _thread_count(pid: int) -> int:
    try:
        return sum(1 for _ in (PROC / str(pid) / "task").iterdir())
    except OSError:
        return 0
