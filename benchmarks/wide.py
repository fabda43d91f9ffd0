"""Wide and large: 200 columns, messages of 20 kB and 1 MB, 1,000 partitions, 50 tables in one stream; each beside its own limit.

    python -m benchmarks.wide [--case NAME] [--messages N] [--rounds 3] [--json FILE]

Each round of a case, in turn: into an empty database the limit, LOAD DATA LOCAL INFILE of the very same rows from prepared files
over one connection; into another a catch-up by the engine, in a process of its own, whose peak memory is the kernel's figure. The
tables stand before either clock starts; ours runs from the plan to the last commit, so it looks at the log and pins the positions
of 1,000 partitions, too. Ratios are taken round by round; medians.

The limit commits as often as ours must at least: it loads, in one transaction, what the stream's own bounds (50,000 messages or
24 MiB) let into one slice. So
- of large messages it has files of 24 MiB, as nobody would send 50,000 messages of 1 MB in one transaction;
- of 50 tables it has 50 files in each transaction, as a micro-batch has rows of all of them, and fills no table alone;
- of 1,000 partitions it has rows of all of them in each file, in the order they came, and no ledger.
`plain`, news of 430 bytes in 4 partitions, is what the others are compared with. Where other work wants the processors, ours, two
processes that need them both, loses more by it than the limit: processor times say what the ratio is made of.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.catch_up import CaughtUp, catch_up
from benchmarks.command import Figures, table, write_json
from benchmarks.limit import load_files, prepare
from benchmarks.processes import server_cpu_seconds
from benchmarks.servers import Servers, servers
from benchmarks.wide_cases import CASES, Case
from kafka_ingest.settings import Settings

LARGEST = 12_000_000
_CHILD = "--child"


def send(servers_: Servers, case: Case, messages: int) -> int:
    """Send so many to a new topic, to its partitions in turn; the bytes of their values."""
    servers_.create_topics({case.name: case.partitions}, max_message_bytes=str(LARGEST))
    producer = Producer({"bootstrap.servers": servers_.bootstrap, "message.max.bytes": LARGEST, "linger.ms": 50})
    failed: list[object] = []
    size = 0
    for number, value in zip(range(messages), itertools.cycle(case.values()), strict=False):
        size += len(value)
        while True:
            try:
                producer.produce(
                    case.name,
                    value,
                    partition=number % case.partitions,
                    on_delivery=lambda error, _message: failed.append(error) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
    left = producer.flush(120)
    if failed or left:
        raise RuntimeError(f"{len(failed)} messages refused ({failed[:1]}), {left} not acknowledged")
    return size


def measure(servers_: Servers, case: Case, messages: int, rounds: int) -> Figures:
    """Figures of a case."""
    size = send(servers_, case, messages)
    limits: list[float] = []
    server: dict[str, list[float]] = {"limit": [], "ours": []}
    ours: list[CaughtUp] = []
    loads: list[float] = []
    with tempfile.TemporaryDirectory(dir=servers_.folder) as folder:
        environ = _empty(servers_, case)
        settings = Settings.from_environment(environ)
        prepared = prepare(case.stream, settings, Path(folder), max_bytes=case.stream.batch.max_bytes)
        for number in range(rounds):
            url = _empty(servers_, case)["KAFKA_INGEST_DATABASE_URL"]
            with _server_seconds(servers_, server["limit"]):
                limits.append(load_files(prepared, case.stream, url))
            environ = _empty(servers_, case)
            with _server_seconds(servers_, server["ours"]):
                ours.append(_ours(environ, case))
            if ours[-1].rows != messages:
                raise RuntimeError(f"{ours[-1].rows} of {messages} messages became rows")
            loads.append(os.getloadavg()[0])
            print(f"  {case.name}: round {number + 1}: {_text(limits[-1], ours[-1], loads[-1])}", flush=True)
    return {
        "case": case.name,
        "messages": messages,
        "bytes_per_message": size / messages,
        "limit_per_second": statistics.median(messages / each for each in limits),
        "per_second": statistics.median(messages / each.seconds for each in ours),
        "mb_per_second": statistics.median(size / each.seconds / 1e6 for each in ours),
        "ratio": statistics.median(limit / each.seconds for limit, each in zip(limits, ours, strict=True)),
        "limit_server_us_per_message": statistics.median(1e6 * each / messages for each in server["limit"]),
        "server_us_per_message": statistics.median(1e6 * each / messages for each in server["ours"]),
        "cpu_us_per_message": statistics.median(1e6 * each.cpu_seconds / messages for each in ours),
        "peak_rss_mb": max(each.peak_rss_bytes for each in ours) / 1e6,
        "load_average": statistics.median(loads),
        "rounds": [
            {"limit_seconds": limit, "load_average": load} | asdict(each)
            for limit, each, load in zip(limits, ours, loads, strict=True)
        ],
    }


@contextmanager
def _server_seconds(servers_: Servers, into: list[float]) -> Iterator[None]:
    """Appends the database server's processor time meanwhile."""
    before = server_cpu_seconds(servers_.database.pid)
    yield
    into.append(server_cpu_seconds(servers_.database.pid) - before)


