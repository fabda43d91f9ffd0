"""What a real broker's log does to offsets: transactions, compaction, retention, recreation, new partitions, groups."""

from __future__ import annotations

import dataclasses
import datetime as dt
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from kafka_ingest.errors import ConfigError, DataLoss, PermanentError
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import (
    catch_up,
    delete_before,
    ids,
    item,
    opened,
    positions,
    query,
    retried,
    send,
    settings_for,
    stream_of,
)

pytestmark = pytest.mark.services


def test_aborted_and_open_transactions_are_not_loaded_and_their_offsets_are_accounted_absent(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    for number, commit in enumerate([True, False, True]):
        producer.begin_transaction()
        for each in range(5):
            producer.produce(topic, item(f"t{number}-{each}"), partition=0)
        producer.flush(30)  # an abort forgets what was not sent yet
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    catch_up(stream, settings)
    assert ids(settings) == [f"t{n}-{e}" for n in (0, 2) for e in range(5)]
    assert positions(settings) == {0: 18}  # 15 messages and 3 markers
    counts = query(
        settings, "SELECT SUM(row_count), SUM(absent_count), SUM(end_offset - start_offset) FROM kafka_ingest_batches"
    )
    assert counts == [(10, 8, 18)]
    producer.begin_transaction()
    producer.produce(topic, item("open"), partition=0)
    producer.flush(30)
    catch_up(stream, settings)
    assert positions(settings) == {0: 18}  # the open transaction lies beyond the last stable offset
    producer.commit_transaction(30)
    catch_up(stream, settings)
    assert ids(settings)[-1] == "open"
    assert positions(settings) == {0: 20}


def test_a_compacted_topic_is_read_to_its_end_whatever_is_missing(kafka: LocalKafka, tmp_path: Path) -> None:
    quickly = {"min_cleanable_dirty_ratio": "0.01", "segment_ms": "100", "max_compaction_lag_ms": "100"}
    topic = make_topic(kafka, partitions=1, cleanup_policy="compact", **quickly)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    send(kafka, topic, ["a", "b", "c"] * 200)
    deadline = time.monotonic() + 60
    consumer = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "probe", "enable.partition.eof": True}
    )
    try:
        while True:
            time.sleep(0.5)
            send(kafka, topic, ["d"])  # rolls the active segment, which is never compacted
            consumer.assign([TopicPartition(topic, 0, 0)])
            first = consumer.poll(10)
            if first is not None and first.error() is None and (first.offset() or 0) > 100:
                break
            assert time.monotonic() < deadline, "the log cleaner never came"
    finally:
        consumer.close()
    catch_up(stream, settings)
    sums = "SUM(end_offset - start_offset), SUM(row_count), SUM(absent_count)"
    [(size, rows, absent)] = query(settings, f"SELECT {sums} FROM kafka_ingest_batches")
    assert rows + absent == size == positions(settings)[0]
    assert absent > 100
    assert {"a", "b", "c", "d"} == set(ids(settings))


def test_offsets_deleted_before_they_were_loaded_fail_the_run_with_their_number(
    kafka: LocalKafka, tmp_path: Path
) -> None:
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    send(kafka, topic, ["a", "b"])
    catch_up(stream, settings)
    send(kafka, topic, [f"lost{i}" for i in range(7)] + ["kept"])
    delete_before(kafka, topic, 9)
    with (
        opened(stream, settings) as ingestion,
        pytest.raises(DataLoss, match=rf"7 offsets are gone.*{topic}\[0\]@\[2,9\)"),
    ):
        ingestion.plan((), "live")
    catch_up(dataclasses.replace(stream, on_data_loss="skip"), settings)
    assert ids(settings) == ["a", "b", "kept"]
    lost = query(
        settings, "SELECT start_offset, end_offset, absent_count FROM kafka_ingest_batches WHERE kind = 'lost'"
    )
    assert lost == [(2, 9, 7)]


