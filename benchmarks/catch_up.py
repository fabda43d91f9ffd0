"""A catch-up in this process: a run's stages over everything a stream's topics hold, and what it took."""

from __future__ import annotations

import dataclasses
import json
import re
import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.stream import Stream


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What a catch-up did."""

    messages: int
    rows: int
    """Messages that became rows."""
    seconds: float
    """From the plan to the last commit; the stream's tables were there before."""
    cpu_seconds: float
    """Of this process meanwhile."""
    peak_rss_bytes: int
    """Of this process since it began, imports included."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CaughtUp:
        return cls(**json.loads(text))


def catch_up(stream: Stream) -> CaughtUp:
    """Load all that waits, in a process that has imported what a run's has, and does nothing else."""
    import kafka_ingest.definitions  # noqa: F401  what a run's process holds, too

    run = Ingestion(stream, Settings.from_environment(), run_id=str(uuid.uuid4()))
    prepare_tables(run.sink, stream)
    started, used = time.perf_counter(), time.process_time()
    batch = dataclasses.replace(run.plan((), "live"), until_caught_up=True)
    first = run.load(run.apply_steps(run.read(batch)), "live")
    run.commit(first.next_offsets)
    messages, rows = first.messages, first.total("rows")
    for result in run.drain(batch):
        messages, rows = messages + result.messages, rows + result.total("rows")
    seconds, cpu = time.perf_counter() - started, time.process_time() - used
    run.close()
    return CaughtUp(messages, rows, seconds, cpu, _peak_rss_bytes())


def _peak_rss_bytes() -> int:
    """The kernel's own. Not getrusage's: there a process begins with what its parent had when it was started."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024
