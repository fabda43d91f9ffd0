"""Topics that are deleted, and made again under the same name, while a stream reads them (and after).

As in confluentinc/librdkafka issues 3255 and 2963 (a consumer cannot tell a recreated topic), twmb/franz-go pull request 1426
(offsets of the old topic used in the new one), logstash-input-kafka issue 321 and apache/kafka pull request 23213 (a deleted
topic of a pattern stops the commits of all).
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.checks.consumer_group import check_consumer_group
from kafka_ingest.cli.status_state import gather
from kafka_ingest.engine.loss import handle_loss
from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import DataLoss
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import (
    catch_up,
    delete_before,
    ids,
    opened,
    positions,
    query,
    retried,
    send,
    settings_for,
    stream_of,
)

pytestmark = pytest.mark.services

# So little at a time that librdkafka does not hold the whole log when a topic is made anew.
SMALL = {
    "KAFKA_FETCH_MESSAGE_MAX_BYTES": "2000",
    "KAFKA_QUEUED_MIN_MESSAGES": "1",
    "KAFKA_QUEUED_MAX_MESSAGES_KBYTES": "1",
}


def delete(kafka: LocalKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(30)


def recreate(kafka: LocalKafka, topic: str) -> None:
    delete(kafka, topic)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    retried(lambda: admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30), KafkaException)


def named(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@pytest.mark.parametrize("on_data_loss", ["fail", "skip"])
def test_a_topic_made_again_with_more_messages_while_a_run_drains_is_not_read_on_at_the_old_offset(
    kafka: LocalKafka, tmp_path: Path, on_data_loss: str
) -> None:
    topic = make_topic(kafka, partitions=1)
    settings = settings_for(kafka, tmp_path, **SMALL)
    stream = stream_of(topic, batch=BatchPolicy(max_rows=10, linger_seconds=0), on_data_loss=on_data_loss)
    for first in range(0, 60, 10):
        send(kafka, topic, [f"old{n}" for n in range(first, first + 10)])
    with opened(stream, settings) as ingestion:
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        draining = ingestion.drain(batch)
        next(draining)
        recreate(kafka, topic)
        retried(lambda: send(kafka, topic, named("new", 100)), KafkaException, AssertionError)
        with pytest.raises(DataLoss, match=f"topic {topic} was deleted and created again"):
            list(draining)
    before = ids(settings)
    assert before == named("old", len(before))
    assert 20 <= len(before) < 60
    if on_data_loss == "fail":
        with pytest.raises(DataLoss, match="deleted and created again"):
            catch_up(stream, settings)
        assert ids(settings) == before
    else:
        catch_up(stream, settings)
        catch_up(stream, settings)
        assert sorted(ids(settings)) == sorted(before + named("new", 100))
        assert positions(settings) == {0: 100}


@pytest.mark.parametrize("is_pattern", [False, True], ids=["list", "pattern"])
def test_a_deleted_topic_stops_neither_the_others_nor_what_looks_at_them(
    kafka: LocalKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_pattern: bool
) -> None:
    gone, kept = make_topic(kafka, partitions=2), make_topic(kafka, partitions=1)
    settings = settings_for(kafka, tmp_path, KAFKA_GROUP_ID=f"group-{kept}")
    stream = stream_of(f"^({gone}|{kept})$" if is_pattern else (gone, kept))  # type: ignore[arg-type]
    send(kafka, gone, ["a"])
    send(kafka, kept, ["b"])
    catch_up(stream, settings)
    delete(kafka, gone)
    for name in ("c", "d"):
        send(kafka, kept, [name])
        with caplog.at_level(logging.WARNING, "kafka_ingest.engine"):
            caplog.clear()
            catch_up(stream, settings)
        assert [record.getMessage() for record in caplog.records] == [
            f"stream information: topic {gone} does not exist any more, so its offsets are not committed to the consumer "
            f"group; the ledger keeps its position ({gone}[0]@1, {gone}[1]@0)"
        ]
    assert sorted(ids(settings)) == ["a", "b", "c", "d"]
    with opened(stream, settings) as ingestion:
        committed = ingestion.metadata.group_offsets(settings.group_id, ingestion.look().topics.partitions)
        assert list(committed.values()) == [3]
        finding = check_consumer_group(ingestion.sink, stream, settings, ingestion.metadata)
        assert (finding.passed, finding.checked) == (True, 1)
        now = dt.datetime.now(dt.timezone.utc)
        status = gather(stream, ingestion.metadata, ingestion.sink, settings, now=now)
        assert [(p.topic, p.agreement) for p in status.partitions] == [(kept, "ok")]
    assert query(settings, f"SELECT next_offset FROM kafka_ingest_offsets WHERE topic = '{gone}'") == [(1,), (0,)]


def test_a_topic_deleted_while_a_run_drains_ends_that_run_quietly_and_the_next_reads_the_others(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    gone, kept = make_topic(kafka, partitions=1), make_topic(kafka, partitions=1)
    policy = BatchPolicy(min_messages=1, max_wait_seconds=0, linger_seconds=60)
    settings = settings_for(kafka, tmp_path)
    stream = stream_of((gone, kept), batch=policy)  # type: ignore[arg-type]
    send(kafka, gone, ["a"])
    with opened(stream, settings) as ingestion:
        batch = ingestion.plan((), "live")
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        draining = ingestion.drain(batch)
        send(kafka, kept, ["b"])
        while len(ids(settings)) < 2:
            next(draining)
        delete(kafka, gone)
        list(draining)
    send(kafka, kept, ["c"])
    catch_up(stream, settings)
    assert sorted(ids(settings)) == ["a", "b", "c"]


def test_a_topic_deleted_between_plan_and_read_is_left_out(kafka: LocalKafka, tmp_path: Path) -> None:
    gone, kept = make_topic(kafka, partitions=1), make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of((gone, kept))  # type: ignore[arg-type]
    send(kafka, gone, ["a"])
    send(kafka, kept, ["b"])
    with opened(stream, settings) as ingestion:
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        delete(kafka, gone)

        def is_gone() -> None:  # brokers hear of it a moment after the controller has answered
            assert gone not in {tp.topic for tp in ingestion.metadata.topics(stream).partitions}

        retried(is_gone, AssertionError)
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        list(ingestion.drain(batch))
    assert ids(settings) == ["b"]


@pytest.mark.parametrize("what", ["retention", "recreated"])
def test_two_runs_that_see_one_loss_record_it_once(kafka: LocalKafka, database_url: str, what: str) -> None:
    topic = make_topic(kafka, partitions=1)
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": database_url}
    settings, stream = Settings.from_environment(environ), stream_of(topic, on_data_loss="skip")
    send(kafka, topic, named("old", 2))
    catch_up(stream, settings)
    if what == "retention":
        send(kafka, topic, named("lost", 28) + named("new", 31))
        delete_before(kafka, topic, 30)
    else:
        recreate(kafka, topic)
        retried(lambda: send(kafka, topic, named("new", 31)), KafkaException, AssertionError)
    moved: list[object] = []
    with opened(stream, settings) as ingestion:
        state = observe(stream, ingestion.metadata, ingestion.sink, settings)

        def handle() -> None:
            now = dt.datetime.now(dt.timezone.utc)
            moved.append(handle_loss(stream, state, ingestion.metadata, ingestion.sink, run_id="other", now=now))

        threads = [threading.Thread(target=handle) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert moved[0] == moved[1]
        catch_up(stream, settings)
        handle()  # what it saw is long past
    assert sorted(ids(settings)) == sorted(named("old", 2) + named("new", 31))
    assert positions(settings) == {0: 61 if what == "retention" else 31}
    lost = query(settings, "SELECT start_offset, end_offset FROM kafka_ingest_batches WHERE kind = 'lost'")
    assert lost == ([(2, 30)] if what == "retention" else [])
    aside = query(settings, "SELECT next_offset FROM kafka_ingest_offsets WHERE topic LIKE '%@%'")
    assert aside == ([] if what == "retention" else [(2,)])
