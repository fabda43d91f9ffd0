"""The example stream on a real broker, into SQLite: messages sent, whole runs without Dagster, what they left."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.slices import Batch
from kafka_ingest.streams.information import STREAM as DECLARED
from kafka_ingest.streams.stream import Stream


def settings_for(kafka: LocalKafka, folder: Path, **kafka_settings: str) -> Settings:
    url = f"sqlite:///{folder / 'target.db'}"
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": url}
    return Settings.from_environment(environ | kafka_settings)


def stream_of(topic: str, **changes: Any) -> Stream:
    return dataclasses.replace(DECLARED, topics=topic, **changes)


@contextmanager
def opened(stream: Stream, settings: Settings) -> Iterator[Ingestion]:
    ingestion = Ingestion(stream, settings, run_id="test-run")
    try:
        yield ingestion
    finally:
        ingestion.close()


def catch_up(stream: Stream, settings: Settings) -> Batch:
    """One whole run, as the ops do it."""
    with opened(stream, settings) as ingestion:
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        list(ingestion.drain(batch))
    return batch


def query(settings: Settings, sql: str) -> list[Any]:
    engine = sa.create_engine(settings.database_url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.text(sql))]
    engine.dispose()
    return rows


def positions(settings: Settings) -> dict[int, int]:
    return dict(
        query(settings, "SELECT kafka_partition, next_offset FROM kafka_ingest_offsets WHERE topic NOT LIKE '%@%'")
    )


def item(name: str) -> bytes:
    return json.dumps({"type": "information", "id": name, "title": "t", "publishTime": "2024-05-01"}).encode()


def send(kafka: LocalKafka, topic: str, names: list[str], partition: int = 0, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for name in names:
        producer.produce(topic, item(name), name.encode(), partition=partition, **options)
    assert producer.flush(30) == 0


def ids(settings: Settings) -> list[str]:
    return [row[0] for row in query(settings, "SELECT id FROM information ORDER BY _kafka_partition, _kafka_offset")]


def retried(act: Callable[[], object], *errors: type[Exception]) -> None:
    """Act until it works, for half a minute: a topic's name is free, or its partitions are there, only after a moment."""
    deadline = time.monotonic() + 30
    while True:
        try:
            act()
            return
        except errors:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def delete_before(kafka: LocalKafka, topic: str, offset: int) -> None:
    """What retention does."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(30)
