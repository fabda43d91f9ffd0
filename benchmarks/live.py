"""A live topic: a producer that keeps a rate, and a watcher that sees rows become visible, each message with its latency."""

import itertools
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.background import Repeated
from benchmarks.messages import news
from benchmarks.watch import LedgerWatch
from kafka_ingest.streams.information import Information

PARTITIONS = 4
POLL_SECONDS = 0.02
# Between two looks of the producer at how many messages are due.
PACE_SECONDS = 0.005
VISIBLE_SECONDS = 180.0
_BODIES = 500

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Latencies:
    """Messages in the order they were produced."""

    produced: Array
    """Seconds since the epoch."""
    seconds: Array
    """From produced to visible."""

    def percentiles(self, around: tuple[float, float] | None = None) -> dict[str, float]:
        """p50, p95, p99 and max in seconds; of the messages produced between two instants, where given."""
        chosen = self.seconds
        if around is not None:
            chosen = chosen[(self.produced >= around[0]) & (self.produced <= around[1])]
        found = np.percentile(chosen, [50, 95, 99, 100])
        return {name: round(float(value), 3) for name, value in zip(("p50", "p95", "p99", "max"), found, strict=True)}


@dataclass(frozen=True)
class FirstCommit:
    """Of a run."""

    seen: float
    """When, in seconds since the epoch."""
    pause: float
    """Seconds since the commit before it, which was another run's."""


@dataclass
class LiveTopic:
    """`with LiveTopic(bootstrap, url, topic) as topic: …`; one producer, one watcher with a connection of its own.

    Rows and ledger commit together, so an offset below the ledger's next offset is a visible row. Latencies are upper bounds:
    from just before `produce` to the answer of the query that saw it.
    """

    bootstrap: str
    url: str
    topic: str
    sent: dict[int, list[float]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})
    """Per partition the instants at which offsets 0, 1, … were produced."""
    seen: dict[int, list[tuple[int, float]]] = field(default_factory=lambda: {p: [] for p in range(PARTITIONS)})
    """Per partition the next offsets and when each was first seen."""
    runs: dict[str, "FirstCommit"] = field(default_factory=dict)
    """By run id."""

    def __post_init__(self) -> None:
        # One request at a time, so that a repeated one does not change the order.
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "max.in.flight": 1})
        self._failed: list[KafkaError] = []
        self._numbers = itertools.count()
        self._bodies = list(itertools.islice(news(), _BODIES))
        self._last_commit = time.time()
        self._ledger = LedgerWatch(self.url)
        self._watching = Repeated(self._look, POLL_SECONDS)
        self._running = ExitStack()

    def __enter__(self) -> "LiveTopic":
        self._running.enter_context(closing(self._ledger))
        self._running.enter_context(self._watching)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def send(self, count: int) -> None:
        """So many messages at once, to the partitions in turn."""
        for _ in range(count):
            number = next(self._numbers)
            now = time.time()
            self._producer.produce(
                self.topic,
                self._bodies[number % _BODIES],
                partition=number % PARTITIONS,
                timestamp=int(now * 1000),
                on_delivery=partial(self._delivered, now),
            )
        self._producer.poll(0)

    def send_at(self, rate: float, seconds: float) -> None:
        """Keep a rate of messages per second for so long; what is late is sent as soon as possible."""
        keep_rate(self.send, rate, seconds)

    def flush(self) -> None:
        left = self._producer.flush(60)
        if self._failed or left:
            raise RuntimeError(f"{len(self._failed)} messages refused ({self._failed[:1]}), {left} not acknowledged")

    def wait_visible(self) -> None:
        """Until every message sent is a row."""
        self.flush()
        deadline = time.monotonic() + VISIBLE_SECONDS
        while not self._all_visible():
            self._watching.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not visible after {VISIBLE_SECONDS:.0f} s: {self.sent_counts()}, {self._ends()}")
            time.sleep(POLL_SECONDS)

    def sent_counts(self) -> dict[int, int]:
        return {partition: len(instants) for partition, instants in self.sent.items()}

    def latencies(self, since: dict[int, int]) -> Latencies:
        """Of the messages after those counts, which are visible."""
        produced, visible = [], []
        for partition, instants in self.sent.items():
            first = since[partition]
            ends = np.array([end for end, _ in self.seen[partition]])
            at = np.array([instant for _, instant in self.seen[partition]])
            offsets = np.arange(first, len(instants))
            produced.append(np.array(instants[first:]))
            visible.append(at[np.searchsorted(ends, offsets, side="right")] if len(offsets) else np.array([]))
        start, end = np.concatenate(produced), np.concatenate(visible)
        order = np.argsort(start)
        return Latencies(start[order], (end - start)[order])

    def _delivered(self, produced: float, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error)
            return
        partition = message.partition()
        assert partition is not None
        instants = self.sent[partition]
        # The producer keeps the order, and the topic is the benchmark's own.
        assert message.offset() == len(instants), f"offset {message.offset()} after {len(instants)} messages"
        instants.append(produced)

    def _all_visible(self) -> bool:
        ends = self._ends()
        return all(ends[partition] >= count for partition, count in self.sent_counts().items())

    def _ends(self) -> dict[int, int]:
        return {partition: steps[-1][0] if steps else 0 for partition, steps in self.seen.items()}

    def rows(self) -> int:
        """Rows of the news' table: a message that became a dead letter is passed by the ledger too."""
        engine = sa.create_engine(self.url)
        try:
            with engine.connect() as connection:
                count = sa.select(sa.func.count()).select_from(Information.__table__)
                return int(connection.execute(count).scalar_one())
        finally:
            engine.dispose()

    def _look(self) -> None:
        positions, now = self._ledger.positions(self.topic), time.time()
        for partition, end, run_id in positions:
            steps = self.seen[partition]
            if end > (steps[-1][0] if steps else 0):
                steps.append((end, now))
                self.runs.setdefault(run_id, FirstCommit(now, now - self._last_commit))
                self._last_commit = now


def keep_rate(send: Callable[[int], None], rate: float, seconds: float) -> None:
    """Have `send` send as many messages as are due, again and again; what is late is sent as soon as possible."""
    started, done = time.monotonic(), 0
    while (elapsed := time.monotonic() - started) < seconds:
        due = int(elapsed * rate)
        send(due - done)
        done = due
        time.sleep(PACE_SECONDS)
    send(int(seconds * rate) - done)


def until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Look five times a second; TimeoutError after so long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.2)
