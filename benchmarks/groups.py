"""Many small streams: one run for all of them (a group) against a run each. Processes, memory, processor, age of the oldest row.

    python -m benchmarks.groups [--quick] [--json FILE]    (12 minutes; quick: 5)

Real: Kafka, MySQL, `dagster dev`. Every stream gets a message a second. Memory is the proportional set size of the runs'
processes (pages that processes share are divided among them); memory and processor are the runs' own, without Dagster's daemon
and code server. A batch's age is that of its oldest message as it was committed, by the ledger.
"""

import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import psutil
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.command import Figures, run, table
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


def measure(quick: bool) -> Figures:
    figures: Figures = {}
    with servers() as servers_:
        for case in QUICK_CASES if quick else CASES:
            figures[case.name] = cost(servers_, case, QUICK_SECONDS if quick else SECONDS)
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
            return len({topic for topic, _ in _ages(engine, began)}) == case.streams

        until(all_have_rows, START_SECONDS, "every stream's first rows")
        since, used = time.time(), _run_use(dagster)
        send(producer, topics, seconds, per_second=1)
        after, runs = _run_use(dagster), [each for each in dagster.children() if is_run(each)]
        memory = sum(map(_proportional_bytes, runs))
        figures = {
            "processes": len(runs),
            "memory MB": round(memory / 1e6),
            "cores": round(sum(cpu - used.get(pid, 0.0) for pid, cpu in after.items()) / (time.time() - since), 3),
        }
    ages = np.array([age for _, age in _ages(engine, since)])
    engine.dispose()
    return figures | {
        "start": round(since - began, 1),
        "batches": len(ages),
        "p50": round(float(np.percentile(ages, 50)), 1),
        "worst": round(float(ages.max()), 1),
    }


def _ages(engine: sa.Engine, since: float) -> list[tuple[str, float]]:
    """Topic and age of each batch that was committed since then; none before the first run makes the ledger."""
    c = BATCHES.c
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return []
        found = connection.execute(sa.select(c.topic, c.loaded_at, c.min_timestamp).where(c.row_count > 0)).all()
    return [
        (row.topic, (row.loaded_at - row.min_timestamp).total_seconds())
        for row in found
        if (row.loaded_at - EPOCH).total_seconds() >= since
    ]


def _run_use(dagster: DagsterDev) -> dict[int, float]:
    """CPU seconds by process of the runs that are there."""
    uses = {each.pid: use_of(each) for each in dagster.children() if is_run(each)}
    return {pid: use.cpu_seconds for pid, use in uses.items() if use is not None}


def _proportional_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().pss)
    return 0


def report(figures: Figures) -> str:
    heads = ["streams", "processes", "memory", "cores", "first rows of all", "age p50", "worst"]
    rows = [
        [
            f"{case.streams}, {'one group' if case.is_group else 'a run each'}",
            str(one["processes"]),
            f"{one['memory MB']:,} MB",
            f"{one['cores']:.2f}",
            f"{one['start']:.0f} s",
            *(f"{one[name]:.1f} s" for name in ("p50", "worst")),
        ]
        for case in CASES
        if (one := figures.get(case.name)) is not None
    ]
    return table(heads, rows)


if __name__ == "__main__":
    run(__doc__, measure, report)