def _empty(servers_: Servers, case: Case) -> dict[str, str]:
    """The environment of a database that has just been made."""
    name = f"wide_{case.name}"
    servers_.database.run_as_administrator(f"DROP DATABASE IF EXISTS {name}")
    return servers_.environment(name, "kafka_ingest.streams")


def _ours(environ: dict[str, str], case: Case) -> CaughtUp:
    command = [sys.executable, "-m", "benchmarks.wide", _CHILD, case.name]
    done = subprocess.run(command, env={**os.environ, **environ}, stdout=subprocess.PIPE, text=True, check=True)
    return CaughtUp.from_json(done.stdout)


def _text(limit: float, ours: CaughtUp, load: float) -> str:
    count = ours.messages
    return (
        f"the limit {count / limit:,.0f} rows/s, ours {count / ours.seconds:,.0f} (ratio {limit / ours.seconds:.2f}), "
        f"{1e6 * ours.cpu_seconds / count:,.1f} us of CPU a message, peak {ours.peak_rss_bytes / 1e6:,.0f} MB, load {load:.1f}"
    )


def report(figures: Figures) -> str:
    heads = [
        "case",
        "messages",
        "bytes each",
        "LOAD DATA/s",
        "ours/s",
        "MB/s",
        "ratio",
        "its server µs",
        "our server µs",
        "run µs",
        "peak MB",
        "load",
    ]
    rows = [
        [
            f["case"],
            f"{f['messages']:,}",
            f"{f['bytes_per_message']:,.0f}",
            f"{f['limit_per_second']:,.0f}",
            f"{f['per_second']:,.0f}",
            f"{f['mb_per_second']:,.1f}",
            f"**{f['ratio']:.2f}**",
            f"{f['limit_server_us_per_message']:,.1f}",
            f"{f['server_us_per_message']:,.1f}",
            f"{f['cpu_us_per_message']:,.1f}",
            f"{f['peak_rss_mb']:,.0f}",
            f"{f['load_average']:.1f}",
        ]
        for f in figures["cases"]
    ]
    return table(heads, rows)


def main() -> None:
    by_name = {case.name: case for case in CASES}
    if sys.argv[1:2] == [_CHILD]:
        print(catch_up(by_name[sys.argv[2]].stream).to_json())
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wide", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=sorted(by_name), action="append", help="only this one; may be given again")
    parser.add_argument("--messages", type=int, help="so many in each case; its own number where left out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    chosen = [by_name[name] for name in options.case or by_name]
    with servers() as servers_:
        found = [measure(servers_, case, options.messages or case.messages, options.rounds) for case in chosen]
    figures: Figures = {"cases": found}
    print("\n" + report(figures))
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
