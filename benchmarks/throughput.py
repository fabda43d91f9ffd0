"""Catch-up under `dagster dev` against `LOAD DATA`, or COPY on PostgreSQL, of the same rows, in turn, in one run.

    python -m benchmarks.throughput [--messages 2000000] [--rounds 5] [--only append] [--database mysql] [--json FILE]

Each round: an empty database, LOAD DATA (COPY) of the prepared files over one connection, then the same over two and over three
at once; an empty database again, a `dagster dev` whose sensor launches the run. Our time starts where Dagster makes the run's
record, so the queue, the process and its imports are in it, and ends where the last row can be read. Ratios are taken round by
round; medians.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.command import Figures, loading_parser, table, write_json
from benchmarks.messages import produce
from benchmarks.peers import PEERS, Job, NotMeasured, load
from benchmarks.processes import server_cpu_seconds
from benchmarks.servers import servers
from benchmarks.throughput_plot import draw
from benchmarks.watch import LedgerWatch, RunWatch
from kafka_ingest.cli.samples.producer import ensure_topic
from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

_DATABASE = "bench"
CONNECTIONS = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Case:
    """One way to load."""

    name: str
    target: float
    """Least ratio to LOAD DATA that is aimed at (benchmarks/README.md, "Throughput")."""
    partitions: int = 4
    model: str = "append"
    limit_model: str = "append"
    """What LOAD DATA loads: the append table, or the very table the case loads."""
    loaders: int = 2
    has_rising_ids: bool = False

    @property
    def topic(self) -> str:
        return f"news-{self.partitions}-{'rising' if self.has_rising_ids else 'random'}"


# A table keyed by random ids larger than the server's memory (128 MiB by default) costs its server a page read or two a row,
# whoever writes it; so there the limit is LOAD DATA into that table.
CASES = (
    Case("append, 4 partitions, 2 loaders", 1.0),
    Case("append, 1 partition, 2 loaders", 0.85, partitions=1),
    Case("append, 4 partitions, 1 loader", 0.9, loaders=1),
    Case("upsert by rising key", 0.55, model="upsert", has_rising_ids=True),
    Case("upsert by random key, of LOAD DATA into that table", 0.55, model="upsert", limit_model="upsert"),
)


@dataclass(frozen=True, slots=True)
class Round:
    """One comparison, in seconds."""

    limits: dict[int, float]
    """By the number of connections at once."""
    limit_server_cpu: float
    """The database server's processor time for the quickest of them."""
    ours: float
    steady: float
    """From the first slice's rows to the last's, scaled to all messages: what is left without the start of the process."""
    peak_rss_bytes: int
    cpu_seconds: float
    server_cpu: float
    """The database server's while ours was running."""
    broker_cpu: float
    progress: list[tuple[float, int]]
    """Seconds since the run's record, messages that can be read."""

    @property
    def limit(self) -> float:
        """Over one connection."""
        return self.limits[1]

    @property
    def best_limit(self) -> float:
        """Over as many connections as is quickest."""
        return min(self.limits.values())


def measure(
    kafka: LocalKafka, store: LocalDatabaseServer, case: Case, *, messages: int, rounds: int, folder: Path
) -> list[Round]:
    """The case's topic holds exactly `messages` good messages."""
    folder.mkdir()
    environ = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_INGEST_STREAMS": "benchmarks.streams",
        "KAFKA_INGEST_BENCH_TOPIC": case.topic,
        "KAFKA_INGEST_BENCH_MODEL": case.limit_model,
        "KAFKA_INGEST_BENCH_LOADERS": str(case.loaders),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    _in_child(environ | {"KAFKA_INGEST_DATABASE_URL": store.url(_DATABASE)}, "prepare", str(folder))
    found = []
    for number in range(rounds):
        limits: dict[int, float] = {}
        used: dict[int, float] = {}
        for connections in CONNECTIONS:
            url, before = _empty(store), server_cpu_seconds(store.pid)
            limits[connections] = float(_in_child(environ, "load", str(folder), url, str(connections)))
            used[connections] = server_cpu_seconds(store.pid) - before
        server = used[min(limits, key=limits.__getitem__)]
        own = environ | {"KAFKA_INGEST_BENCH_MODEL": case.model}
        found.append(_round(kafka, store, own, messages, (limits, server), folder, number))
        print(f"  {case.name}: round {number + 1}: {_text(found[-1], messages)}", flush=True)
    return found


