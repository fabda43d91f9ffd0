"""What processes use, as the kernel says."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Use:
    """Of one process; of several, the sums."""

    rss_bytes: int
    """Resident now; pages that processes share count in each."""
    cpu_seconds: float
    """User and system time since its start."""
    ended_children_cpu_seconds: float
    """Of its children that have ended and were collected, and of theirs."""


def use_of(process: psutil.Process) -> Use | None:
    """None where it has ended."""
    try:
        resident, times = process.memory_info().rss, process.cpu_times()
    except psutil.NoSuchProcess:  # a zombie too
        return None
    return Use(resident, times.user + times.system, times.children_user + times.children_system)


def use_of_all(processes: Iterable[psutil.Process]) -> Use:
    """The sums over those that have not ended."""
    uses = [use for process in processes if (use := use_of(process)) is not None]
    return Use(
        sum(use.rss_bytes for use in uses),
        sum(use.cpu_seconds for use in uses),
        sum(use.ended_children_cpu_seconds for use in uses),
    )


def tree(pid: int) -> list[psutil.Process]:
    """The process and everything below it; empty where it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_run(process: psutil.Process) -> bool:
    """Whether it is a Dagster run: a `spawn`ed child of the code server, by multiprocessing's own command line."""
    try:
        return "--multiprocessing-fork" in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def server_cpu_seconds(pid: int) -> float:
    """User and system time of a server since its start, with that of its processes for connections, as PostgreSQL has them: those
    that are there, and those that have ended."""
    use = use_of_all(tree(pid))
    return use.cpu_seconds + use.ended_children_cpu_seconds
