"""A cluster and a database for whole runs: everything real but the cluster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kafka_ingest.checks import consumer_group as group_check_module
from kafka_ingest.engine import ingestion as ingestion_module
from kafka_ingest.engine import triggers as triggers_module
from kafka_ingest.engine.ended_runs import RunRecords
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.orchestration import checks as checks_module
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import Batch, OffsetRange, TopicPartition
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, FakeMetadata, Log

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)
STREAM = dataclasses.replace(MIXED, batch=BatchPolicy(max_rows=5, max_wait_seconds=0, linger_seconds=0))


def events(tp: TopicPartition, count: int) -> Log:
    bodies = (json.dumps({"type": "event", "name": f"{tp.partition}-{n}"}).encode() for n in range(count))
    return Log({n: FakeMessage(tp, n, body, 1_767_250_800_000 + n) for n, body in enumerate(bodies)}, count)


def first_five(run: Ingestion, requested: tuple[OffsetRange, ...] = (), kind: Any = "live") -> Batch:
    """The run's stages up to its drain."""
    batch = run.plan(requested, kind)
    result = run.load(run.apply_steps(run.read(batch)), batch.kind)
    run.commit(result.next_offsets)
    return batch


class World:
    """One cluster, one database; runs come and go."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> None:
        self.logs = {P0: events(P0, 12), P1: events(P1, 8)}
        self.url = url or f"sqlite:///{folder}/target.db"
        self.settings = Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": self.url})
        self.target = Target(STREAM, open_sink(self.settings.database_url))
        self.metadata = FakeMetadata(self.logs)
        self.consumers: list[FakeConsumer] = []
        monkeypatch.setattr(ingestion_module, "KafkaMetadata", lambda _settings: self.metadata)
        monkeypatch.setattr(checks_module, "KafkaMetadata", lambda _settings: self.metadata)
        monkeypatch.setattr(group_check_module, "LOOK_SECONDS", 0.0)
        monkeypatch.setattr(ingestion_module, "open_consumer", self.open_consumer)
        monkeypatch.setattr(triggers_module, "SLICE_SECONDS", 0.0)
        monkeypatch.setattr(triggers_module, "ENDS_SECONDS", 0.0)
        monkeypatch.setattr(triggers_module, "POLL_SECONDS", 0.001)

    def open_consumer(self, *_arguments: Any, **_options: Any) -> FakeConsumer:
        self.consumers.append(FakeConsumer(self.logs, group=self.metadata.committed))
        return self.consumers[-1]

    def run(
        self,
        at_step: Callable[[str], None] = lambda _step: None,
        stream: Stream = STREAM,
        *,
        shard: Shard = WHOLE,
        run_id: str = "run",
        records: RunRecords | None = None,
    ) -> Ingestion:
        return Ingestion(
            stream, self.settings, run_id=run_id, now=lambda: NOW, at_step=at_step, shard=shard, records=records
        )

    def names(self) -> list[Any]:
        return [row[0] for row in self.target.rows(Event, "name")]

    def all_names(self) -> list[str]:
        return [f"{tp.partition}-{n}" for tp, log in sorted(self.logs.items()) for n in log.messages]
