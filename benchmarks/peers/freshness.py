"""How old rows are when they come into sight while messages arrive at a rate: one way for every peer.

Some of the messages are probes. A watcher asks the peer's table every POLL_SECONDS, by the index on `id`, which of the probes not
seen yet are there. A probe's age runs from just before `produce` to the answer that had it, so it is an upper bound.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.background import Repeated
from benchmarks.live import keep_rate
from benchmarks.messages import news
from benchmarks.peers.job import Job
from benchmarks.peers.process import PeerProcess
from benchmarks.peers.program import Program
from benchmarks.peers.result import NotMeasured

POLL_SECONDS = 0.02
PROBES_PER_SECOND = 100
# Of the probes not seen yet the oldest: while a peer keeps up these are all of them.
PROBES_A_LOOK = 500
WARM_UP_RATE = 100
WARM_UP_SECONDS = 10.0
START_SECONDS = 120.0
# What a peer gets to finish after the last message; a probe that is not seen then is as old as it is then, or older.
DRAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """At one rate."""

    rate: int
    """Messages a second."""
    probes: int
    unseen: int
    """Probes that were not rows DRAIN_SECONDS after the last message: the peer is too slow, and the ages are lower bounds."""
    p50_seconds: float
    p99_seconds: float
    cpu_us_per_message: float
    """Processor time of the peer's process tree for a message sent, until all probes were seen or given up."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_freshness(
    program: Program, job: Job, rates: Sequence[int], seconds: float, *, partitions: int
) -> list[Freshness]:
    """Start it on the job's topic, which is empty, warm it up, then each rate for so long; it is ended with its children.

    After a rate that it cannot keep up with no other is tried, so `rates` rise.

    Raises NotMeasured, with the end of the program's output, where it ended or did not come to the end of the first messages.
    """
    found: list[Freshness] = []
    with (
        PeerProcess(program.command, program.environment) as process,
        closing(ProbeWatch(job.database_url, program.table)) as watch,
        watch,
    ):
        producer = ProbingProducer(job.bootstrap, job.topic, partitions, watch.expect)
        started = time.monotonic()
        producer.send_at(WARM_UP_RATE, 1.0)
        if not watch.wait_seen(START_SECONDS, process.has_ended):
            raise NotMeasured(f"{program.peer}: no row within {START_SECONDS:.0f} s:\n{process.tail()}")
        producer.send_at(WARM_UP_RATE, WARM_UP_SECONDS)
        if not watch.wait_seen(START_SECONDS - (time.monotonic() - started), process.has_ended):
            raise NotMeasured(f"{program.peer}: does not keep up with {WARM_UP_RATE} messages/s")
        for rate in rates:
            watch.forget()
            before = _cpu_seconds(process)
            sent = producer.send_at(rate, seconds)
            keeps_up = watch.wait_seen(DRAIN_SECONDS, process.has_ended)
            if process.has_ended():
                raise NotMeasured(f"{program.peer}: its program ended by itself:\n{process.tail()}")
            cpu_us = 1e6 * (_cpu_seconds(process) - before) / sent
            found.append(freshness_of(rate, watch.seen_ages(), watch.unseen_ages(), cpu_us))
            if not keeps_up:
                break
    return found


def freshness_of(rate: int, seen: Sequence[float], unseen: Sequence[float], cpu_us_per_message: float) -> Freshness:
    """Ages in seconds; those of unseen probes are what they had when they were given up."""
    p50, p99 = np.percentile([*seen, *unseen], [50, 99])
    return Freshness(
        rate, len(seen) + len(unseen), len(unseen), round(float(p50), 3), round(float(p99), 3), cpu_us_per_message
    )


def probe_interval(rate: float) -> int:
    """Every how many messages one is a probe: odd, so that an even number of partitions has them all in turn."""
    return max(1, int(rate / PROBES_PER_SECOND)) | 1


class ProbingProducer:
    """News to the topic's partitions in turn, at a rate; tells `expect` of each probe before it is produced."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, expect: Callable[[str, float], None]) -> None:
        self._producer = Producer({"bootstrap.servers": bootstrap})
        self._topic, self._partitions, self._expect = topic, partitions, expect
        self._news = enumerate(news())

    def send_at(self, rate: float, seconds: float) -> int:
        """Keep a rate of messages per second for so long; returns how many they were, all of them acknowledged.

        Raises RuntimeError where the broker does not take them.
        """
        every, sent = probe_interval(rate), 0

        def send(count: int) -> None:
            nonlocal sent
            for number, value in itertools.islice(self._news, count):
                if sent % every == 0:
                    self._expect(json.loads(value)["id"], time.time())
                self._producer.produce(self._topic, value, partition=number % self._partitions)
                sent += 1
            self._producer.poll(0)

        keep_rate(send, rate, seconds)
        if left := self._producer.flush(60):
            raise RuntimeError(f"{left} messages not acknowledged")
        return sent


class ProbeWatch(Repeated):
    """`with ProbeWatch(url, table) as watch: …`: looks for the expected ids over a connection of its own; `close` it then."""

    def __init__(self, database_url: str, table: str) -> None:
        self._engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        identifier = sa.column("id", sa.String)
        self._query = (
            sa.select(identifier)
            .select_from(sa.table(table))
            .where(identifier.in_(sa.bindparam("ids", expanding=True)))
        )
        self._lock = threading.Lock()
        self._waiting: dict[str, float] = {}
        self._ages: list[float] = []
        super().__init__(self._look, POLL_SECONDS)

    def expect(self, identifier: str, produced: float) -> None:
        """produced: seconds since the epoch."""
        with self._lock:
            self._waiting[identifier] = produced

    def wait_seen(self, seconds: float, given_up: Callable[[], bool]) -> bool:
        """Whether all that are expected came into sight before the time was up or the watched was given up."""
        deadline = time.monotonic() + seconds
        while self._waiting and time.monotonic() < deadline and not given_up():
            self.check()
            time.sleep(POLL_SECONDS)
        return not self._waiting

    def seen_ages(self) -> list[float]:
        """Seconds."""
        return list(self._ages)

    def unseen_ages(self) -> list[float]:
        """Seconds until now of what is still expected."""
        now = time.time()
        with self._lock:
            return [now - produced for produced in self._waiting.values()]

    def forget(self) -> None:
        """What was seen so far."""
        self._ages.clear()

    def close(self) -> None:
        self._engine.dispose()

    def _look(self) -> None:
        with self._engine.connect() as connection:
            while True:
                with self._lock:
                    oldest = list(itertools.islice(self._waiting, PROBES_A_LOOK))
                if not oldest:
                    return
                there = set(connection.execute(self._query, {"ids": oldest}).scalars())
                now = time.time()
                with self._lock:
                    self._ages += [now - self._waiting.pop(identifier) for identifier in there]
                if len(there) < len(oldest):
                    return


def _cpu_seconds(process: PeerProcess) -> float:
    use = process.use()
    return use.cpu_seconds + use.ended_children_cpu_seconds