def test_a_recreated_topic_fails_the_run_and_skip_keeps_the_old_rows(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    send(kafka, topic, ["old0", "old1"])
    catch_up(stream, settings)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.delete_topics([topic])[topic].result(30)
    retried(lambda: admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(30), KafkaException, AssertionError)
    retried(lambda: send(kafka, topic, ["new0", "new1", "new2"]), KafkaException, AssertionError)
    with opened(stream, settings) as ingestion, pytest.raises(DataLoss, match="deleted and created again"):
        ingestion.plan((), "live")
    catch_up(dataclasses.replace(stream, on_data_loss="skip"), settings)
    assert sorted(ids(settings)) == ["new0", "new1", "new2", "old0", "old1"]
    assert positions(settings) == {0: 3}


def test_partitions_added_to_a_topic_are_read_from_their_first_message(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic, start="latest")
    send(kafka, topic, ["before"])
    catch_up(stream, settings)
    assert ids(settings) == []
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    retried(lambda: send(kafka, topic, ["p1"], partition=1), KafkaException, AssertionError)
    send(kafka, topic, ["p0"])

    def is_loaded() -> None:
        catch_up(stream, settings)
        assert sorted(ids(settings)) == ["p0", "p1"]

    # A partition that the cluster does not tell of yet is left to the next run.
    retried(is_loaded, AssertionError)


def test_a_stream_can_take_over_from_another_consumer_group(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    group = f"faust-{topic}"
    settings = settings_for(kafka, tmp_path, KAFKA_GROUP_ID=group)
    stream = stream_of(topic, start="group")
    send(kafka, topic, ["done0", "done1", "todo"])
    other = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    other.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    other.close()
    catch_up(stream, settings)
    assert ids(settings) == ["todo"]


def test_a_stream_can_start_at_an_instant(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    start = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone.utc)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic, start=start)
    milliseconds = int(start.timestamp() * 1000)
    for number, delta in enumerate((-60_000, -1, 0, 1)):
        send(kafka, topic, [f"m{number}"], timestamp=milliseconds + delta)
    catch_up(stream, settings)
    assert ids(settings) == ["m2", "m3"]


def test_a_live_member_of_the_group_refuses_the_commit_clearly(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    group = f"busy-{topic}"
    settings, stream = settings_for(kafka, tmp_path, KAFKA_GROUP_ID=group), stream_of(topic)
    send(kafka, topic, ["a"])
    member = Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "auto.offset.reset": "earliest"}
    )
    member.subscribe([topic])
    assert member.poll(30) is not None
    try:
        with opened(stream, settings) as ingestion:
            batch = ingestion.plan((), "live")
            result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
            with pytest.raises(PermanentError, match="Another consumer is a live member"):
                ingestion.commit(result.next_offsets)
    finally:
        member.close()
    catch_up(stream, settings)  # repairs Kafka's copy, loads nothing twice
    assert ids(settings) == ["a"]
    check = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    assert check.committed([TopicPartition(topic, 0)], timeout=30)[0].offset == 1
    check.close()


def test_a_pattern_reads_every_topic_it_matches(kafka: LocalKafka, tmp_path: Path) -> None:
    one, two = make_topic(kafka, partitions=1), make_topic(kafka, partitions=2)
    settings, stream = settings_for(kafka, tmp_path), stream_of(f"^({one}|{two})$")
    send(kafka, one, ["a"])
    send(kafka, two, ["b"], partition=1)
    catch_up(stream, settings)
    assert sorted(ids(settings)) == ["a", "b"]


def test_slices_are_bounded_in_rows_and_bytes(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=2)
    policy = BatchPolicy(max_rows=100, max_bytes=4096, linger_seconds=0)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic, batch=policy)
    for partition in range(2):
        send(kafka, topic, [f"p{partition}-{i:03d}" for i in range(150)], partition=partition)
    catch_up(stream, settings)
    assert len(ids(settings)) == 300
    largest = query(settings, "SELECT MAX(row_count) FROM kafka_ingest_batches")[0][0]
    assert largest * len(item("p0-000")) <= 4096


def test_headers_count_in_the_bound_of_a_slice(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    settings = settings_for(kafka, tmp_path)
    stream = stream_of(topic, batch=BatchPolicy(max_bytes=1024 * 1024, linger_seconds=0))
    large = bytes(400_000)
    for number in range(9):
        options: dict[str, Any] = {"headers": [("trace", large[:200_000]), ("trace", large[200_000:]), ("none", None)]}
        send(kafka, topic, [f"m{number}"], **options)
    catch_up(stream, settings)
    assert query(settings, "SELECT row_count FROM kafka_ingest_batches ORDER BY id") == [(2,)] * 4 + [(1,)]


def test_a_backfill_of_offsets_the_log_no_longer_holds_is_refused(kafka: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(kafka, partitions=1)
    settings, stream = settings_for(kafka, tmp_path), stream_of(topic)
    send(kafka, topic, ["a", "b", "c"])
    catch_up(stream, settings)
    delete_before(kafka, topic, 2)
    with (
        opened(stream, settings) as ingestion,
        pytest.raises(ConfigError, match=r"cannot be loaded: the log holds.*retention has deleted"),
    ):
        ingestion.plan([OffsetRange(topic, 0, 0, 3)], "backfill")
