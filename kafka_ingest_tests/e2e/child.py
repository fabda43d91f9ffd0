"""One run of the test stream in a process of its own, without Dagster: it can be told to die at a step, or to wait.

    python -m kafka_ingest_tests.e2e.child [--die-at STEP [--in-slice-ahead]] [--die-within SECONDS]
                                           [--die-before-sql PATTERN] [--stop-at STEP] [--live | --backfill]
                                           [--meet FOLDER --at STEP]

Prints what it loaded as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.stream_state import read_next_offsets
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.slices import BatchKind, OffsetRange

REPOSITORY = Path(__file__).parents[2]
COMMIT_OFFSETS = "commit_offsets"
"""The moment before the group's offsets are committed; the other steps are those of a load."""
STEPS = [*map(str, LoadStep), COMMIT_OFFSETS]


def start(environ: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start this module as a child process."""
    command = [sys.executable, "-m", __name__ if __name__ != "__main__" else "kafka_ingest_tests.e2e.child", *arguments]
    return subprocess.Popen(
        command,
        env={**os.environ, **environ},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_before_sql(engine: sa.Engine, pattern: str) -> None:
    """Die before the first statement that begins so is sent. What is loaded in bulk is not seen here."""

    def look(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if re.match(pattern, statement):
            die()

    sa.event.listen(engine, "before_cursor_execute", look)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--die-at", choices=STEPS)
    parser.add_argument("--in-slice-ahead", action="store_true", help="only of a slice that is written ahead")
    parser.add_argument("--die-within", type=float, default=0.0)
    parser.add_argument("--die-before-sql")
    parser.add_argument("--stop-at", choices=STEPS)
    parser.add_argument("--live", action="store_true", help="follow the stream, instead of ending when caught up")
    parser.add_argument("--backfill", action="store_true", help="load all again that is loaded")
    parser.add_argument("--meet", type=Path)
    parser.add_argument("--at", choices=STEPS, default=str(LoadStep.BEGIN))
    options = parser.parse_args()
    ahead = threading.local()

    def at_step(step: str) -> None:
        if step in (LoadStep.STAGE, LoadStep.AHEAD):
            ahead.is_now = step == LoadStep.AHEAD
        if step == options.die_at and (not options.in_slice_ahead or getattr(ahead, "is_now", False)):
            if options.die_within:
                threading.Timer(random.uniform(0, options.die_within), die).start()
            else:
                die()
        if step == options.stop_at:
            options.stop_at = None
            os.kill(os.getpid(), signal.SIGSTOP)
        if options.meet is not None and step == options.at:
            _meet(options.meet)

    from kafka_ingest_tests.e2e.streams import STREAM

    ingestion = Ingestion(STREAM, Settings.from_environment(), run_id=f"child-{os.getpid()}", at_step=at_step)
    if options.die_before_sql is not None:
        die_before_sql(ingestion.sink.engine, options.die_before_sql)
    kind: BatchKind = "backfill" if options.backfill else "live"
    again = read_next_offsets(ingestion.sink, STREAM) if options.backfill else {}
    ranges = [OffsetRange(*tp, 0, end) for tp, end in sorted(again.items())]
    batch = replace(ingestion.plan(ranges, kind), until_caught_up=not options.live)
    loaded = []
    result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), kind)
    loaded.append(result.messages)
    ingestion.commit(result.next_offsets)
    loaded += [r.messages for r in ingestion.drain(batch)]
    ingestion.close()
    sys.stdout.write(json.dumps({"messages": sum(loaded), "slices": len(loaded)}))


def _meet(folder: Path) -> None:
    """Wait (once) until two processes are here."""
    mine = folder / str(os.getpid())
    if mine.exists():
        return
    mine.touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < deadline, "the other process never came"
        time.sleep(0.001)


if __name__ == "__main__":
    main()
