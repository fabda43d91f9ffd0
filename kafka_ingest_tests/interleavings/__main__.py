"""`python -m kafka_ingest_tests.interleavings --examples 20000 --database mysql [--seed N] [--minutes M]`

Interleavings of writers on a real server, compared with the oracle. Prints a JSON line every half a minute; at the first that
fails its seed, a smaller example that fails alike with its trace, and exit code 1. `--seed N --examples 1` repeats a log and
its interleavings. With `--mutation NAME` (or `all`) a mend is taken out first, and it is exit code 1 if nothing fails.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import queue
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest_tests.interleavings.example import interleavings
from kafka_ingest_tests.interleavings.mutations import MUTATIONS, SHAPES
from kafka_ingest_tests.interleavings.shrink import shrink
from kafka_ingest_tests.interleavings.world import SERVER_OPTIONS, Violation, World

# Parsing a slice takes as long as loading it; interleavings of one log share what is parsed.
OF_ONE_LOG = 10
SAY_SECONDS = 30.0
SHRINK_SECONDS = 120.0


@contextmanager
def world(kind: str) -> Iterator[World]:
    """On a server of its own."""
    with tempfile.TemporaryDirectory(prefix="interleavings") as folder:
        server = LocalDatabase.start(kind, Path(folder), options=SERVER_OPTIONS)
        try:
            found = World(server.url())
            yield found
            found.close()
        finally:
            server.stop()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=("mysql", "mariadb"), default="mysql")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this long; 0: no limit")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes, each with a server of its own"
    )
    parser.add_argument("--shape", choices=sorted(SHAPES), default="everything")
    parser.add_argument("--mutation", choices=["all", *MUTATIONS], help="the mend to take out")
    options = parser.parse_args()
    # The pool tells of every connection that a fault has taken from it.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    if options.mutation is not None:
        names = list(MUTATIONS) if options.mutation == "all" else [options.mutation]
        return _mutate(names, options.database, options.seed, options.examples)
    return _check(options)


def _check(options: argparse.Namespace) -> int:
    context = multiprocessing.get_context("spawn")
    done: Queue[Any] = context.Queue()
    workers = [
        context.Process(target=_work, args=(options, number, done), daemon=True) for number in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    begun = said = time.monotonic()
    examples = steps = ended = 0
    failed = None
    try:
        while ended < len(workers) and failed is None:
            try:
                told = done.get(timeout=SAY_SECONDS)
            except queue.Empty:
                assert all(worker.is_alive() for worker in workers), "a worker has died"
                continue
            if told is None:
                ended += 1
            elif isinstance(told, str):
                failed = told
            else:
                examples, steps = examples + 1, steps + told
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                _say(options, examples, steps, said - begun)
    finally:
        for worker in workers:
            worker.join(30 if failed is None else 0.1)
    _say(options, examples, steps, time.monotonic() - begun)
    if failed is not None:
        sys.stdout.write(f"{failed}\n")
    return failed is not None


def _work(options: argparse.Namespace, number: int, done: Queue[Any]) -> None:
    """Every `workers`-th seed: the steps of each example, the text of a failure, None at the end."""
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    begun = time.monotonic()
    logs = -(-options.examples // OF_ONE_LOG)
    with world(options.database) as found:
        for seed in range(options.seed + number, options.seed + logs, options.workers):
            for example in interleavings(seed, SHAPES[options.shape], OF_ONE_LOG):
                try:
                    done.put(len(found.run(example)))
                except Violation as violation:
                    done.put(
                        f"FAILED with --seed {seed} --shape '{options.shape}'\n{shrink(found, violation, SHRINK_SECONDS)}"
                    )
                    return
            if options.minutes and time.monotonic() - begun > options.minutes * 60:
                break
    done.put(None)


def _mutate(names: list[str], database: str, seed: int, examples: int) -> int:
    survivors = 0
    for name in names:
        mutation = MUTATIONS[name]
        with world(database) as found, mutation.apply():
            report = _search(found, mutation.shape, seed, examples)
        survivors += report["found_after"] is None
        sys.stdout.write(json.dumps({"mutation": name, "database": database, **report}) + "\n")
        sys.stdout.flush()
    return survivors > 0


def _search(found: World, shape: str, seed: int, examples: int) -> dict[str, Any]:
    """After how many examples something does not hold, and what; None where all `examples` hold."""
    number = 0
    while number < examples:
        for example in interleavings(seed + number, SHAPES[shape], OF_ONE_LOG):
            number += 1
            try:
                found.run(example)
            except Violation as violation:
                return {"found_after": number, "wrong": violation.wrong[0]}
    return {"found_after": None, "examples": number}


def _say(options: argparse.Namespace, examples: int, steps: int, seconds: float) -> None:
    report = {
        "database": options.database,
        "seed": options.seed,
        "interleavings": examples,
        "seconds": round(seconds),
        "interleavings_a_second": round(examples / seconds, 1),
        "steps": steps,
    }
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