def _round(
    kafka: LocalKafka,
    store: LocalDatabaseServer,
    environ: dict[str, str],
    messages: int,
    limits: tuple[dict[int, float], float],
    folder: Path,
    number: int,
) -> Round:
    url = _empty(store)
    server_cpu, broker_cpu = server_cpu_seconds(store.pid), server_cpu_seconds(kafka.pid)
    watch = LedgerWatch(url)
    home = folder / f"dagster-{number}"
    with DagsterDev(home, environ | {"KAFKA_INGEST_DATABASE_URL": url}) as dagster:
        with RunWatch(dagster) as run:
            progress = watch.progress_until(messages, timeout_seconds=60 + messages / 1_000)
        data = dagster.graphql("{ runsOrError { ... on Runs { results { creationTime } } } }")
        created = min(r["creationTime"] for r in data["runsOrError"]["results"])
    watch.close()
    server_cpu, broker_cpu = server_cpu_seconds(store.pid) - server_cpu, server_cpu_seconds(kafka.pid) - broker_cpu
    since = [(at - created, loaded) for at, loaded in progress if loaded]
    (first_at, first), (last_at, last) = since[0], since[-1]
    steady = (last_at - first_at) * messages / (last - first) if last > first else last_at
    return Round(*limits, last_at, steady, run.peak_rss_bytes, run.cpu_seconds, server_cpu, broker_cpu, since)


def _empty(store: LocalDatabaseServer) -> str:
    store.run_as_administrator(f"DROP DATABASE IF EXISTS {_DATABASE}")
    store.create_database(_DATABASE)
    return store.url(_DATABASE)


def _in_child(environ: dict[str, str], *arguments: str) -> str:
    """The limit is taken in a process of its own: the stream it loads is declared by the environment."""
    command = [sys.executable, "-m", "benchmarks.limit_child", *arguments]
    done = subprocess.run(command, env={**os.environ, **environ}, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def summary(case: Case, rounds: Sequence[Round], messages: int) -> Figures:
    """Figures of a case."""
    return {
        "case": case.name,
        "target": case.target,
        "limit_model": case.limit_model,
        "ratio": statistics.median(r.limit / r.ours for r in rounds),
        "steady_ratio": statistics.median(r.limit / r.steady for r in rounds),
        "best_ratio": statistics.median(r.best_limit / r.ours for r in rounds),
        "best_steady_ratio": statistics.median(r.best_limit / r.steady for r in rounds),
        "best_limit_rows_per_second": statistics.median(messages / r.best_limit for r in rounds),
        "limit_server_us_per_row": statistics.median(1e6 * r.limit_server_cpu / messages for r in rounds),
        "server_us_per_message": statistics.median(1e6 * r.server_cpu / messages for r in rounds),
        "broker_us_per_message": statistics.median(1e6 * r.broker_cpu / messages for r in rounds),
        "limit_rows_per_second": statistics.median(messages / r.limit for r in rounds),
        "rows_per_second": statistics.median(messages / r.ours for r in rounds),
        "cpu_us_per_message": statistics.median(1e6 * r.cpu_seconds / messages for r in rounds),
        "peak_rss_mb": max(r.peak_rss_bytes for r in rounds) / 1e6,
        "rounds": [asdict(r) for r in rounds],
    }


def _text(one: Round, messages: int) -> str:
    return (
        f"the limit {messages / one.limit:,.0f} rows/s, ours {messages / one.ours:,.0f} (ratio {one.limit / one.ours:.2f}; "
        f"steady {one.limit / one.steady:.2f}; of {messages / one.best_limit:,.0f}, the best of several connections, "
        f"{one.best_limit / one.ours:.2f}), {1e6 * one.cpu_seconds / messages:.1f} us of CPU a message, "
        f"peak {one.peak_rss_bytes / 1e6:.0f} MB"
    )


def cases_table(found: Figures) -> str:
    heads = ["case", "LOAD DATA (COPY), rows/s", "ours, rows/s", "ratio", "target", "without start", "peak MB"]
    rows = [
        [
            f["case"],
            f"{f['limit_rows_per_second']:,.0f}",
            f"{f['rows_per_second']:,.0f}",
            f"**{f['ratio']:.2f}**",
            f"{f['target']:.2f}",
            f"{f['steady_ratio']:.2f}",
            f"{f['peak_rss_mb']:,.0f}",
        ]
        for f in found["cases"]
    ]
    return table(heads, rows)


def processors_table(found: Figures) -> str:
    """The machine's limit: the best of several connections, and processor time, in microseconds a message."""
    heads = [
        "case",
        "LOAD DATA (COPY), best of 1 to 3 connections, rows/s",
        "ours of it",
        "without start",
        "its server µs",
        "our server µs",
        "broker µs",
        "run µs",
    ]
    rows = [
        [
            f["case"],
            f"{f['best_limit_rows_per_second']:,.0f}",
            f"**{f['best_ratio']:.2f}**",
            f"{f['best_steady_ratio']:.2f}",
            f"{f['limit_server_us_per_row']:.1f}",
            f"{f['server_us_per_message']:.1f}",
            f"{f['broker_us_per_message']:.1f}",
            f"{f['cpu_us_per_message']:.1f}",
        ]
        for f in found["cases"]
    ]
    return table(heads, rows)


def run(
    database: str, messages: int, rounds: int, cases: Sequence[Case], peers: Sequence[str] = (), cap_seconds: float = 60
) -> Figures:
    """All cases, and the peers on the first case's topic and the same database, on servers of their own."""
    found = []
    by_peer: Figures = {}
    with servers(database) as found_servers:
        kafka, store, folder = found_servers.kafka, found_servers.database, found_servers.folder
        settings = Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers})
        topics: set[str] = set()
        for number, case in enumerate(cases):
            if case.topic not in topics:
                topics.add(case.topic)
                ensure_topic(settings, case.topic, case.partitions)
                produce(
                    kafka.bootstrap_servers,
                    case.topic,
                    messages,
                    partitions=case.partitions,
                    has_rising_ids=case.has_rising_ids,
                )
            rounds_found = measure(kafka, store, case, messages=messages, rounds=rounds, folder=folder / str(number))
            found.append(summary(case, rounds_found, messages))
        if peers:
            limit = statistics.median(f["limit_rows_per_second"] for f in found if f["limit_model"] == "append")
            by_peer = {name: _peer(name, kafka, store, CASES[0].topic, messages, cap_seconds, limit) for name in peers}
    return {"messages": messages, "cases": found, "peers": by_peer}


