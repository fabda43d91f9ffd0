"""A topic in memory beside a real database: what is sent may be loaded, and found again."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_ingest.checks import message_search
from kafka_ingest.checks.fate import FoundMessage
from kafka_ingest.checks.find import Answer, find
from kafka_ingest.checks.message_search import Bounds, wanted_of
from kafka_ingest.engine.stream_state import read_next_offsets
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import BatchKind, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import SETTINGS, FakeConsumer, FakeMessage, FakeMetadata, Log


class Searched:
    """One topic of a stream."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stream: Stream = MIXED, sink: Sink | None = None) -> None:
        self.stream = stream
        self.topic = stream.topic_names[0]
        self.target = Target(stream, sink)
        self.messages: dict[TopicPartition, dict[int, Msg]] = {}
        self.logs: dict[TopicPartition, Log] = {}
        self.metadata = FakeMetadata(self.logs)
        self.consumers: list[FakeConsumer] = []
        monkeypatch.setattr(message_search, "open_consumer", self.open_consumer)

    def open_consumer(self, *_arguments: object, **_options: object) -> FakeConsumer:
        self.consumers.append(FakeConsumer(self.logs))
        return self.consumers[-1]

    def send(self, *messages: Msg, partition: int = 0) -> None:
        """Append to a partition, which the first message makes; its timestamps count up in seconds where none is given."""
        tp = TopicPartition(self.topic, partition)
        log = self.logs.setdefault(tp, Log({}, 0))
        for message in messages:
            offset = log.end
            stamp = MORNING_MS + offset * 1000 if message.timestamp_ms is None else message.timestamp_ms
            log.messages[offset] = FakeMessage(tp, offset, message.body, stamp, name=message.key)
            self.messages.setdefault(tp, {})[offset] = Msg(
                message.value, message.key, offset=offset, timestamp_ms=stamp
            )
            log.end += 1

    def load(
        self, start: int | None = None, kind: BatchKind = "live", *, partition: int = 0, run_id: str = "run"
    ) -> None:
        """Load a partition to its end, by default from the ledger's next offset on."""
        tp = TopicPartition(self.topic, partition)
        self.target.pin({tp: 0 if start is None or kind != "live" else start})
        first = read_next_offsets(self.target.sink, self.stream)[tp] if start is None else start
        found = [m for offset, m in self.messages[tp].items() if offset >= first and offset in self.logs[tp].messages]
        part = Part(found, self.topic, partition, first, self.logs[tp].end)
        self.target.load(raw_slice(part), kind, run_id=run_id)

    def answer(
        self, text: str, *, meant: Any = None, stream: Stream | None = None, limit: int = 20, **bounds: Any
    ) -> Answer:
        return find(
            stream or self.stream,
            self.topic,
            wanted_of(self.topic, text, meant),
            Bounds(**bounds),
            metadata=self.metadata,
            sink=self.target.sink,
            settings=SETTINGS,
            limit=limit,
        )

    def offsets(self, text: str, **options: Any) -> list[int]:
        return [each.position.offset for each in self.answer(text, **options).found]

    def fates(self, text: str, **options: Any) -> list[str]:
        """Fate, and the position of the other message where there is one."""
        return [
            each.fate if each.by is None else f"{each.fate} {each.by}" for each in self.answer(text, **options).found
        ]

    def one(self, text: str, **options: Any) -> FoundMessage:
        (found,) = self.answer(text, **options).found
        return found
