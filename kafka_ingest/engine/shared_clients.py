"""What the loads of several streams in one process share: one set of Kafka clients, one pool of connections, one lease keeper."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from threading import Lock

from kafka_ingest.engine.ended_runs import RunRecords
from kafka_ingest.engine.lease_keeper import LeaseKeeper
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.group_offsets import GroupCommitter
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.shared_consumer import SharedConsumer
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink


class SharedClients:
    """Of one run. Close it after the `Ingestion`s that use it."""

    def __init__(self, settings: Settings, run_id: str, records: RunRecords | None = None) -> None:
        self.metadata = KafkaMetadata(settings)
        self.sink: Sink = open_sink(settings.database_url)
        self.leases = LeaseKeeper(self.sink, run_id, records)
        self._settings = settings
        self._consumers: dict[str, SharedConsumer] = {}
        self._committers: dict[str, GroupCommitter] = {}
        self._opening = Lock()

    def open_reader(self, group_id: str, stream: str) -> RangeReader:
        """A reader for one stream, by the consumer of its consumer group."""
        opened = partial(open_consumer, self._settings, group_id, is_shared=True)
        with self._opening:
            if group_id not in self._consumers:
                self._consumers[group_id] = SharedConsumer(opened())
        return RangeReader(
            self._consumers[group_id].of_stream(stream), reopen=lambda messages: opened(queued_messages=messages)
        )

    def committer(self, group_id: str) -> GroupCommitter:
        """Of one consumer group."""
        with self._opening:
            if group_id not in self._committers:
                self._committers[group_id] = GroupCommitter(partial(open_consumer, self._settings, group_id), group_id)
            return self._committers[group_id]

    def close(self) -> None:
        """Release connections. Idempotent."""
        with ExitStack() as closing_all:
            closing_all.callback(self.sink.close)
            for consumer in self._consumers.values():
                closing_all.callback(consumer.close)
            for committer in self._committers.values():
                closing_all.callback(committer.close)
            self._consumers, self._committers = {}, {}
            closing_all.callback(self.leases.close)
