"""Peak memory of a catch-up, by the size of its messages: a slice is bounded in rows and bytes, a backlog in neither.

    python -m benchmarks.memory [--backlog MESSAGES] [--json FILE]    (5 minutes; a backlog of 20,000,000: 20 more)

Each load is a process of its own: the stages, with Dagster and this package's definitions imported as in a run; the peak is the
kernel's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from confluent_kafka import Producer

from benchmarks.catch_up import catch_up
from benchmarks.command import Figures, table, write_json
from benchmarks.servers import Servers, servers
from kafka_ingest.streams.information import STREAM

# Bytes of a message, and how many.
CASES = ((430, 200_000), (430, 2_000_000), (20_000, 20_000), (1_000_000, 600))
LARGEST = 12_000_000
PARTITIONS = 4
_CHILD = "--child"


def send(servers_: Servers, topic: str, size: int, count: int) -> None:
    """So many news of about `size` bytes."""
    servers_.create_topics({topic: PARTITIONS}, max_message_bytes=str(LARGEST))
    producer = Producer({"bootstrap.servers": servers_.bootstrap, "message.max.bytes": LARGEST, "linger.ms": 20})
    fields = {"type": "information", "title": "t", "publishTime": "2026-01-01", "content": ""}
    fields["content"] = "x" * max(1, size - len(json.dumps(fields)) - 20)
    for number in range(count):
        value = json.dumps(fields | {"id": str(number)}).encode()
        while True:
            try:
                producer.produce(topic, value, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def load(topic: str, messages: int) -> None:
    """Load the whole topic in this process; prints the peak of its memory in bytes."""
    done = catch_up(dataclasses.replace(STREAM, topics=topic))
    assert done.messages == messages
    print(done.peak_rss_bytes)


def measure(cases: Sequence[tuple[int, int]]) -> Figures:
    """Peak bytes by case."""
    figures: Figures = {}
    with servers() as servers_:
        for size, count in cases:
            topic = f"news-{size}-{count}"
            send(servers_, topic, size, count)
            environ = servers_.environment(f"b{size}_{count}", "kafka_ingest.streams")
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", _CHILD, topic, str(count)],
                env={**os.environ, **environ},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            figures[f"{count:,} messages of {size:,} bytes"] = int(done.stdout)
            print(f"{count:,} messages of {size:,} bytes: {int(done.stdout) / 1e6:,.0f} MB", flush=True)
    return figures


def main() -> None:
    if sys.argv[1:2] == [_CHILD]:
        load(sys.argv[2], int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--backlog", type=int, metavar="MESSAGES", help="only so many messages of 430 bytes")
    options = parser.parse_args()
    figures = measure(((430, options.backlog),) if options.backlog else CASES)
    print("\n" + table(["load", "peak, MB"], [[case, f"{peak / 1e6:,.0f}"] for case, peak in figures.items()]))
    write_json(options.json, figures)


if __name__ == "__main__":
    main()
