"""Small streams of one group over a fake cluster and one SQLite file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.engine import group_run, ingestion, shared_clients, triggers
from kafka_ingest.engine.group_run import GroupRun
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.group import groups_of
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.stream import BatchPolicy, RouteByTopic, Stream
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, FakeMetadata, Log

STAMP = 1_767_250_800_000


@cache
def _model(name: str) -> type[AppendModel]:
    body = {
        "__tablename__": f"g_{name}",
        "__annotations__": {"n": Mapped[int]},
        "n": field(sa.Integer),
        "__module__": __name__,
    }
    return type(f"Row_{name}", (AppendModel,), body)


def small_stream(name: str, group: str | None = "small", **settings: Any) -> Stream:
    """One topic of its name, one table of its name with a column `n`."""
    policy = settings.pop("batch", BatchPolicy(max_wait_seconds=0, linger_seconds=0))
    return Stream(
        name=name,
        topics=name,
        routes={name: _model(name)},
        route_by=RouteByTopic(),
        batch=policy,
        group=group,
        **settings,
    )


def numbered(name: str, count: int) -> Log:
    """A log whose messages say their offsets."""
    tp = TopicPartition(name, 0)
    return Log({n: FakeMessage(tp, n, json.dumps({"n": n}).encode(), STAMP + n) for n in range(count)}, count)


class GroupWorld:
    """A cluster and a database that the environment names; runs of groups and of single streams come and go."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *streams: Stream, count: int = 7) -> None:
        self.streams = streams
        self.logs = {TopicPartition(stream.name, 0): numbered(stream.name, count) for stream in streams}
        self.url = f"sqlite:///{folder}/group.db"
        monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", self.url)
        self.settings = Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": self.url})
        self.sink = SQLiteSink(self.settings.database_url)
        self.metadata = FakeMetadata(self.logs)
        self.consumers: list[FakeConsumer] = []
        for module in (ingestion, shared_clients):
            monkeypatch.setattr(module, "KafkaMetadata", lambda _settings: self.metadata)
            monkeypatch.setattr(module, "open_consumer", self.open_consumer)
        monkeypatch.setattr(triggers, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(triggers, "ENDS_SECONDS", 0.0)
        monkeypatch.setattr(triggers, "POLL_SECONDS", 0.001)
        monkeypatch.setattr(group_run, "LOOK_SECONDS", 0.01)

    def open_consumer(self, *_arguments: Any, **_options: Any) -> FakeConsumer:
        self.consumers.append(FakeConsumer(self.logs, group=self.metadata.committed))
        return self.consumers[-1]

    def grow(self, name: str, count: int) -> None:
        """The topic has so many messages now."""
        tp = TopicPartition(name, 0)
        log = numbered(name, count)
        self.logs[tp].messages.update(log.messages)
        self.logs[tp].end = log.end

    def run(self, run_id: str = "run", **options: Any) -> GroupRun:
        (group,) = groups_of(self.streams)
        return GroupRun(group, self.settings, run_id, **options)

    def rows(self, name: str) -> list[int]:
        """What the stream's table holds, in order."""
        with self.sink.engine.connect() as connection:
            if not sa.inspect(connection).has_table(f"g_{name}"):
                return []
            return [n for (n,) in connection.exec_driver_sql(f"SELECT n FROM g_{name} ORDER BY _kafka_offset")]


def drained(run: GroupRun, until: Callable[[], bool] = lambda: False) -> list[str]:
    """The streams of the slices, in order, up to the run's end, or until something is so."""
    found = []
    turns = run.turns()
    for loaded in turns:
        if loaded is not None:
            found.append(loaded.stream)
        if until():
            turns.close()  # type: ignore[attr-defined]
            break
    run.close()
    return found
