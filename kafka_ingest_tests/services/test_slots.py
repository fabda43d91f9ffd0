"""More busy streams than Dagster has slots for runs: none starves."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from pathlib import Path

import pytest
from confluent_kafka import Producer

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.item_streams import item_streams

pytestmark = pytest.mark.services

STREAMS = ("first", "second")

MORE = "batch=BatchPolicy(max_wait_seconds=4)"


def test_a_run_that_never_rests_gives_its_slot_to_a_stream_that_waits(
    kafka: LocalKafka, mysql_url: str, tmp_path: Path
) -> None:
    topics = {name: make_topic(kafka, partitions=1) for name in STREAMS}
    environ = item_streams(kafka, mysql_url, tmp_path, "two_streams", topics, MORE)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    with DagsterDev(tmp_path / "dagster", environ, slots=1) as dagster:

        def each_has_ended() -> bool:
            for topic in topics.values():  # two messages a second, so no run ever has nothing to wait for
                producer.produce(topic, json.dumps({"number": time.time_ns() % 1_000}))
            producer.flush(10)
            ended: dict[str, int] = defaultdict(int)
            for run in dagster.runs():
                assert run["status"] != "FAILURE", dagster.tail()
                ended[run["tags"]["kafka_ingest/stream"]] += run["status"] == "SUCCESS"
            return all(ended[name] for name in STREAMS)

        dagster.wait_for(each_has_ended, 240, "each stream's run to give way")
