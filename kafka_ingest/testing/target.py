"""A real SQLite database, and what stands in it."""

from __future__ import annotations

import datetime as dt
import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from kafka_ingest.ledger.positions import pin_positions
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.commit_order import CommitTicket
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import BatchKind, LoadResult, RawSlice, TopicPartition
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice

NOW = dt.datetime(2026, 1, 1, 8, tzinfo=dt.timezone.utc)

# A test that waits for another thread gives up after this long.
SECONDS = 60.0


class Crash(BaseException):
    """The process dies here: nothing in the code may catch it."""


class Target:
    """A sink with the tables of a stream, and short ways to load and to look."""

    def __init__(self, stream: Stream, sink: Sink | None = None) -> None:
        self.stream = stream
        self.sink = sink or SQLiteSink(sa.make_url("sqlite://"))
        weakref.finalize(self, self.sink.close)
        prepare_tables(self.sink, stream)

    def pin(self, starts: Mapping[TopicPartition, int], topic_ids: Mapping[str, str] | None = None) -> None:
        with self.sink.engine.begin() as connection:
            pin_positions(connection, self.stream.name, starts, topic_ids or {}, run_id="pin", now=NOW)

    def load(
        self,
        raw: RawSlice,
        kind: BatchKind = "live",
        *,
        run_id: str = "run",
        at_step: Callable[[str], None] = lambda _step: None,
        stream: Stream | None = None,
        ticket: CommitTicket | None = None,
    ) -> LoadResult:
        used = stream or self.stream
        context = LoadContext(used, run_id, "2026-01-01-07:00", lambda: NOW, at_step)
        return load(self.sink, piped(used, raw), kind, context, ticket)

    def receive(self, *messages: Any, topic: str | None = None) -> LoadResult:
        """Load these messages, as the next ones of partition 0 of a topic. Each is a `Msg`, or its value; a dict becomes JSON.

        topic: by default the first that the stream names. `rows` and `dead_letters` tell what they became.
        """
        name = self.stream.topic_names[0] if topic is None else topic
        start = self.offsets().get(f"{name}[0]")
        if start is None:
            start = 0
            self.pin({TopicPartition(name, 0): start})
        parts = [message if isinstance(message, Msg) else Msg(message) for message in messages]
        return self.load(raw_slice(Part(parts, topic=name, start=start)))

    def load_ahead(
        self,
        raw: RawSlice,
        kind: BatchKind = "live",
        *,
        run_id: str = "run",
        at_step: Callable[[str], None] = lambda _step: None,
    ) -> LoadResult:
        """As a slice is loaded that is begun before the one before it is committed, which then is at once."""
        previous = CommitTicket()
        previous.let_next_begin()

        def committed_meanwhile(step: str) -> None:
            at_step(step)
            if step == LoadStep.AHEAD:
                previous.settle(is_loaded=True)

        return self.load(raw, kind, run_id=run_id, at_step=committed_meanwhile, ticket=CommitTicket(previous))

    def all(self, query: str) -> list[tuple[Any, ...]]:
        with self.sink.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def rows(self, model: type[Model], *names: str) -> list[tuple[Any, ...]]:
        """These columns of a table, in order of Kafka position."""
        order = "_kafka_topic, _kafka_partition, _kafka_offset"
        return self.all(f"SELECT {', '.join(names)} FROM {model.__table__.name} ORDER BY {order}")

    def offsets(self) -> dict[str, int]:
        query = "SELECT topic, kafka_partition, next_offset FROM kafka_ingest_offsets ORDER BY 1, 2"
        return {f"{topic}[{partition}]": offset for topic, partition, offset in self.all(query)}

    def batches(self) -> list[tuple[Any, ...]]:
        """(range, kind, rows, deletes, dead letters, ignored, absent) in the order written."""
        return [
            (f"{topic}[{partition}]@[{start},{end})", *rest)
            for topic, partition, start, end, *rest in self.all(
                "SELECT topic, kafka_partition, start_offset, end_offset, kind, row_count, delete_count, "
                "dead_letter_count, ignored_count, absent_count FROM kafka_ingest_batches ORDER BY id"
            )
        ]

    def dead_letters(self) -> list[tuple[Any, ...]]:
        """(position, stage, route, value) in order of position."""
        return [
            (f"{topic}[{partition}]@{offset}", *rest)
            for topic, partition, offset, *rest in self.all(
                "SELECT topic, kafka_partition, kafka_offset, stage, route, message_value "
                "FROM kafka_ingest_dead_letters ORDER BY topic, kafka_partition, kafka_offset"
            )
        ]

    def state(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that a repeated load must not change: tables, positions, dead letters, but no run ids and times."""
        tables = {
            m.__table__.name: self.all(f"SELECT * FROM {m.__table__.name} ORDER BY 1, 2, 3, 4, 5, 6")
            for m in dict.fromkeys(self.stream.routes.values())
        }
        return tables | {
            "offsets": sorted(self.offsets().items()),
            "dead_letters": self.dead_letters(),
        }


class Held:
    """A load in a thread of its own that stops before a step until it is let go."""

    def __init__(self, target: Target, raw: RawSlice, step: LoadStep, kind: BatchKind = "live") -> None:
        self._step = step
        self._reached, self._go = threading.Event(), threading.Event()
        self.result: Future[LoadResult] = ThreadPoolExecutor(1).submit(target.load, raw, kind, at_step=self._at)
        assert self._reached.wait(SECONDS)

    def _at(self, step: str) -> None:
        if step == self._step:
            self._reached.set()
            assert self._go.wait(SECONDS)

    def let_go(self) -> LoadResult:
        """Go on, to the end."""
        self._go.set()
        return self.result.result(SECONDS)
