"""Measure LOAD DATA and the peers on one topic and one database, and print one table of them.

python -m benchmarks.peers --messages 100000 [--only faust-10,spark] [--cap 60] [--freshness 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.command import write_json
from benchmarks.messages import news, produce
from benchmarks.peers import PEERS, Job, NotMeasured, Result, load
from benchmarks.peers.freshness import Freshness, measure_freshness
from benchmarks.peers.limit import limit_of, load_data_rates
from benchmarks.peers.report import Figures, report
from benchmarks.servers import Servers, servers

PARTITIONS = 4
TOPIC = "information"
LIVE_TOPIC = "live-{}"
RATES = (100, 5_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(PEERS), help=f"comma-separated, of: {', '.join(PEERS)}")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds after which a slow peer is stopped")
    parser.add_argument(
        "--freshness", type=float, default=0.0, metavar="SECONDS", help=f"also the age of rows at {RATES} messages/s"
    )
    parser.add_argument("--database", choices=["mysql", "mariadb"], default="mysql")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    found: dict[str, Figures] = {}
    with servers(options.database) as found_servers:
        store = found_servers.database
        found_servers.create_topics({TOPIC: PARTITIONS})
        produce(found_servers.bootstrap, TOPIC, options.messages, partitions=PARTITIONS)
        store.create_database("limit")
        rates = load_data_rates(list(itertools.islice(news(), options.messages)), store.url("limit"))
        limit = limit_of(rates)
        print(f"\n{store.title} {store.version}, {options.messages:,} messages in {PARTITIONS} Kafka partitions")
        print(
            f"LOAD DATA, one connection: {limit:,.0f} rows/s (median of {len(rates)}: {rates[0]:,.0f}–{rates[-1]:,.0f})\n"
        )
        for name in names:
            found[name] = _figures(name, found_servers, options.messages, options.cap, options.freshness)
            print(f"{name}: {found[name]}\n", flush=True)
    shown = RATES if options.freshness else ()
    print(report(found, limit, shown))
    peers = {name: figures.to_json(limit) for name, figures in found.items()}
    write_json(options.json, {"limit_rows_per_second": limit, "limit_rounds": rates, "peers": peers})


def _figures(name: str, servers_: Servers, messages: int, cap_seconds: float, freshness_seconds: float) -> Figures:
    """One peer, alone: its throughput, and its freshness where `freshness_seconds` is not 0."""
    before, *_ = os.getloadavg()
    result: Result | str
    ages: Sequence[Freshness] | str = []
    try:
        result = load(name, _job(name, servers_, TOPIC, messages, cap_seconds))
    except NotMeasured as why:
        result = str(why)
    if freshness_seconds:
        topic = LIVE_TOPIC.format(name)
        servers_.create_topics({topic: PARTITIONS})
        job = _job(name, servers_, topic, 0, cap_seconds)
        try:
            with PEERS[name](job) as program:
                ages = measure_freshness(program, job, RATES, freshness_seconds, partitions=PARTITIONS)
        except NotMeasured as why:
            ages = str(why)
    return Figures(result, ages, (before, os.getloadavg()[0]))


def _job(name: str, servers_: Servers, topic: str, messages: int, cap_seconds: float) -> Job:
    """Into a database of its own, as our table is called the same wherever it is."""
    database = f"{topic}_{name}".replace("-", "_")
    servers_.database.create_database(database)
    return Job(servers_.bootstrap, topic, servers_.database.url(database), "by_peer", messages, cap_seconds)


if __name__ == "__main__":
    main()
