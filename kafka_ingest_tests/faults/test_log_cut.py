"""A log that is cut below the ledger's position and grows again: never read on as if nothing had happened.

As after an unclean leader election or a power cut (KIP-320; confluentinc/librdkafka pull request 4162, tulios/kafkajs
issue 818: "the consumer will just miss whatever data had been written between the truncation point and its fetch offset").
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from confluent_kafka import Producer

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import DataLoss, LogCut, RetryableError
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.settings import Settings
from kafka_ingest.slices import Batch, LoadResult, OffsetRange
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.support.catch_up import (
    catch_up,
    delete_before,
    ids,
    item,
    opened,
    positions,
    query,
    send,
    settings_for,
    stream_of,
)
from kafka_ingest_tests.support.cut import cut_log

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A broker of these tests' own, to be killed."""
    broker = LocalKafka.start(tmp_path_factory.mktemp("kafka"))
    yield broker
    broker.stop()


def send_in_tens(kafka: LocalKafka, topic: str, names: list[str]) -> None:
    """Ten messages a record batch, so that a log can be cut between them."""
    for first in range(0, len(names), 10):
        send(kafka, topic, names[first : first + 10])


def named(prefix: str, start: int, end: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(start, end)]


def load_fifty_then_lose_twenty(kafka: LocalKafka, settings: Settings, stream: Stream, topic: str) -> None:
    send_in_tens(kafka, topic, named("old", 0, 50))
    catch_up(stream, settings)
    assert positions(settings) == {0: 50}
    cut_log(kafka, topic, 30)


def go_on(ingestion: Ingestion, batch: Batch, draining: Iterator[LoadResult]) -> None:
    """The rest of a drain, begun again where the broker is away for too long, as the op does."""
    for _try in range(5):
        try:
            list(draining)
        except RetryableError:
            draining = ingestion.drain(batch)


@pytest.mark.parametrize("on_data_loss", ["fail", "skip"])
def test_a_log_cut_and_grown_past_the_position_fails_every_run_until_a_person_decides(
    own: LocalKafka, tmp_path: Path, on_data_loss: str
) -> None:
    topic = make_topic(own, partitions=1)
    settings, stream = settings_for(own, tmp_path), stream_of(topic)
    stream = dataclasses.replace(stream, on_data_loss=on_data_loss)  # type: ignore[arg-type]
    load_fifty_then_lose_twenty(own, settings, stream, topic)
    send_in_tens(own, topic, named("new", 30, 70))
    said = (
        rf"{topic}\[0\] was cut at offset 30 .*the messages \[30,50\) that were loaded are gone from the log.*"
        r"(UPDATE kafka_ingest_offsets SET .*kafka_partition = 0);.*as a backfill"
    )
    for _run in range(2):
        with pytest.raises(LogCut, match=said) as caught:
            catch_up(stream, settings)
        assert (positions(settings), len(ids(settings))) == ({0: 50}, 50)
    statement = re.search(said, str(caught.value))
    assert statement is not None
    engine = sa.create_engine(settings.database_url)
    with engine.begin() as connection:
        assert connection.exec_driver_sql(statement[1]).rowcount == 1
    engine.dispose()
    catch_up(stream, settings)
    assert ids(settings) == named("old", 0, 50) + named("new", 50, 70)
    with opened(stream, settings) as ingestion:
        batch = ingestion.plan([OffsetRange(topic, 0, 30, 50)], "backfill")
        ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "backfill")
    assert set(named("new", 30, 70)) <= set(ids(settings))
    catch_up(stream, settings)
    assert positions(settings) == {0: 70}


