"""What many streams, topics and partitions cost while nothing arrives: time of a sensor tick, time between ticks, cores.

    python -m benchmarks.scale [--quick] [--json FILE]    (10 minutes; quick: 2)

Real: Kafka, MySQL, `dagster dev`. Every partition holds one message, and the ledger says that it is loaded (it was written
there directly: a hundred first runs would take minutes). Ticks are read from Dagster's storage: a tick's time is its own,
from when a worker took it up; that ticks wait for each other shows in the time between two ticks of one sensor, which is five
seconds where they do not.
"""

import datetime as dt
import itertools
import statistics
import time
from dataclasses import dataclass

import dagster as dg
from confluent_kafka import Producer

from benchmarks.command import Figures, run, table
from benchmarks.live import until
from benchmarks.many_streams import stream, topic_names, write_package
from benchmarks.servers import Servers, servers
from benchmarks.usage import CODE_SERVER, DAEMON, idle_cores
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.positions import pin_positions
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

LEAST_TICKS = 3
SECONDS, QUICK_SECONDS = 60.0, 25.0


@dataclass(frozen=True)
class Case:
    """So many streams, with so many topics each, with so many partitions each."""

    streams: int = 1
    topics: int = 1
    partitions: int = 1

    @property
    def name(self) -> str:
        return f"s{self.streams}t{self.topics}p{self.partitions}"

    @property
    def text(self) -> str:
        return f"{self.streams:,} × {self.topics:,} × {self.partitions:,}"


CASES = (Case(1), Case(20), Case(100), Case(topics=100), Case(partitions=1_000))
QUICK_CASES = (Case(1), Case(20))


def prepare(servers_: Servers, case: Case) -> dict[str, str]:
    """Topics with one loaded message in each partition; Dagster's environment."""
    streams = [stream(case.name, number, case.topics) for number in range(case.streams)]
    topics = [name for number in range(case.streams) for name in topic_names(case.name, number, case.topics)]
    servers_.create_topics(dict.fromkeys(topics, case.partitions))
    producer = Producer({"bootstrap.servers": servers_.bootstrap})
    for topic, partition in itertools.product(topics, range(case.partitions)):
        producer.produce(topic, b'{"id": "1", "title": "one"}', partition=partition)
    assert producer.flush(120) == 0
    package = write_package(servers_.folder / case.name, case.name, case.streams, case.topics)
    environ = {**servers_.environment(case.name, ""), **package}
    _mark_loaded(streams, environ)
    return environ


def _mark_loaded(streams: list[Stream], environ: dict[str, str]) -> None:
    settings = Settings.from_environment(environ)
    metadata, sink = KafkaMetadata(settings), open_sink(settings.database_url)
    now = dt.datetime.now(dt.timezone.utc)
    with sink.engine.begin() as connection:
        METADATA.create_all(connection)
        for each in streams:
            topics = metadata.topics(each)
            ends = {tp: marks.high for tp, marks in metadata.watermarks(topics.partitions).items()}
            assert set(ends.values()) == {1}, f"{each.name}: not one message in every partition"
            pin_positions(connection, each.name, ends, topics.topic_ids, run_id="benchmark", now=now)
    sink.engine.dispose()


def ticks(instance: dg.DagsterInstance, after: float) -> dict[str, list[tuple[float, float]]]:
    """Start and duration of each tick that has ended, oldest first, by sensor."""
    found = {}
    for state in instance.all_instigator_state():
        if state.instigator_name.endswith("_sensor"):  # the schedules have states too
            own = instance.get_ticks(state.instigator_origin_id, state.selector_id, after=after)
            ended = [(t.timestamp, t.end_timestamp - t.timestamp) for t in own if t.end_timestamp]
            found[state.instigator_name] = sorted(ended)
    return found


def measure_case(servers_: Servers, case: Case, seconds: float) -> Figures:
    home = servers_.folder / f"dagster-{case.name}"
    with (
        DagsterDev(home, prepare(servers_, case)) as dagster,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):

        def wait_for_ticks(after: float) -> dict[str, list[tuple[float, float]]]:
            def enough() -> bool:
                found = ticks(instance, after)
                return len(found) == case.streams and all(len(own) >= LEAST_TICKS for own in found.values())

            until(enough, 300, f"{LEAST_TICKS} ticks of {case.streams} sensors")
            return ticks(instance, after)

        wait_for_ticks(after=0.0)  # the first ones connect
        since = time.time()
        cores = idle_cores(dagster, seconds)
        found = wait_for_ticks(since)
        assert instance.get_runs_count() == 0, "a run was launched: the streams do not idle"
    durations = [duration for own in found.values() for _, duration in own]
    gaps = [later - earlier for own in found.values() for (earlier, _), (later, _) in itertools.pairwise(own)]
    return {
        "case": case.text,
        "ticks": len(durations),
        "tick_ms": {"median": round(statistics.median(durations) * 1000), "max": round(max(durations) * 1000)},
        "seconds_between_ticks": {"median": round(statistics.median(gaps), 2), "max": round(max(gaps), 2)},
        "cores": {role: round(value, 3) for role, value in cores.items()},
    }


def measure(quick: bool) -> Figures:
    """Plain figures by case."""
    figures: Figures = {}
    with servers() as servers_:
        for case in QUICK_CASES if quick else CASES:
            figures[case.name] = measure_case(servers_, case, QUICK_SECONDS if quick else SECONDS)
            print(figures[case.name], flush=True)
    return figures


def report(figures: Figures) -> str:
    heads = [
        "streams × topics × partitions",
        "tick",
        "slowest",
        "between ticks of one sensor",
        "longest",
        "daemon",
        "code server",
    ]
    rows = [
        [
            one["case"],
            f"{one['tick_ms']['median']:,} ms",
            f"{one['tick_ms']['max']:,} ms",
            f"{one['seconds_between_ticks']['median']:.1f} s",
            f"{one['seconds_between_ticks']['max']:.1f} s",
            f"{one['cores'][DAEMON]:.2f} cores",
            f"{one['cores'][CODE_SERVER]:.2f} cores",
        ]
        for one in figures.values()
    ]
    return table(heads, rows)


if __name__ == "__main__":
    run(__doc__, measure, report)
