"""The network to Kafka breaks at any stage: a retryable error within a bound, and exactly once afterwards."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import RetryableError
from kafka_ingest.kafka import group_offsets, reader, timeouts
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.slices import TopicPartition
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.leaks import Resources
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.proxied import ProxiedKafka, opened, proxied_kafka, run_once, settings_of, stream_on
from kafka_ingest_tests.e2e.proxy import HEALTHY, Fault
from kafka_ingest_tests.e2e.scale import IS_FULL

pytestmark = pytest.mark.faults

# With the package's own timeouts this takes half an hour: `make faults-full`.
REQUEST_SECONDS = timeouts.REQUEST_TIMEOUT_SECONDS if IS_FULL else 2.0
SILENCE_SECONDS = reader.SILENCE_SECONDS if IS_FULL else 3.0
RECONNECTS = 1_000 if IS_FULL else 60
RESETS = 100 if IS_FULL else 3
COMMIT_SECONDS = group_offsets.COMMIT_SECONDS if IS_FULL else 3.0
FAULTS = {
    "refused": Fault(refuse=True),
    "black hole": Fault(silent=True),
    "half open": Fault(half_open=True),
    "reset": Fault(reset_after_bytes=0),
}
STAGES = ["plan", "read", "commit", "drain", "commit in drain", "look"]
BOUNDS = {
    "plan": REQUEST_SECONDS,
    "read": SILENCE_SECONDS,
    "commit": REQUEST_SECONDS + 1.0,  # closing the client that asked
    "drain": REQUEST_SECONDS,
    # The slice that is being read ahead is waited for.
    "commit in drain": max(COMMIT_SECONDS, SILENCE_SECONDS),
    "look": REQUEST_SECONDS,
}
SLACK_SECONDS = 4.0


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedKafka]:
    with proxied_kafka(tmp_path_factory.mktemp("proxied")) as found:
        yield found


@pytest.fixture
def topic(kafka: ProxiedKafka) -> str:
    return make_topic(kafka.broker, partitions=4)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "REQUEST_TIMEOUT_SECONDS", REQUEST_SECONDS)
    monkeypatch.setattr(group_offsets, "COMMIT_SECONDS", COMMIT_SECONDS)
    monkeypatch.setattr(reader, "SILENCE_SECONDS", SILENCE_SECONDS)


class Staged:
    """A whole run; the network breaks when it comes to a stage."""

    def __init__(self, kafka: ProxiedKafka, fault: Fault, stage: str) -> None:
        self._kafka, self._fault, self._stage = kafka, fault, stage
        self._commits = 0
        self.broken_at: float | None = None

    def at_step(self, step: str) -> None:
        self._commits += step == "commit_offsets"
        if step == "commit_offsets" and self._commits == 2:
            self.begin("commit in drain")

    def begin(self, stage: str) -> None:
        if stage == self._stage:
            self._kafka.proxy.set(self._fault)
            self.broken_at = time.monotonic()

    def run(self, ingestion: Ingestion) -> None:
        self.begin("plan")
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        self.begin("read")
        parsed = ingestion.read(batch)
        first = ingestion.load(ingestion.apply_steps(parsed), "live")
        self.begin("commit")
        ingestion.commit(first.next_offsets)
        self.begin("drain")
        list(ingestion.drain(batch))
        self.begin("look")
        ingestion.look()


@pytest.mark.parametrize("fault", FAULTS if IS_FULL else ["black hole"])
def test_a_network_that_breaks_at_any_stage_is_a_retryable_error_in_time_and_exactly_once_after_it(
    kafka: ProxiedKafka, mysql_url: str, topic: str, fault: str
) -> None:
    truth = Truth()
    servers = kafka.broker.bootstrap_servers
    settings = settings_of(kafka.bootstrap_servers, mysql_url)
    stream = stream_on(topic, max_rows=100)
    for number, stage in enumerate(STAGES):
        produce(servers, topic, news(seed=number, count=400), truth)
        staged = Staged(kafka, FAULTS[fault], stage)
        try:
            with opened(stream, settings, at_step=staged.at_step) as ingestion:
                with pytest.raises(RetryableError) as caught:
                    staged.run(ingestion)
                assert staged.broken_at is not None, f"stage {stage} never came: {caught.value}"
                took = time.monotonic() - staged.broken_at
                assert took < BOUNDS[stage] + SLACK_SECONDS, f"{stage} took {took:.1f} s: {caught.value}"
                begun = time.monotonic()
            assert time.monotonic() - begun < SLACK_SECONDS, f"closing after {stage}"
        finally:
            kafka.proxy.set(HEALTHY)
    run_once(stream, settings)
    assert_exactly_once(mysql_url, servers, topic, truth)


def test_a_connection_reset_after_any_number_of_bytes_loses_and_doubles_nothing(
    kafka: ProxiedKafka, mysql_url: str, topic: str
) -> None:
    """librdkafka connects again by itself; where it cannot go on in time, the run fails and the next one does."""
    truth = Truth()
    random_ = random.Random(5)
    settings = settings_of(kafka.bootstrap_servers, mysql_url)
    stream = stream_on(topic)
    for number in range(RESETS):
        produce(kafka.broker.bootstrap_servers, topic, news(seed=number, count=400), truth)
        with kafka.proxy.fault(Fault(reset_after_bytes=random_.randrange(1, 40_000))):
            try:
                run_once(stream, settings)
            except RetryableError:
                continue
    run_once(stream, settings)
    assert_exactly_once(mysql_url, kafka.broker.bootstrap_servers, topic, truth)


def test_a_network_that_is_slow_and_stalls_loads_everything_once(
    kafka: ProxiedKafka, mysql_url: str, topic: str
) -> None:
    truth = Truth()
    settings = settings_of(kafka.bootstrap_servers, mysql_url)
    produce(kafka.broker.bootstrap_servers, topic, news(seed=1, count=2_000), truth)
    with kafka.proxy.fault(Fault(latency_seconds=0.05, stall_ratio=0.01, stall_seconds=1.0)):
        run_once(stream_on(topic), settings)
    assert_exactly_once(mysql_url, kafka.broker.bootstrap_servers, topic, truth)


def test_a_short_black_hole_in_the_middle_of_a_read_is_outlived(
    kafka: ProxiedKafka, mysql_url: str, topic: str
) -> None:
    truth = Truth()
    settings = settings_of(kafka.bootstrap_servers, mysql_url)
    produce(kafka.broker.bootstrap_servers, topic, news(seed=1, count=1_000), truth)
    with opened(stream_on(topic), settings) as ingestion:
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        kafka.proxy.set(Fault(silent=True))
        healing = threading.Timer(SILENCE_SECONDS / 2, kafka.proxy.set, (HEALTHY,))
        healing.start()
        first = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        healing.join()
        ingestion.commit(first.next_offsets)
        list(ingestion.drain(batch))
    assert_exactly_once(mysql_url, kafka.broker.bootstrap_servers, topic, truth)


def test_many_reconnects_leave_no_connection_or_thread_behind(kafka: ProxiedKafka, topic: str, mysql_url: str) -> None:
    settings = settings_of(
        kafka.bootstrap_servers, mysql_url, KAFKA_RECONNECT_BACKOFF_MS="1", KAFKA_RECONNECT_BACKOFF_MAX_MS="10"
    )
    metadata = KafkaMetadata(settings)
    partitions = [TopicPartition(topic, 0)]
    metadata.ends(partitions)
    before, accepted = Resources.now(), kafka.proxy.accepted
    while kafka.proxy.accepted - accepted < RECONNECTS:
        kafka.proxy.reset_all()
        with suppress(RetryableError):
            metadata.ends(partitions)
    _wait_until_back(metadata, partitions[0])
    Resources.now().assert_no_more_than(before)


def _wait_until_back(metadata: KafkaMetadata, partition: TopicPartition) -> None:
    """While no broker is connected, librdkafka knows no leader and a request fails at once: time counts, not tries."""
    deadline_at = time.monotonic() + REQUEST_SECONDS + SLACK_SECONDS
    while True:
        try:
            assert metadata.ends([partition]) == {partition: 0}
        except RetryableError:
            assert time.monotonic() < deadline_at, "it never came back"
            time.sleep(0.02)
        else:
            return
