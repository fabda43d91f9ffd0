"""Messages of 1 and 10 MB, timestamps of 1970 and 2100, partitions added to a run that is alive, trimming while it reads."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sa
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from kafka_ingest.engine import triggers as triggers_module
from kafka_ingest.errors import DataLoss
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import (
    catch_up,
    delete_before,
    ids,
    opened,
    positions,
    query,
    send,
    settings_for,
    stream_of,
)

pytestmark = pytest.mark.services

MEGABYTE = 1024 * 1024


def _send_large(kafka: LocalKafka, topic: str, sizes: list[int]) -> list[str]:
    """News items with a body of so many bytes each; their ids."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 20 * MEGABYTE})
    names = []
    for number, size in enumerate(sizes):
        names.append(f"large{number}")
        head = {"type": "information", "id": names[-1], "title": "t", "publishTime": "2024-05-01"}
        body = {**head, "content": "c" * min(size, 3_900_000), "not a column": "x" * max(0, size - 3_900_000)}
        producer.produce(topic, json.dumps(body).encode(), partition=0)
        producer.poll(0)
        assert producer.flush(60) == 0
    return names


def test_messages_of_1_and_10_megabytes_load_in_bounded_memory(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1, max_message_bytes=str(12 * MEGABYTE))
    names = _send_large(kafka, topic, [MEGABYTE] * 40 + [10 * MEGABYTE] * 8)
    settings = dataclasses.replace(settings_for(kafka, tmp_path), database=sa.make_url(mysql_url))
    stream = stream_of(topic, batch=BatchPolicy(max_rows=1_000, max_bytes=16 * MEGABYTE, linger_seconds=0))
    process = psutil.Process()
    before, peak, done = process.memory_info().rss, [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        catch_up(stream, settings)
    finally:
        done.set()
        watcher.join()
    assert sorted(ids(settings)) == sorted(names)
    # 96 MiB of prefetch, two slices of 16 MiB in the making (bytes, columns, LOAD DATA's text), what Python keeps of them.
    assert peak[0] - before < 400 * MEGABYTE, f"{(peak[0] - before) / MEGABYTE:.0f} MiB for 120 MiB of messages"


def test_a_message_over_the_slices_bytes_comes_alone_and_a_bad_one_keeps_all_its_bytes(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1, max_message_bytes=str(12 * MEGABYTE))
    settings = dataclasses.replace(settings_for(kafka, tmp_path), database=sa.make_url(mysql_url))
    stream = stream_of(topic, batch=BatchPolicy(max_bytes=MEGABYTE, linger_seconds=0))
    bad = b"\xff" + b"not JSON, with quotes ' and \\ and \x00 in it " * 230_000
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 20 * MEGABYTE})
    producer.produce(topic, bad, partition=0)
    assert producer.flush(60) == 0
    send(kafka, topic, ["after"])
    catch_up(stream, settings)
    assert ids(settings) == ["after"]
    assert query(settings, "SELECT message_value FROM kafka_ingest_dead_letters") == [(bad,)]
    sizes = query(settings, "SELECT end_offset - start_offset FROM kafka_ingest_batches ORDER BY start_offset")
    assert sizes == [(1,), (1,)]


@pytest.mark.parametrize("stamp", ["0", "1970", "2100"])
def test_messages_of_1970_and_2100_load_and_are_found_by_their_time(
    kafka: LocalKafka, database_url: str, tmp_path: Path, stamp: str
) -> None:
    """Kafka refuses timestamps in the future unless it is told to take them."""
    topic = make_topic(kafka, partitions=1, message_timestamp_after_max_ms=str(2**62))
    settings = dataclasses.replace(settings_for(kafka, tmp_path), database=sa.make_url(database_url))
    stream = stream_of(topic)
    utc = dt.timezone.utc
    instant = {
        "0": dt.datetime(1970, 1, 1, 0, 0, 0, 1_000, utc),  # librdkafka takes 0 for now
        "1970": dt.datetime(1970, 6, 1, 12, 30, tzinfo=utc),
        "2100": dt.datetime(2100, 12, 31, 23, 59, 59, tzinfo=utc),
    }[stamp]
    send(kafka, topic, ["a"], timestamp=round(instant.timestamp() * 1000))
    send(kafka, topic, ["now"])
    catch_up(stream, settings)
    assert ids(settings) == ["a", "now"]
    [(stored,)] = query(settings, "SELECT _kafka_timestamp FROM information WHERE id = 'a'")
    assert str(stored)[:19] == instant.replace(tzinfo=None).isoformat(sep=" ")[:19]
    windows = query(settings, "SELECT SUM(row_count) FROM kafka_ingest_batches")
    assert windows == [(2,)]


def test_partitions_added_while_a_run_is_alive_end_it_and_the_next_reads_them(
    kafka: LocalKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers_module, "TOPICS_SECONDS", 1.0)
    topic = make_topic(kafka, partitions=1)
    policy = BatchPolicy(min_messages=1, max_wait_seconds=0, linger_seconds=60, max_run_seconds=90)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic, batch=policy)
    send(kafka, topic, ["before"])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    def add() -> None:
        admin.create_partitions([NewPartitions(topic, 3)])[topic].result(30)

    begun = time.monotonic()
    threading.Timer(2.0, add).start()
    _live(stream, settings)
    assert time.monotonic() - begun < 30, "the run lingered"
    for partition in (1, 2):
        send(kafka, topic, [f"p{partition}"], partition=partition)
    catch_up(stream, settings)
    assert sorted(ids(settings)) == ["before", "p1", "p2"]
    assert positions(settings) == {0: 1, 1: 1, 2: 1}


def test_a_topic_trimmed_past_a_run_that_reads_it_is_a_loud_loss_and_skip_goes_on(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    """Between the plan and the read."""
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    send(kafka, topic, [f"m{n}" for n in range(20)])
    with opened(stream, settings) as ingestion:
        batch = ingestion.plan((), "live")
        delete_before(kafka, topic, 10)
        with pytest.raises(DataLoss, match="Kafka deleted offsets"):
            ingestion.read(batch)
    assert query(settings, "SELECT COUNT(*) FROM kafka_ingest_batches") == [(0,)]
    catch_up(dataclasses.replace(stream, on_data_loss="skip"), settings)
    assert ids(settings) == [f"m{n}" for n in range(10, 20)]
    lost = "SELECT start_offset, end_offset, absent_count FROM kafka_ingest_batches WHERE kind = 'lost'"
    assert query(settings, lost) == [(0, 10, 10)]


def _live(stream: Any, settings: Any) -> None:
    with opened(stream, settings) as ingestion:
        batch = ingestion.plan((), "live")
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        list(ingestion.drain(batch))
