"""Many interleavings, over several processes, each with a server of its own."""

from __future__ import annotations

import gc
import json
import logging
import multiprocessing
import queue
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from kafka_ingest.sinks.registry import local_server
from kafka_ingest_tests.interleavings.example import Example, interleavings
from kafka_ingest_tests.interleavings.mutations import MUTATIONS
from kafka_ingest_tests.interleavings.servers import SERVERS
from kafka_ingest_tests.interleavings.shapes import SHAPES
from kafka_ingest_tests.interleavings.shrink import shrink
from kafka_ingest_tests.interleavings.world import Violation, World

# Parsing a slice takes as long as loading it; interleavings of one log share what is parsed.
OF_ONE_LOG = 20
SAY_SECONDS = 30.0
SHRINK_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Wanted:
    """What to run. Seeds go up from `seed`, one for each log."""

    database: str
    seed: int
    examples: int
    seconds: float
    """Stop after this long; 0: no limit."""
    workers: int
    shape: str
    is_numbered: bool = False
    """Whether the tables to upsert have a primary key of their own."""


@contextmanager
def world(kind: str, *, is_numbered: bool = False) -> Iterator[World]:
    """On a server of its own."""
    # What was imported stays: looking for garbage in it is a tenth of the time.
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
    with tempfile.TemporaryDirectory(prefix="interleavings") as folder:
        server_class = local_server(kind)
        assert server_class is not None
        server = server_class.start(kind, Path(folder), options=SERVERS[kind].options)
        try:
            found = World(server.url(), is_numbered=is_numbered)
            yield found
            found.close()
        finally:
            server.stop()


def silence_the_pool() -> None:
    """It tells of every connection that a fault has taken from it."""
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)


def check(wanted: Wanted) -> bool:
    """Whether all hold. Prints how far it is, and the first example that fails."""
    context = multiprocessing.get_context("spawn")
    told: Queue[Any] = context.Queue()
    stop = context.Event()
    workers = [context.Process(target=_work, args=(wanted, n, told, stop)) for n in range(wanted.workers)]
    for worker in workers:
        worker.start()
    begun = said = time.monotonic()
    examples = steps = ended = 0
    failed = None
    try:
        while ended < len(workers) and failed is None:
            try:
                news = told.get(timeout=SAY_SECONDS)
            except queue.Empty:
                if any(worker.exitcode for worker in workers):
                    failed = "a worker has died"
                continue
            if news is None:
                ended += 1
            elif isinstance(news, str):
                failed = news
            else:
                examples, steps = examples + 1, steps + news
            if time.monotonic() - said > SAY_SECONDS:
                said = time.monotonic()
                _say_how_far(wanted, examples, steps, said - begun)
    finally:
        stop.set()
        for worker in workers:
            worker.join(STOP_SECONDS)
    _say_how_far(wanted, examples, steps, time.monotonic() - begun)
    if failed is not None:
        sys.stdout.write(f"{failed}\n")
    return failed is None


def _work(wanted: Wanted, number: int, told: Queue[Any], stop: Event) -> None:
    """Every `workers`-th log. Tells the steps of each example, the text of a failure, None at the end."""
    silence_the_pool()
    begun = time.monotonic()
    parent = multiprocessing.parent_process()
    logs = -(-wanted.examples // OF_ONE_LOG)
    with world(wanted.database, is_numbered=wanted.is_numbered) as found:
        for log in range(number, logs, wanted.workers):
            seed = wanted.seed + log
            for example in interleavings(seed, SHAPES[wanted.shape], OF_ONE_LOG):
                is_alone = parent is not None and not parent.is_alive()  # killed: its server goes with this process
                if is_alone or stop.is_set() or 0 < wanted.seconds < time.monotonic() - begun:
                    told.put(None)
                    return
                try:
                    told.put(len(found.run(example)))
                except Violation as violation:
                    smaller = shrink(found, violation, SHRINK_SECONDS)
                    told.put(f"FAILED with --seed {seed} --shape '{wanted.shape}'\n{smaller}")
                    return
    told.put(None)


def mutate(names: Sequence[str], database: str, seed: int, examples: int, *, is_numbered: bool = False) -> bool:
    """Whether something does not hold for each of these mends taken out, within so many examples. Prints after how many."""
    is_found = True
    of_world: dict[bool, list[str]] = {}
    for name in names:
        of_world.setdefault(is_numbered or MUTATIONS[name].is_numbered, []).append(name)
    for numbered, own in of_world.items():
        with world(database, is_numbered=numbered) as found:
            for name in own:
                mutation = MUTATIONS[name]
                with mutation.apply():
                    report = _search(found, mutation.shape, seed, examples)
                is_found &= report["found_after"] is not None
                _say({"mutation": name, "database": database, **report})
    return is_found


def _search(found: World, shape: str, seed: int, examples: int) -> dict[str, Any]:
    for number, example in enumerate(examples_of(seed, shape, examples), start=1):
        try:
            found.run(example)
        except Violation as violation:
            return {"found_after": number, "wrong": violation.wrong[0]}
    return {"found_after": None, "examples": examples}


def examples_of(seed: int, shape: str, number: int) -> Iterator[Example]:
    """Of one log after the other; its seeds go up from `seed`."""
    for log in range(-(-number // OF_ONE_LOG)):
        yield from interleavings(seed + log, SHAPES[shape], OF_ONE_LOG)


def _say_how_far(wanted: Wanted, examples: int, steps: int, seconds: float) -> None:
    _say(
        {
            "database": wanted.database,
            "seed": wanted.seed,
            "interleavings": examples,
            "seconds": round(seconds),
            "interleavings_a_second": round(examples / seconds, 1),
            "steps": steps,
        }
    )


def _say(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
