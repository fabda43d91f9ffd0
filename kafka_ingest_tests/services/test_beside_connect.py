"""Kafka Connect with the Debezium JDBC sink loads the same topic of change events into a table beside ours.

It downloads Connect and the sink with Maven (about 70 MB, once), so it is left to a schedule, with `make faults-full`. By itself:
`pytest -q -s kafka_ingest_tests/services/test_beside_connect.py`; -s shows how long each took.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from benchmarks.peers.connect import connect_command, jdbc_sink
from benchmarks.peers.process import PeerProcess
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import LOOPBACK, free_port
from kafka_ingest.settings import Settings
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.envelopes.accounts import Account, Accounts
from kafka_ingest_tests.envelopes.source import PARTITIONS, Row
from kafka_ingest_tests.envelopes.world import with_schemas
from kafka_ingest_tests.support.catch_up import catch_up

pytestmark = [pytest.mark.faults, pytest.mark.scheduled]

SEED = 12
CHANGES = 8_000
CONNECT_SECONDS = 240.0
COLUMNS = [column for column in Account.__table__.columns if not column.name.startswith("_kafka")]
BESIDE = sa.Table(
    "accounts_of_connect", sa.MetaData(), *(sa.Column(c.name, c.type, primary_key=c.name == "id") for c in COLUMNS)
)


def sent(kafka: LocalKafka, source: Accounts) -> str:
    """A topic with the source's log."""
    topic = make_topic(kafka, partitions=PARTITIONS)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for partition, messages in enumerate(source.partitions):
        for message in messages:
            assert message.timestamp_ms is not None
            producer.produce(topic, message.body, message.key, partition, timestamp=message.timestamp_ms)
            producer.poll(0)
    assert producer.flush(60) == 0
    return topic


def load_with_connect(topic: str, settings: Settings, folder: Path) -> float:
    """Seconds from the start of Connect until its group has nothing left to read."""
    sink = jdbc_sink(topic, settings.database_url.render_as_string(hide_password=False), BESIDE.name) | {
        "tasks.max": str(PARTITIONS),
        "insert.mode": "upsert",
        "primary.key.mode": "record_key",
        "delete.enabled": "true",
        "consumer.override.auto.offset.reset": "earliest",
    }
    for name in ("key.converter", "value.converter"):
        sink |= {name: "org.apache.kafka.connect.json.JsonConverter", f"{name}.schemas.enable": "true"}
    # A sink's offsets are committed once a minute by default.
    worker = {"offset.flush.interval.ms": "500", "listeners": f"http://{LOOPBACK}:{free_port()}"}
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    kafka = KafkaMetadata(settings)
    ends = kafka.ends(partitions)
    command = connect_command(folder, settings.bootstrap_servers, sink, worker=worker)
    started = time.monotonic()
    with PeerProcess(command, {}) as connect:
        while kafka.group_offsets(f"connect-{sink['name']}", partitions) != ends:
            assert not connect.has_ended(), connect.tail()
            failed = failures(f"{worker['listeners']}/connectors/{sink['name']}/status")
            assert not failed, failed[0]
            assert time.monotonic() - started < CONNECT_SECONDS, connect.tail()
            time.sleep(0.2)
        return time.monotonic() - started


def failures(status_url: str) -> list[str]:
    """The tasks' errors: a worker goes on without tasks that have failed. Empty while it starts."""
    try:
        with urllib.request.urlopen(status_url, timeout=10) as answer:  # noqa: S310  our own worker
            return [task["trace"] for task in json.load(answer)["tasks"] if task["state"] == "FAILED"]
    except OSError:
        return []


def load_with_ours(stream: Stream, settings: Settings) -> float:
    started = time.monotonic()
    catch_up(stream, settings)
    return time.monotonic() - started


def rows(engine: sa.Engine, table: sa.FromClause) -> dict[int, Row]:
    with engine.connect() as connection:
        found = connection.execute(sa.select(*(table.c[column.name] for column in COLUMNS))).mappings()
        return {row["id"]: dict(row) for row in found}


def differing(found: dict[int, Row], expected: dict[int, Row]) -> list[tuple[int, str, Any, Any]]:
    """(key, column, found, expected) of what is not equal; a row that is missing, or is one too many, is None."""
    both = found.keys() & expected.keys()
    missing: Iterable[int] = found.keys() ^ expected.keys()
    return [(number, "", found.get(number), expected.get(number)) for number in missing] + [
        (number, name, value, expected[number][name])
        for number in both
        for name, value in found[number].items()
        if value != expected[number][name]
    ]


def test_connects_table_and_ours_are_equal_and_both_are_the_sources(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    source = Accounts(random.Random(SEED), keys=2_000)
    for _ in range(CHANGES):
        source.change()
    topic = sent(kafka, source)
    settings = Settings.from_environment(
        {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": mysql_url}
    )
    engine = sa.create_engine(mysql_url)
    BESIDE.create(engine)
    stream = dataclasses.replace(with_schemas(Account), topics=topic, routes={topic: Account})
    # Several slices, so that what a later one deletes an earlier one has loaded.
    stream = dataclasses.replace(stream, batch=BatchPolicy(max_rows=1_000, linger_seconds=0))
    ours_seconds = load_with_ours(stream, settings)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT stage, error FROM kafka_ingest_dead_letters").all() == []
    assert differing(rows(engine, Account.__table__), source.rows) == []
    connect_seconds = load_with_connect(topic, settings, tmp_path)
    assert differing(rows(engine, BESIDE), source.rows) == []
    engine.dispose()
    click.echo(f"\n{sum(map(len, source.partitions)):,} messages {source.counts}, {len(source.rows):,} rows left")
    click.echo(f"kafka_ingest {ours_seconds:.1f} s, Connect {connect_seconds:.1f} s with its start")
