"""Looking for change events, replaying their dead letters, and forecasting a backfill of them."""

from __future__ import annotations

from contextlib import closing

import pytest

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.test_debezium import framed
from kafka_ingest_tests.envelopes.test_debezium_truncate import TRUNCATE
from kafka_ingest_tests.envelopes.world import (
    TOPIC,
    Ordered,
    customers,
    deleted,
    stream,
    tombstone,
    with_schemas,
    written,
)
from kafka_ingest_tests.support.letters import became, run_replay
from kafka_ingest_tests.support.searched import Searched


def test_the_events_of_a_row_are_found_by_a_path_of_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, stream())
    topic.send(written(1, "old"), written(1, "new"), deleted(1), written(2))
    topic.load()
    assert topic.fates("after.id=1") == [f"deleted {TOPIC}[0]@2"] * 2
    assert topic.fates("before.id=1") == ["tombstone"]
    assert topic.fates("after.id=2") == ["row"]
    topic.send(tombstone(1))
    topic.load()
    assert topic.fates("before.id=1") == [f"deleted {TOPIC}[0]@4"]


def test_in_the_sources_order_a_row_names_the_delete_that_came_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, stream(Ordered))
    topic.send(deleted(1, lsn=20), written(1, "old", lsn=10), written(2, "new", lsn=5), deleted(2, lsn=4))
    topic.load()
    assert topic.fates("after.id=1") == [f"deleted {TOPIC}[0]@0"]
    assert topic.fates("before.id=1") == ["tombstone"]
    assert topic.fates("after.id=2") == ["row"]
    assert topic.fates("before.id=2") == [f"superseded {TOPIC}[0]@2"]


def test_a_truncate_that_waits_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, stream())
    topic.send(written(1))
    topic.load()
    topic.send(Msg(TRUNCATE))
    found = topic.one("op=t")
    assert found.fate == "waiting"


def test_a_delete_that_could_not_be_read_is_replayed_in_its_place() -> None:
    target = Target(stream())
    target.receive(framed("c", None, {"id": 1, "first_name": "Anne"}, 1), framed("d", {"id": 1}, None, 1))
    assert [letter[1] for letter in target.dead_letters()] == ["decode", "decode"]
    target.receive(written(1, "newer"), deleted(2))
    assert became(run_replay(target, with_schemas())) == {f"{TOPIC}[0]@0": "row", f"{TOPIC}[0]@1": "delete"}
    assert customers(target) == {1: "newer"}


def test_a_forecast_compares_deletes_in_the_sources_order() -> None:
    target = Target(stream(Ordered))
    target.pin({TopicPartition(TOPIC, 0): 0})

    def at(*messages: Msg, start: int) -> Part:
        return Part(list(messages), topic=TOPIC, start=start)

    target.load(raw_slice(at(written(1, lsn=10), deleted(2, lsn=20), written(3, lsn=30), start=0)))
    raw = raw_slice(at(deleted(1, lsn=11), written(2, lsn=19), deleted(3, lsn=29), written(4, lsn=1), start=3))
    table = TargetTable.of(Ordered)
    with target.sink.engine.connect() as connection, closing(table_comparison(connection, target.sink, table)) as found:
        found.compare(piped(target.stream, raw))
        assert found.result() == TableForecast(added=1, changed=0, unchanged=1, removed=1)
    target.load(raw)
    assert customers(target, "ordered") == {3: "Anne", 4: "Anne"}
