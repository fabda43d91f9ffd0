"""Small streams in one run, on real servers: one of them broken, the run killed, the others loaded exactly once."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.item_streams import item_streams

pytestmark = pytest.mark.services

HEALTHY = ("first", "second", "third")
STREAMS = (*HEALTHY, "broken")

MORE = 'group="small", batch=BatchPolicy(max_wait_seconds=2, linger_seconds=4)'


class Feed:
    """Numbers the messages of each topic, and remembers how many there are."""

    def __init__(self, kafka: LocalKafka, topics: dict[str, str]) -> None:
        self.producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        self.topics = topics
        self.numbers = {name: itertools.count() for name in topics}
        self.sent = dict.fromkeys(topics, 0)

    def send(self, count: int) -> None:
        for name, topic in self.topics.items():
            for _ in range(count):
                self.producer.produce(topic, json.dumps({"number": next(self.numbers[name])}))
            self.sent[name] += count
        assert self.producer.flush(20) == 0


def test_the_streams_of_a_group_are_loaded_exactly_once_by_one_run_though_one_is_broken_and_the_run_is_killed(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topics = {name: make_topic(kafka, partitions=2) for name in STREAMS}
    environ = item_streams(kafka, mysql_url, tmp_path, "one_group", topics, MORE)
    environ["KAFKA_GROUP_ID"] = "one_group"
    engine = sa.create_engine(mysql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE broken (id INT PRIMARY KEY)")  # somebody else's
    feed = Feed(kafka, topics)
    with DagsterDev(tmp_path / "dagster", environ) as dagster:
        feed.send(30)
        dagster.wait_for(lambda: all(_loaded(engine, name) > 0 for name in HEALTHY), 240, "rows of the healthy ones")

        (killed,) = _run_processes(dagster)  # one for all of them

        def is_killed() -> bool:
            feed.send(5)
            return all(_loaded(engine, name) > 40 for name in HEALTHY)

        dagster.wait_for(is_killed, 240, "the run to go on")
        killed.kill()
        feed.send(40)
        dagster.wait_for(lambda: _is_all_loaded(engine, feed), 240, "the next run to load the rest")
        dagster.wait_for(lambda: not _is_busy(dagster), 240, "the run to end")
        runs = dagster.runs()
        assert all(run["jobName"] == "ingest_small" for run in runs)
        by_name = [run["tags"]["kafka_ingest/failed"] for run in runs if "kafka_ingest/failed" in run["tags"]]
        assert by_name, dagster.tail()
        assert set(by_name) == {"broken"}
        assert len(runs) < 12, "a stream that fails launches runs for ever"
    for name in HEALTHY:
        with engine.connect() as connection:
            found = [n for (n,) in connection.exec_driver_sql(f"SELECT number FROM {name} ORDER BY number")]
        assert found == list(range(feed.sent[name])), name
        assert _committed(kafka, environ["KAFKA_GROUP_ID"], topics[name]) == feed.sent[name]
    with engine.connect() as connection:
        tiled = connection.exec_driver_sql(
            "SELECT stream, SUM(end_offset - start_offset) FROM kafka_ingest_batches WHERE kind = 'live' GROUP BY stream"
        )
        assert {name: int(total) for name, total in tiled} == {name: feed.sent[name] for name in HEALTHY}
    engine.dispose()


def _loaded(engine: sa.Engine, name: str) -> int:
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table(name):
            return 0
        return int(connection.exec_driver_sql(f"SELECT COUNT(*) FROM {name}").scalar_one())


def _is_all_loaded(engine: sa.Engine, feed: Feed) -> bool:
    return all(_loaded(engine, name) >= feed.sent[name] for name in HEALTHY)


def _run_processes(dagster: DagsterDev) -> list[psutil.Process]:
    """Of runs: `spawn`ed children of the code server, by multiprocessing's own command line."""
    return [each for each in dagster.children() if "--multiprocessing-fork" in each.cmdline()]


def _is_busy(dagster: DagsterDev) -> bool:
    return any(run["status"] in ("QUEUED", "STARTING", "STARTED", "NOT_STARTED") for run in dagster.runs())


def _committed(kafka: LocalKafka, group: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    found = consumer.committed([KafkaTopicPartition(topic, p) for p in range(2)], timeout=20)
    consumer.close()
    return sum(max(0, each.offset) for each in found)
