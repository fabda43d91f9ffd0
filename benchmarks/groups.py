"""Many small streams: one run for all of them (a group) against a run each. Processes, memory, processor, age of the oldest row.

    python -m benchmarks.groups [--quick] [--json FILE]    (12 minutes; quick: 5)
    python -m benchmarks.groups --minutes 25               (the 100 of a group alone, over the hand-overs from run to run)

Real: Kafka, MySQL, `dagster dev`. Every stream gets a message a second. Memory is the proportional set size of the runs'
processes (pages that processes share are divided among them); memory and processor are the runs' own, without Dagster's daemon
and code server. A batch's age is that of its oldest message as it was committed, by the ledger.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import psutil
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.command import Figures, parser, table, write_json
from benchmarks.live import until
from benchmarks.many_streams import GROUP_VARIABLE, topic_names, write_package
from benchmarks.processes import is_run, use_of
from benchmarks.servers import Servers, servers
from benchmarks.slots import EPOCH, send
from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

SECONDS, QUICK_SECONDS = 120.0, 60.0
# What comes before every stream has been loaded once says how long starts take.
START_SECONDS = 400.0
# What a hand-over may have held up, after the first batch of the run that took over.
HANDOVER_SECONDS = 30.0
# A stream's `max_wait_seconds` (10) and 20 s: what it may be late by, whatever the others do.
LATE_SECONDS = 30.0


@dataclass(frozen=True)
class Case:
    """So many streams, in one group or each with runs of its own."""

    streams: int
    is_group: bool

    @property
    def name(self) -> str:
        return f"{'g' if self.is_group else 's'}{self.streams}"


# A run each is measured with ten: they are a gigabyte and a half.
CASES = (Case(20, True), Case(100, True), Case(10, False))
QUICK_CASES = (Case(20, True), Case(10, False))


class Batch(NamedTuple):
    """One that was committed."""

    topic: str
    run_id: str
    at: float
    """When, in seconds since 1970."""
    age: float
    """Seconds since its oldest message."""


def measure(cases: Sequence[Case], seconds: float) -> Figures:
    figures: Figures = {}
    with servers() as servers_:
        for case in cases:
            figures[case.name] = cost(servers_, case, seconds)
            print(f"{case.name}: {figures[case.name]}", flush=True)
    return figures


def cost(servers_: Servers, case: Case, seconds: float) -> Figures:
    """Once every stream has been loaded, over so many seconds."""
    topics = [topic_names(case.name, number, 1)[0] for number in range(case.streams)]
    servers_.create_topics(dict.fromkeys(topics, 1))
    written = write_package(servers_.folder, case.name, case.streams, 1)
    environ = servers_.environment(case.name, written["KAFKA_INGEST_STREAMS"]) | written
    environ |= {GROUP_VARIABLE: "small"} if case.is_group else {}
    producer = Producer({"bootstrap.servers": servers_.bootstrap})
    engine = sa.create_engine(environ["KAFKA_INGEST_DATABASE_URL"])
    with DagsterDev(servers_.folder / f"dagster-{case.name}", environ, slots=case.streams + 5) as dagster:
        began = time.time()

        def all_have_rows() -> bool:
            send(producer, topics, 2.0, per_second=1)
            return len({batch.topic for batch in _batches(engine, began)}) == case.streams

        until(all_have_rows, START_SECONDS, "every stream's first rows")
        since, used = time.time(), _run_use(dagster)
        send(producer, topics, seconds, per_second=1)
        runs = [each for each in dagster.children() if is_run(each)]
        after = [cores for each in runs if (cores := _cores(each, since, used)) is not None]
        memory = sum(map(_proportional_bytes, runs))
        figures = {
            "processes": len(runs),
            "memory MB": round(memory / 1e6),
            "cores": round(sum(after), 3),
        }
    batches = _batches(engine, since)
    engine.dispose()
    return figures | {"start": round(since - began, 1), "load": round(os.getloadavg()[2], 1)} | _freshness(batches)


def _freshness(batches: Sequence[Batch]) -> Figures:
    """Ages of all batches, and of those beside a hand-over: the first batch of a run after the first."""
    ages = np.array([each.age for each in batches])
    first: dict[str, float] = {}
    for each in batches:
        first[each.run_id] = min(each.at, first.get(each.run_id, each.at))
    handovers = sorted(first.values())[1:]
    beside = [each.age for each in batches if any(0 <= each.at - at <= HANDOVER_SECONDS for at in handovers)]
    return {
        "batches": len(batches),
        "p50": round(float(np.percentile(ages, 50)), 1),
        "p99": round(float(np.percentile(ages, 99)), 1),
        "worst": round(float(ages.max()), 1),
        "handovers": len(handovers),
        "worst beside them": round(max(beside, default=0.0), 1),
        "late streams": len({each.topic for each in batches if each.age > LATE_SECONDS}),
    }


def _batches(engine: sa.Engine, since: float) -> list[Batch]:
    """Those that were committed since then; none before the first run makes the ledger."""
    c = BATCHES.c
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return []
        wanted = sa.select(c.topic, c.run_id, c.loaded_at, c.min_timestamp).where(c.row_count > 0)
        found = connection.execute(wanted).all()
    return [
        Batch(row.topic, row.run_id, at, (row.loaded_at - row.min_timestamp).total_seconds())
        for row in found
        if (at := (row.loaded_at - EPOCH).total_seconds()) >= since
    ]


def _run_use(dagster: DagsterDev) -> dict[int, float]:
    """CPU seconds by process of the runs that are there."""
    uses = {each.pid: use_of(each) for each in dagster.children() if is_run(each)}
    return {pid: use.cpu_seconds for pid, use in uses.items() if use is not None}


def _cores(process: psutil.Process, since: float, used: dict[int, float]) -> float | None:
    """CPU seconds by second since then, or since its start; None where it has ended."""
    with suppress(psutil.NoSuchProcess):
        use = use_of(process)
        if use is not None:
            return (use.cpu_seconds - used.get(process.pid, 0.0)) / (time.time() - max(since, process.create_time()))
    return None


def _proportional_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0


def report(figures: Figures) -> str:
    heads = [
        "streams",
        "processes",
        "memory",
        "cores",
        "first rows of all",
        "age p50",
        "p99",
        "worst",
        "hand-overs",
        "worst",
    ]
    rows = [
        [
            f"{case.streams}, {'one group' if case.is_group else 'a run each'}",
            str(one["processes"]),
            f"{one['memory MB']:,} MB",
            f"{one['cores']:.2f}",
            f"{one['start']:.0f} s",
            *(f"{one[name]:.1f} s" for name in ("p50", "p99", "worst")),
            str(one["handovers"]),
            f"{one['worst beside them']:.1f} s",
        ]
        for case in CASES
        if (one := figures.get(case.name)) is not None
    ]
    return table(heads, rows)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--minutes", type=float, help="only the 100 streams of a group, for so long")
    options = options_of.parse_args()
    if options.minutes is not None:
        figures = measure((Case(100, True),), 60 * options.minutes)
    else:
        figures = measure(QUICK_CASES if options.quick else CASES, QUICK_SECONDS if options.quick else SECONDS)
    print(f"\n{report(figures)}")
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