def _peer(
    name: str,
    kafka: LocalKafka,
    store: LocalDatabaseServer,
    topic: str,
    messages: int,
    cap_seconds: float,
    limit: float,
) -> Figures:
    try:
        result = load(name, Job(kafka.bootstrap_servers, topic, _empty(store), "by_peer", messages, cap_seconds))
    except NotMeasured as why:
        print(f"  {name}: not measured: {why}", flush=True)
        return {"not_measured": str(why)}
    print(f"  {name}: {result.best_rate:,.0f} rows/s, {result.best_rate / limit:.3f} of LOAD DATA", flush=True)
    return result.to_json() | {"of_limit": result.best_rate / limit}


def peers_table(found: Figures) -> str:
    rows = []
    for name, peer in found["peers"].items():
        if "not_measured" in peer:
            rows.append([name, f"not measured: {peer['not_measured']}", "", ""])
        else:
            rate = max(peer["rate"], peer["steady_rate"] or 0.0)
            rows.append([name, f"{rate:,.0f}", f"{peer['of_limit']:.3f}", f"{peer['peak_rss_bytes'] / 1e6:,.0f}"])
    return table(["peer", "rows/s", "of LOAD DATA", "peak MB"], rows)


def main() -> None:
    parser = loading_parser("throughput", __doc__, messages=2_000_000, rounds=5)
    parser.add_argument("--only", default="", help="cases whose names this regular expression finds")
    parser.add_argument("--peers", default="", help=f"comma-separated, of: {', '.join(PEERS)}")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds after which a slow peer is stopped")
    parser.add_argument("--plot", type=Path, help="PNG of the rows over time; needs matplotlib")
    options = parser.parse_args()
    cases = [case for case in CASES if re.search(options.only, case.name)]
    if options.peers and CASES[0] not in cases:
        parser.error(f"the peers load the topic of the case {CASES[0].name!r}, which --only leaves out")
    peers = [name for name in options.peers.split(",") if name]
    found = run(options.database, options.messages, options.rounds, cases, peers, options.cap)
    print(f"{cases_table(found)}\n\n{processors_table(found)}\n\n{peers_table(found)}")
    write_json(options.json, found)
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
