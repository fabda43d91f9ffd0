"""Measure LOAD DATA and the peers on one topic and one database, and print rates and their ratios to LOAD DATA.

python -m benchmarks.peers --messages 100000 [--only faust-10,connect] [--cap 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from benchmarks.command import write_json
from benchmarks.messages import news, produce
from benchmarks.peers import PEERS, Job, NotMeasured, Result
from benchmarks.peers.limit import limit_of, load_data_rates
from benchmarks.servers import servers
from kafka_ingest.cli.samples.producer import ensure_topic
from kafka_ingest.settings import Settings

PARTITIONS = 4
TOPIC = "information"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(PEERS), help=f"comma-separated, of: {', '.join(PEERS)}")
    parser.add_argument("--cap", type=float, default=60.0, help="seconds after which a slow peer is stopped")
    parser.add_argument("--database", choices=["mysql", "mariadb"], default="mysql")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := set(names) - set(PEERS):
        parser.error(f"no such peers: {', '.join(sorted(unknown))}")
    with servers(options.database) as found_servers:
        kafka, store = found_servers.kafka, found_servers.database
        settings = Settings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers})
        ensure_topic(settings, TOPIC, PARTITIONS)
        produce(kafka.bootstrap_servers, TOPIC, options.messages, partitions=PARTITIONS)
        store.create_database("limit")
        rates = load_data_rates(list(itertools.islice(news(), options.messages)), store.url("limit"))
        limit = limit_of(rates)
        print(f"\n{store.title} {store.version}, {options.messages:,} messages in {PARTITIONS} Kafka partitions")
        print(
            f"LOAD DATA, one connection: {limit:,.0f} rows/s (median of {len(rates)}: {rates[0]:,.0f}–{rates[-1]:,.0f})\n"
        )
        print(
            f"{'peer':<24} {'rows':>9} {'s':>7} {'rows/s':>8} {'steady':>8} {'of limit':>8} {'CPU µs/row':>10} {'MB':>6}"
        )
        store.create_database("peers")
        found: dict[str, object] = {}
        for name in names:
            try:
                table = f"by_{name.replace('-', '_')}"
                job = Job(kafka.bootstrap_servers, TOPIC, store.url("peers"), table, options.messages, options.cap)
                result = PEERS[name](job)
            except NotMeasured as why:
                print(f"{name:<24} not measured: {why}", flush=True)
                found[name] = {"not_measured": str(why)}
            else:
                print(_line(result, limit), flush=True)
                found[name] = result.to_json() | {"of_limit": result.best_rate / limit}
    write_json(options.json, {"limit_rows_per_second": limit, "limit_rounds": rates, "peers": found})


def _line(result: Result, limit: float) -> str:
    steady = "–" if result.steady_rate is None else f"{result.steady_rate:,.0f}"
    return (
        f"{result.peer:<24} {result.rows:>9,} {result.seconds:>7.1f} {result.rate:>8,.0f} {steady:>8} "
        f"{result.best_rate / limit:>8.4f} "
        f"{1e6 * result.cpu_seconds / result.rows:>10,.0f} {result.peak_rss_bytes / 1e6:>6,.0f}\n    {result.note}"
    )


if __name__ == "__main__":
    main()
