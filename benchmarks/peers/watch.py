"""Run a peer's program and watch its rows come into sight."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.job import Job
from benchmarks.peers.process import POLL_SECONDS, PeerProcess
from benchmarks.peers.program import Program
from benchmarks.peers.result import NotMeasured, Result
from benchmarks.peers.tables import RowWatch

# How exact the times are is POLL_SECONDS. Each look is one index lookup; a look at the processes is one walk of /proc.
USAGE_SECONDS = 0.2


def measure(program: Program, job: Job) -> Result:
    """Start it, wait until the job's rows are visible or its time is up, end it with all its children.

    The job's messages are rounded down to whole batches of the program.

    Raises NotMeasured, with the end of the program's output, where it ended, loaded nothing or left columns empty.
    """
    peer, wanted = program.peer, job.messages - job.messages % program.batch
    watch = RowWatch(job.database_url, program.table, program.at_most_query)
    started = time.monotonic()
    try:
        with PeerProcess(program.command, program.environment) as process:
            seen = _follow(process, watch, started, wanted, job.cap_seconds)
            complete = seen.last_rows >= wanted
            if not complete and process.has_ended():
                raise NotMeasured(f"{peer}: its program ended by itself:\n{process.tail()}")
            process.end()  # before the count: what is in flight is then in or out
            # Once it is complete the count cannot grow; of a stopped one, only what was seen in time counts.
            rows = min(watch.count(), seen.last_rows)
            if not rows:
                raise NotMeasured(f"{peer}: no row within {job.cap_seconds:.0f} s:\n{process.tail()}")
        _check_filled(peer, watch, program.required)
        stopped = (
            ""
            if complete
            else f"; stopped after {job.cap_seconds:.0f} s, the rate is that of the rows loaded till then"
        )
        return Result(
            peer=peer,
            rows=rows,
            messages=wanted,
            seconds=seen.last_at,
            steady_rows=rows - seen.first_rows,
            steady_seconds=seen.last_at - seen.first_at,
            cpu_seconds=seen.cpu_seconds,
            steady_cpu_seconds=seen.cpu_seconds - seen.first_cpu_seconds,
            peak_rss_bytes=seen.peak_rss_bytes,
            note=program.note + stopped,
        )
    finally:
        watch.close()


@dataclass(slots=True)
class _Seen:
    """What was seen so far; times in seconds from the process's start."""

    first_at: float = 0.0
    first_rows: int = 0
    first_cpu_seconds: float = 0.0
    last_at: float = 0.0
    last_rows: int = 0
    cpu_seconds: float = 0.0
    peak_rss_bytes: int = 0


def _follow(process: PeerProcess, watch: RowWatch, started: float, wanted: int, cap_seconds: float) -> _Seen:
    seen = _Seen()
    looked_at = 0.0
    while (now := time.monotonic() - started) < cap_seconds:
        rows = watch.at_most()
        if rows >= wanted:
            rows = watch.count()
        is_first = rows > 0 and not seen.first_rows
        if rows > seen.last_rows:
            seen.last_at, seen.last_rows = time.monotonic() - started, rows
        done = seen.last_rows >= wanted or process.has_ended()
        if done or is_first or now >= looked_at:
            use = process.use()
            seen.peak_rss_bytes = max(seen.peak_rss_bytes, use.rss_bytes)
            seen.cpu_seconds = max(seen.cpu_seconds, use.cpu_seconds + use.ended_children_cpu_seconds)
            looked_at = now + USAGE_SECONDS
        if is_first:
            seen.first_at, seen.first_rows, seen.first_cpu_seconds = seen.last_at, rows, seen.cpu_seconds
        if done:
            break
        time.sleep(POLL_SECONDS)
    return seen


def _check_filled(peer: str, watch: RowWatch, required: Sequence[str]) -> None:
    rows = watch.count()
    empty = {c: rows - n for c, n in watch.filled(required).items() if n < rows} if required else {}
    if empty:
        raise NotMeasured(f"{peer}: of {rows} rows, columns are empty: {empty}")
