"""More busy streams than Dagster has slots for runs: how old messages get until they are rows.

    python -m benchmarks.slots [--quick] [--json FILE]    (6 minutes; quick: 2)

Real: Kafka, MySQL, `dagster dev`. Every stream gets messages all the time, so that no run ever has nothing to wait for. A batch's
age is that of its oldest message as it was committed, by the ledger.
"""

import datetime as dt
import json
import time
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.command import Figures, run, table
from benchmarks.many_streams import topic_names, write_package
from benchmarks.servers import Servers, servers
from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

SECONDS, QUICK_SECONDS = 150.0, 90.0
# From the start of Dagster until every stream has had its first run: what comes before says how long starts take.
WARM_UP_SECONDS = 60.0
PER_SECOND = 2
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  as the ledger has it: naive UTC


@dataclass(frozen=True)
class Case:
    """So many streams on so many slots."""

    streams: int
    slots: int

    @property
    def name(self) -> str:
        return f"s{self.streams}on{self.slots}"


CASES = (Case(4, 4), Case(4, 3))
QUICK_CASES = (Case(4, 3),)


def measure(quick: bool) -> Figures:
    figures: Figures = {}
    with servers() as servers_:
        for case in QUICK_CASES if quick else CASES:
            figures[case.name] = ages(servers_, case, QUICK_SECONDS if quick else SECONDS)
            print(f"{case.name}: {figures[case.name]}", flush=True)
    return figures


def ages(servers_: Servers, case: Case, seconds: float) -> Figures:
    """Seconds, of the batches committed after the warm-up: over all streams, and of the stream that fares worst."""
    topics = [topic_names(case.name, number, 1)[0] for number in range(case.streams)]
    servers_.create_topics(dict.fromkeys(topics, 1))
    written = write_package(servers_.folder, case.name, case.streams, 1)
    environ = servers_.environment(case.name, written["KAFKA_INGEST_STREAMS"]) | written
    producer = Producer({"bootstrap.servers": servers_.bootstrap})
    with DagsterDev(servers_.folder / f"dagster-{case.name}", environ, slots=case.slots) as dagster:
        send(producer, topics, WARM_UP_SECONDS)
        since = time.time()
        send(producer, topics, seconds)
        runs = len(dagster.runs())
        engine = sa.create_engine(environ["KAFKA_INGEST_DATABASE_URL"])
        c = BATCHES.c
        entries = sa.select(c.topic, c.loaded_at, c.min_timestamp, c.row_count).where(c.row_count > 0)
        with engine.connect() as connection:
            found = connection.execute(entries).all()
        engine.dispose()
    by_topic: dict[str, list[float]] = {topic: [] for topic in topics}
    for row in found:
        if (row.loaded_at - EPOCH).total_seconds() >= since:
            by_topic[row.topic].append((row.loaded_at - row.min_timestamp).total_seconds())
    every = np.concatenate([np.array(each) for each in by_topic.values()])
    return {
        "batches": len(every),
        "runs": runs,
        "p50": round(float(np.percentile(every, 50)), 1),
        "p99": round(float(np.percentile(every, 99)), 1),
        "worst stream": round(max(max(each, default=seconds) for each in by_topic.values()), 1),
    }


def send(producer: Producer, topics: list[str], seconds: float, *, per_second: float = PER_SECOND) -> None:
    """So many messages a second to each topic, one after the other."""
    began, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - began) < seconds:
        while sent < elapsed * per_second:
            for topic in topics:
                producer.produce(topic, json.dumps({"id": str(sent), "title": "t"}))
            sent += 1
        producer.poll(0)
        time.sleep(0.05)
    producer.flush(30)


def report(figures: Figures) -> str:
    heads = ["streams on slots", "batches", "runs", "age p50", "p99", "worst of the worst stream"]
    rows = [
        [
            f"{case.streams} on {case.slots}",
            str(one["batches"]),
            str(one["runs"]),
            *(f"{one[name]:.1f} s" for name in ("p50", "p99", "worst stream")),
        ]
        for case in CASES
        if (one := figures.get(case.name)) is not None
    ]
    return table(heads, rows)


if __name__ == "__main__":
    run(__doc__, measure, report)
