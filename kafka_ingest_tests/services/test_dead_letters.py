"""Dead letters on real servers: byte for byte into the ledger, replayed once into the truth, published with their headers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from confluent_kafka import Consumer, Message, Producer
from confluent_kafka import TopicPartition as KafkaTopicPartition

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter, conditions
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.ledger.tables import OFFSETS
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import Batch, OffsetRange
from kafka_ingest.streams.information import STREAM as DECLARED
from kafka_ingest.streams.information import Information
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.check import assert_exactly_once
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.placed import NAMES

pytestmark = [
    pytest.mark.services,
    # Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

PROGRAM = [sys.executable, "-c", "from kafka_ingest.cli.main import cli; cli(prog_name='kafka-ingest')"]
MESSAGES = 2_000


class Crash(BaseException):
    """The process dies here."""


def stream_on(topic: str, **changes: Any) -> Stream:
    return replace(DECLARED, topics=topic, max_dead_letter_ratio=1.0, **changes)


def broken_on(topic: str, **changes: Any) -> Stream:
    """Has no route for what comes: every message becomes a dead letter."""
    return stream_on(topic, routes={"unheard of, too": Information}, **changes)


def settings_of(kafka: LocalKafka, url: str) -> Settings:
    return Settings.from_environment(
        {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": url}
    )


def ingest(stream: Stream, settings: Settings, at_step: Callable[[str], None] = lambda _step: None) -> None:
    """One run until nothing waits."""
    ingestion = Ingestion(stream, settings, run_id="bad", at_step=at_step)
    try:
        batch = replace(ingestion.plan((), "live"), until_caught_up=True)
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        list(ingestion.drain(batch))
    finally:
        ingestion.close()


@pytest.fixture
def sink(database_url: str) -> Iterator[Sink]:
    opened = open_sink(sa.make_url(database_url))
    yield opened
    opened.close()


def kept(sink: Sink, wanted: DeadLetterFilter | None = None) -> list[StoredDeadLetter]:
    with sink.engine.connect() as connection:
        return dead_letters.read_dead_letters(connection, conditions(wanted or DeadLetterFilter(status="all")), 100_000)


def run_cli(kafka: LocalKafka, url: str, topic: str, *arguments: str) -> dict[str, Any]:
    environ = {**os.environ, **environment(kafka.bootstrap_servers, url, topic)}
    done = subprocess.run(
        [*PROGRAM, "dead-letters", *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_bad_code_makes_dead_letters_and_fixed_code_makes_the_truth_of_them(
    kafka: LocalKafka, database_url: str, topic: str, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth, sent = Truth(), Truth()
    produce(kafka.bootstrap_servers, topic, news(seed=3, count=MESSAGES, bad_ratio=0.1), truth)
    sent.dead_letters = all_of(truth)
    ingest(broken_on(topic), settings_of(kafka, database_url))
    assert {(one.kafka_partition, one.kafka_offset) for one in kept(sink)} == set(sent.dead_letters)
    assert len(kept(sink)) == truth.total == MESSAGES
    for one in kept(sink):
        message = truth.dead_letters.get((one.kafka_partition, one.kafka_offset))
        if message is not None:
            assert (one.key, one.value, one.headers) == (message.key, message.value, message.headers)

    # A dry run writes nothing, and says what the replay will.
    forecast = run_cli(kafka, database_url, topic, "replay", "--dry-run", "--json")["replays"][0]
    assert all(one.attempts == 0 for one in kept(sink))
    assert not sa.inspect(sink.engine).has_table("announcement")

    groups = run_cli(kafka, database_url, topic, "list", "--summary", "--json", "--error", "no route%")["groups"]
    assert (
        sum(g["letters"] for g in groups)
        == run_cli(kafka, database_url, topic, "list", "--json", "--stage", "route", "--error", "NO ROUTE for")["total"]
    )
    assert groups[0]["letters"] > MESSAGES / 2

    # One Kafka partition by the command, the others by the job.
    (first,) = run_cli(kafka, database_url, topic, "replay", "--yes", "--json", "--partition", "0")["replays"]
    assert {one.kafka_partition for one in kept(sink) if one.attempts} == {0}
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", database_url)
    with dg.DagsterInstance.ephemeral() as instance:
        stream = stream_on(topic)
        job = build_definitions([stream]).resolve_job_def(NAMES.replay_job(stream))
        result = job.execute_in_process(instance=instance)
    assert result.success
    (observation,) = result.get_asset_observation_events()
    metadata = observation.asset_observation_data.asset_observation.metadata
    # The job also tries the letters of partition 0 that the command left.
    assert metadata["rows"].value + first["outcomes"]["row"] == forecast["outcomes"]["row"]
    assert forecast["outcomes"]["row"] == MESSAGES - len(truth.dead_letters)

    # A second replay of both kinds changes nothing.
    rows = table_dump(sink)
    again = run_cli(kafka, database_url, topic, "replay", "--yes", "--json")["replays"][0]
    assert again["outcomes"] == {"row": 0, "delete": 0, "ignored": 0, "dead_letter": len(truth.dead_letters)}
    assert table_dump(sink) == rows

    waiting = run_cli(kafka, database_url, topic, "list", "--json", "--limit", "10000")
    assert waiting["total"] == len(truth.dead_letters)
    assert {(w["partition"], w["offset"]) for w in waiting["dead_letters"]} == set(truth.dead_letters)
    forget_replayed(sink)
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)
    assert_accounts(sink)


def all_of(truth: Truth) -> dict[Any, Any]:
    """Every position a message came to stand at; announcements share keys, so they are counted up."""
    ends: dict[int, int] = {}
    known = [*truth.information, *truth.dead_letters, *(position for position, _ in truth.announcement.values())]
    for partition, offset in known:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    assert sum(ends.values()) == truth.total
    return {(partition, offset): None for partition, end in ends.items() for offset in range(end)}


def forget_replayed(sink: Sink) -> None:
    """So that the letters that are left can be compared with those that must be."""
    with sink.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM kafka_ingest_dead_letters WHERE replay_outcome = 'row'")


def table_dump(sink: Sink) -> list[Any]:
    """All rows and positions; of these not the revision, which counts replays too."""
    position = ", ".join(c.name for c in OFFSETS.columns if c.name != "revision")
    with sink.engine.connect() as connection:
        return [
            sorted(connection.exec_driver_sql(f"SELECT {names} FROM {table}").all(), key=repr)
            for names, table in (("*", "information"), ("*", "announcement"), (position, OFFSETS.name))
        ]


def assert_accounts(sink: Sink) -> None:
    """Every ledger entry adds up, and the last word on every offset adds up to the whole log."""
    with sink.engine.connect() as connection:
        wrong = connection.exec_driver_sql(
            "SELECT COUNT(*) FROM kafka_ingest_batches WHERE row_count + delete_count + dead_letter_count + ignored_count "
            "+ absent_count <> end_offset - start_offset"
        ).scalar_one()
        kinds = set(connection.exec_driver_sql("SELECT DISTINCT kind FROM kafka_ingest_batches").scalars())
    assert wrong == 0
    assert kinds == {"live", "replay"}


def test_a_replay_and_a_backfill_of_the_same_range_at_once_leave_the_truth(
    kafka: LocalKafka, database_url: str, topic: str, sink: Sink
) -> None:
    truth = Truth()
    settings = settings_of(kafka, database_url)
    produce(kafka.bootstrap_servers, topic, news(seed=8, count=1_000, bad_ratio=0.1), truth)
    ingest(broken_on(topic), settings)
    stream = stream_on(topic)
    with sink.engine.connect() as connection:
        ends = connection.exec_driver_sql("SELECT kafka_partition, next_offset FROM kafka_ingest_offsets").all()
    ranges = tuple(OffsetRange(topic, partition, 0, end) for partition, end in ends)
    both = threading.Barrier(2, timeout=60)
    outcomes: list[str] = []

    def meet(step: str) -> None:
        if step == LoadStep.BEGIN:
            both.wait()

    def backfill() -> None:
        ingestion = Ingestion(stream, settings, run_id="backfill", at_step=meet)
        batch: Batch = ingestion.plan(ranges, "backfill")
        ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "backfill")
        ingestion.close()

    for number in range(3):
        other = threading.Thread(target=backfill)
        other.start()
        plan = plan_replay(sink, stream, DeadLetterFilter(), run_id=f"replay-{number}")
        for result in replay(sink, plan, run_id=f"replay-{number}", at_step=meet):
            outcomes += [letter.outcome for letter in result.letters]
        other.join(60)
        assert not other.is_alive()
        assert table_dump(sink)[0]
    forget_replayed(sink)
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


@pytest.mark.parametrize("step", ["publish", "mark_published"])
def test_dead_letters_are_published_with_their_headers_also_after_a_crash(
    kafka: LocalKafka, database_url: str, topic: str, sink: Sink, step: str
) -> None:
    truth = Truth()
    target = f"{topic}.dead"  # made by the run
    settings = settings_of(kafka, database_url)
    stream = stream_on(topic, dead_letter_topic=target)
    produce(kafka.bootstrap_servers, topic, news(seed=4, count=600, bad_ratio=0.2), truth)

    def die(at: str) -> None:
        if at == step:
            raise Crash

    with pytest.raises(Crash):
        ingest(stream, settings, at_step=die)
    assert all(one.published_at is None for one in kept(sink))
    ingest(stream, settings)  # nothing new waits: what the crash left is published
    found = consume(kafka, target)
    times = 1 if step == "publish" else 2
    assert len(found) == times * len(truth.dead_letters), "at least once"
    expected = {one.position: one for one in kept(sink)}
    assert set(expected) == {position_of(message) for message in found}
    for message in found:
        letter = expected[position_of(message)]
        assert letter.published_at is not None
        assert (message.key(), message.value()) == (letter.key, letter.value)
        own = list(letter.headers or ())
        assert headers_of(message)[: len(own)] == own
        ours = dict(headers_of(message)[len(own) :])
        assert ours["__connect.errors.connector.name"] == b"information"
        assert ours["__connect.errors.stage"].decode() == letter.stage
        assert ours["__connect.errors.exception.message"].decode() == letter.error
        assert message.timestamp()[1] == round(letter.kafka_timestamp.timestamp() * 1000)  # type: ignore[union-attr]
    ingest(stream, settings)
    assert len(consume(kafka, target)) == len(found), "a later run publishes nothing again"
    assert_exactly_once(database_url, kafka.bootstrap_servers, topic, truth)


def test_dead_letters_their_topic_refuses_do_not_stop_the_stream(kafka: LocalKafka, mariadb_url: str) -> None:
    topic = make_topic(
        kafka, partitions=1, max_message_bytes="8000000", message_timestamp_after_max_ms="9223372036854775807"
    )
    hour = {"message_timestamp_after_max_ms": "3600000"}
    target = make_topic(kafka, partitions=1, max_message_bytes="20000", **hour)
    stream = stream_on(topic, dead_letter_topic=target)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "message.max.bytes": 8_000_000})
    bodies = [b"{" + b"x" * size for size in (10, 3_000_000, 12_000, 11_000, 50_000, 10)]
    tomorrow = int((time.time() + 86_400) * 1000)
    for number, body in enumerate(bodies):
        producer.produce(topic, body, timestamp=tomorrow if number == 5 else int(time.time() * 1000))
    assert producer.flush(30) == 0
    ingest(stream, settings_of(kafka, mariadb_url))
    opened = open_sink(sa.make_url(mariadb_url))
    found = kept(opened)
    opened.close()
    assert [one.value for one in found] == bodies
    assert [one.publish_error is not None for one in found] == [False, True, False, False, True, False]
    assert all("MSG_SIZE_TOO_LARGE" in one.publish_error for one in found if one.publish_error)
    published = consume(kafka, target)
    assert sorted(len(m.value() or b"") for m in published) == [11, 11, 11_001, 12_001]
    assert all(m.timestamp()[1] < tomorrow for m in published), "one whose time the topic refuses goes without it"


def consume(kafka: LocalKafka, topic: str) -> list[Message]:
    """Everything in a topic, by a plain consumer."""
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "reader", "enable.partition.eof": True}
    )
    try:
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([KafkaTopicPartition(topic, number, 0) for number in partitions])
        found: list[Message] = []
        ended = 0
        while ended < len(partitions):
            message = consumer.poll(20)
            assert message is not None, "no end of partition came"
            if message.error() is None:
                found.append(message)
            else:
                ended += 1
        return found
    finally:
        consumer.close()


def headers_of(message: Message) -> list[tuple[str, Any]]:
    """As a consumer gets them; those we look at have a value, in bytes."""
    found = message.headers()
    assert isinstance(found, list)
    return found


def position_of(message: Message) -> str:
    headers = dict(headers_of(message))
    topic, partition, offset = (headers[f"__connect.errors.{n}"].decode() for n in ("topic", "partition", "offset"))
    return f"{topic}[{partition}]@{offset}"
