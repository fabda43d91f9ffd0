"""Messages a second against shards, with the database taken out and in.

    python -m benchmarks.shards [--quick] [--rounds 3] [--only SINK] [--wait SECONDS] [--json FILE]    (10 minutes; quick: 1)

Real Kafka on the same machine, a topic of 12 partitions; a process for each shard, as Dagster's launcher starts one, but without
Dagster. Each loads a quarter of its messages first; all begin with the others at once. With the database taken out rows
are counted and forgotten (`counting_sink`), so that nothing but the broker is shared.

Efficiency is rate(n) / (n × rate(1)): it says something only where n processes and the broker have cores of their own. The
processor time a message needs says the same on any machine: if it does not grow with the shards, twice the cores load twice the
messages. What else ran on the machine is told beside each figure; --wait waits for a quiet moment before each round.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.command import Figures, parser, table, write_json
from benchmarks.messages import produce
from benchmarks.processes import server_cpu_seconds
from benchmarks.servers import Servers, servers

PARTITIONS = 12
SHARDS = (1, 2, 4)
MESSAGES = {"counting": 1_200_000, "mysql": 480_000}
QUICK_MESSAGES = {"counting": 120_000, "mysql": 60_000}
_DATABASE = "bench_shards"
# Of the machine's processors, over so many seconds.
_QUIET_CORES = 0.3
_QUIET_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Round:
    """Of the drains; processor seconds are those of all shards, of the broker, of the database, and of everything else."""

    messages: int
    """Without the first quarter of each shard's."""
    seconds: float
    shards_cpu: float
    broker_cpu: float
    database_cpu: float
    others_cores: float


def measure(sinks: Mapping[str, int], rounds: int, wait_seconds: float) -> Figures:
    """sinks: with the messages each is given."""
    figures: Figures = {}
    with servers() as found:
        for sink, messages in sinks.items():
            found.create_topics({sink: PARTITIONS})
            produce(found.bootstrap, sink, messages, partitions=PARTITIONS)
            taken: dict[int, list[Round]] = {count: [] for count in SHARDS}
            for number in range(rounds):
                for count in SHARDS:  # in turn: what changes on the machine changes for all
                    _wait_for_quiet(wait_seconds)
                    taken[count].append(_round(found, sink, count, messages, f"{number}-{count}"))
                    print(f"  {sink}, {count} shards: {_text(taken[count][-1])}", flush=True)
            figures[sink] = {str(count): _figures(each, count, taken[1]) for count, each in taken.items()}
    return figures


def _round(found: Servers, sink: str, count: int, messages: int, name: str) -> Round:
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": found.bootstrap,
        "KAFKA_GROUP_ID": f"{sink}-{name}",
        "KAFKA_INGEST_BENCH_TOPIC": sink,
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    if sink != "counting":
        found.database.run_as_administrator(f"DROP DATABASE IF EXISTS {_DATABASE}")
        found.database.create_database(_DATABASE)
    children = []
    for shard in range(count):
        file = found.folder / f"{name}-{shard}.db"
        url = f"counting:///{file}" if sink == "counting" else found.database.url(_DATABASE)
        command = [sys.executable, "-m", "benchmarks.shards_child", f"{shard}/{count}"]
        given = {**os.environ, **environ, "KAFKA_INGEST_DATABASE_URL": url}
        children.append(subprocess.Popen(command, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", "a shard did not get ready"
    broker, database = server_cpu_seconds(found.kafka.pid), server_cpu_seconds(found.database.pid)
    busy, began = _busy_seconds(), time.monotonic()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [json.loads(child.communicate()[0]) for child in children]
    elapsed, all_busy = time.monotonic() - began, _busy_seconds() - busy
    assert sum(each["first"] + each["messages"] for each in said) == messages, said
    own = sum(each["cpu_seconds"] for each in said)
    broker, database = server_cpu_seconds(found.kafka.pid) - broker, server_cpu_seconds(found.database.pid) - database
    return Round(
        messages=sum(each["messages"] for each in said),
        seconds=max(each["ended"] for each in said) - min(each["began"] for each in said),
        shards_cpu=own,
        broker_cpu=broker,
        database_cpu=database,
        others_cores=max(0.0, all_busy - own - broker - database) / elapsed,
    )


def _busy_seconds() -> float:
    """Of all processors since boot, what the machine's host took from them included."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _wait_for_quiet(most_seconds: float) -> None:
    until = time.monotonic() + most_seconds
    while time.monotonic() < until:
        before = _busy_seconds()
        time.sleep(_QUIET_SECONDS)
        if (_busy_seconds() - before) / _QUIET_SECONDS < _QUIET_CORES:
            return


def _figures(rounds: list[Round], count: int, alone: list[Round]) -> Figures:
    """Medians."""
    rate, one = (statistics.median(r.messages / r.seconds for r in some) for some in (rounds, alone))
    return {
        "messages_per_second": rate,
        "efficiency": rate / (count * one),
        "us_per_message": statistics.median(1e6 * r.shards_cpu / r.messages for r in rounds),
        "broker_us_per_message": statistics.median(1e6 * r.broker_cpu / r.messages for r in rounds),
        "database_us_per_message": statistics.median(1e6 * r.database_cpu / r.messages for r in rounds),
        "others_cores": statistics.median(r.others_cores for r in rounds),
        "rounds": [r.messages / r.seconds for r in rounds],
    }


def _text(one: Round) -> str:
    us = 1e6 / one.messages
    return (
        f"{one.messages / one.seconds:,.0f}/s, {us * one.shards_cpu:.2f} µs a message, "
        f"broker {us * one.broker_cpu:.2f}, database {us * one.database_cpu:.2f}; others had {one.others_cores:.2f} cores"
    )


def report(figures: Figures) -> str:
    heads = [
        "sink, shards",
        "messages/s",
        "efficiency",
        "µs of processor a message",
        "messages per processor second",
        "broker, µs",
        "database, µs",
        "others, cores",
    ]
    rows = [
        [
            f"{sink}, {count}",
            f"{one['messages_per_second']:,.0f}",
            f"{one['efficiency']:.2f}",
            f"{one['us_per_message']:.2f}",
            f"{1e6 / one['us_per_message']:,.0f}",
            f"{one['broker_us_per_message']:.2f}",
            f"{one['database_us_per_message']:.2f}",
            f"{one['others_cores']:.2f}",
        ]
        for sink, by_count in figures.items()
        for count, one in by_count.items()
    ]
    return table(heads, rows)


def main() -> None:
    options_of = parser(__doc__)
    options_of.add_argument("--rounds", type=int, help="of each number of shards  [default: 3; quick: 1]")
    options_of.add_argument("--only", choices=sorted(MESSAGES), help="one of the two")
    options_of.add_argument("--wait", type=float, default=0.0, help="seconds to wait for a quiet moment, at most")
    options = options_of.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    sinks = QUICK_MESSAGES if options.quick else MESSAGES
    figures = measure({s: n for s, n in sinks.items() if options.only in (None, s)}, rounds, options.wait)
    print(f"\n{psutil.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n\n{report(figures)}")
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