def test_a_log_cut_below_the_position_fails_while_it_is_short_and_once_it_has_grown(
    own: LocalKafka, tmp_path: Path
) -> None:
    topic = make_topic(own, partitions=1)
    settings, stream = settings_for(own, tmp_path), stream_of(topic)
    load_fifty_then_lose_twenty(own, settings, stream, topic)
    with pytest.raises(DataLoss, match="ends at 30, below the ledger's next offset 50: 20 offsets are gone"):
        catch_up(stream, settings)
    send_in_tens(own, topic, named("new", 30, 51))
    with pytest.raises(LogCut, match=r"cut at offset 30"):
        catch_up(stream, settings)
    assert ids(settings) == named("old", 0, 50)


def test_a_log_cut_under_a_run_that_is_draining_fails_that_run_and_the_next(own: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(own, partitions=1)
    policy = BatchPolicy(min_messages=1, max_wait_seconds=0, linger_seconds=90)
    settings, stream = settings_for(own, tmp_path), stream_of(topic, batch=policy)
    send_in_tens(own, topic, named("old", 0, 20))
    with opened(stream, settings) as ingestion:
        batch = ingestion.plan((), "live")
        result = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(result.next_offsets)
        draining = ingestion.drain(batch)
        send_in_tens(own, topic, named("old", 20, 50))
        while positions(settings) != {0: 50}:
            next(draining)
        cut_log(own, topic, 30)
        send_in_tens(own, topic, named("new", 30, 70))
        with pytest.raises(LogCut, match=r"cut at offset 30"):
            go_on(ingestion, batch, draining)
    with pytest.raises(LogCut, match=r"cut at offset 30"):
        catch_up(stream, settings)
    assert ids(settings) == named("old", 0, 50)


def test_a_broker_that_restarts_and_loses_nothing_is_read_on(own: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(own, partitions=1)
    settings, stream = settings_for(own, tmp_path), stream_of(topic)
    send(own, topic, ["a", "b"])
    catch_up(stream, settings)
    own.kill()
    own.restart()
    send(own, topic, ["c"])
    catch_up(stream, settings)
    own.kill()
    own.restart()
    catch_up(stream, settings)
    send(own, topic, ["d"])
    catch_up(stream, settings)
    assert ids(settings) == ["a", "b", "c", "d"]
    [(first, offset)] = query(settings, "SELECT leader_epoch, leader_epoch_offset FROM kafka_ingest_offsets")
    assert (first > 0, offset) == (True, 3)


def test_markers_of_a_later_leader_behind_the_last_message_are_no_cut(own: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(own, partitions=1)
    settings, stream = settings_for(own, tmp_path), stream_of(topic)
    producer = Producer({"bootstrap.servers": own.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, item("a"), partition=0)
    producer.flush(30)
    own.kill()
    own.restart()
    producer.commit_transaction(60)  # its marker, offset 1, is of the new leader's epoch
    catch_up(stream, settings)
    assert positions(settings) == {0: 2}
    send(own, topic, ["b"])
    catch_up(stream, settings)
    assert ids(settings) == ["a", "b"]
    own.kill()
    own.restart()
    catch_up(stream, settings)
    assert positions(settings) == {0: 3}


def test_retention_behind_the_last_message_that_was_loaded_is_no_cut(own: LocalKafka, tmp_path: Path) -> None:
    topic = make_topic(own, partitions=1)
    settings, stream = settings_for(own, tmp_path), stream_of(topic)
    producer = Producer({"bootstrap.servers": own.bootstrap_servers, "transactional.id": topic})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, item("a"), partition=0)
    producer.commit_transaction(30)
    catch_up(stream, settings)
    assert query(settings, "SELECT next_offset, leader_epoch_offset FROM kafka_ingest_offsets") == [(2, 0)]
    send(own, topic, ["b"])
    delete_before(own, topic, 2)  # the marker, behind which the reader begins, is gone
    catch_up(stream, settings)
    assert ids(settings) == ["a", "b"]
    send(own, topic, [f"lost{n}" for n in range(5)] + ["c"])
    delete_before(own, topic, 8)
    catch_up(dataclasses.replace(stream, on_data_loss="skip"), settings)
    assert ids(settings) == ["a", "b", "c"]
