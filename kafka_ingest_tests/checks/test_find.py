"""What became of a message: each fate once, by what a topic and its tables can hold."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.checks.find import answer_document, streams_of_topic
from kafka_ingest.engine.loss import handle_loss
from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import ConfigError
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel, field
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import NOW
from kafka_ingest_tests.support.cluster import SETTINGS
from kafka_ingest_tests.support.letters import run_replay
from kafka_ingest_tests.support.made import Make
from kafka_ingest_tests.support.partial import PEOPLE
from kafka_ingest_tests.support.searched import Searched

P0 = TopicPartition("mixed", 0)
LENIENT = replace(MIXED, max_dead_letter_ratio=1.0)


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Searched:
    return Searched(monkeypatch, LENIENT)


def event(name: str, amount: Any = 1, key: bytes | None = None, **more: Any) -> Msg:
    return Msg({"type": "event", "name": name, "amount": amount} | more, key)


def account(key: str, balance: int, **more: Any) -> Msg:
    return Msg({"type": "account", "id": key, "balance": balance}, key.encode(), **more)


def gone(key: str, **more: Any) -> Msg:
    return Msg(None, key.encode(), **more)


def test_a_message_that_is_a_row_is_found_by_key_field_and_offset(topic: Searched) -> None:
    topic.send(event("a"), account("k1", 5))
    topic.load(run_id="first")
    for text in ("k1", "id=k1", "balance=5", "1", "0:1", "mixed[0]@1"):
        found = topic.one(text)
        assert (found.fate, str(found.position), found.table, found.key) == (
            "row", "mixed[0]@1", "t_account", {"id": "k1"},
        )  # fmt: skip
        assert (found.message_key, [each.run_id for each in found.loads]) == (b"k1", ["first"])
    assert topic.one("name=a").table == "t_event"


def test_an_older_message_of_a_key_is_superseded_by_the_one_that_won(topic: Searched) -> None:
    topic.send(account("k1", 1), account("k1", 2), account("k2", 9), account("k1", 3))
    topic.load()
    assert topic.fates("k1") == ["superseded mixed[0]@3", "superseded mixed[0]@3", "row"]
    assert "superseded by mixed[0]@3" in topic.one("0").text


def test_a_superseded_message_whose_values_the_row_keeps_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, replace(PEOPLE, route_by=RouteByField("type")))
    for carried in ({"note": "a", "more": {"number": 1}}, {"note": "b"}, {"whole": 1}):
        topic.send(Msg({"type": "person", "id": "k"} | carried, b"k"))
    topic.load()
    assert [topic.one(str(offset)).text for offset in range(2)] == [
        "superseded by people-1[0]@2, the later message of its key, which keeps its number",
        "superseded by people-1[0]@2, the later message of its key, which keeps its note",
    ]


def test_a_key_in_two_partitions_is_superseded_by_the_later_timestamp(topic: Searched) -> None:
    topic.send(account("k1", 1, timestamp_ms=MORNING_MS + 60_000))
    topic.send(account("k1", 2, timestamp_ms=MORNING_MS), partition=1)
    topic.load()
    topic.load(partition=1)
    assert topic.fates("k1") == ["row", "superseded mixed[0]@0"]


def test_a_row_that_is_older_than_the_message_has_not_superseded_it(topic: Searched) -> None:
    topic.send(account("k1", 1), partition=1)
    topic.send(account("k1", 2, timestamp_ms=MORNING_MS + 60_000))
    topic.load()
    with topic.target.sink.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM t_account"))
    topic.load(partition=1)  # what a person may do: the older message is the row now
    assert topic.fates("k1") == ["no_row", "row"]


def test_a_field_of_the_models_own_says_which_message_superseded(monkeypatch: pytest.MonkeyPatch, made: Make) -> None:
    model = made("t_versions", UpsertModel, columns={"version": field(sa.Integer)}, order_by="version")
    topic = Searched(monkeypatch, Stream(name="versions", topics="versions", routes={"v": model}))
    topic.send(*(Msg({"type": "v", "id": "k", "version": n}, b"k") for n in (7, 9, 8)))
    topic.load()
    assert topic.fates("k") == ["superseded versions[0]@1", "row", "superseded versions[0]@1"]


def test_a_deleted_row_names_its_tombstone_and_the_tombstone_says_what_it_did(topic: Searched) -> None:
    topic.send(account("k1", 1), gone("k1"), account("k2", 2))
    topic.load()
    assert topic.fates("k1") == ["deleted mixed[0]@1", "tombstone"]
    topic.send(account("k1", 3))
    topic.load()
    assert topic.fates("k1") == ["superseded mixed[0]@3", "superseded mixed[0]@3", "row"]


def test_a_dead_letter_says_stage_and_error_and_what_a_replay_made_of_it(topic: Searched) -> None:
    topic.send(Msg(b"{oops", b"k1"), event("bad", "many", b"k2"), Msg({"type": "other"}, b"k3"))
    topic.load(run_id="first")
    first = topic.one("k1")
    assert first.fate == "dead_letter"
    assert "decode: not JSON" in first.text
    assert first.advice == "kafka-ingest dead-letters show 1"
    assert topic.fates("k2") == topic.fates("k3") == ["dead_letter"]
    assert "no route for type 'other'" in topic.one("k3").text
    mended = replace(LENIENT, routes={**LENIENT.routes, "other": LENIENT.routes["account"]})
    run_replay(topic.target, mended, run_id="again")  # has no id: still a dead letter
    assert "(replays: 1)" in topic.one("k3").text
    assert topic.one("k3", stream=mended).fate == "dead_letter"


def test_a_dead_letter_that_a_replay_made_a_row_of_is_a_row(topic: Searched) -> None:
    topic.send(Msg({"type": "late", "name": "x"}, b"k"))
    topic.load(run_id="first")
    mended = replace(LENIENT, routes={**LENIENT.routes, "late": LENIENT.routes["event"]})
    run_replay(topic.target, mended, run_id="again")
    found = topic.one("k", stream=mended)
    assert (found.fate, [each.run_id for each in found.loads]) == ("row", ["again", "first"])
    assert "after its dead letter was replayed" in found.text
    ignoring = replace(LENIENT, unrouted="ignore")
    topic.send(Msg({"type": "later"}, b"k2"))
    topic.load()
    run_replay(topic.target, ignoring, run_id="third")
    assert topic.one("k2").fate == "ignored"


def test_a_message_the_stream_ignores_is_said_to_be_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, replace(MIXED, unrouted="ignore"))
    topic.send(Msg({"type": "other"}, b"k"), event("a"))
    topic.load()
    assert topic.fates("k") == ["ignored"]


def test_what_is_not_loaded_yet_waits_and_says_what_would_become_of_it(topic: Searched) -> None:
    topic.send(account("k1", 1), account("k1", 2), Msg(b"{", b"bad"))
    before = topic.one("0")
    assert (before.fate, before.loads) == ("waiting", ())
    assert "the first run will begin at offset 0" in before.text
    topic.target.pin({P0: 0})
    assert "next offset is 0; today's code would make a row of table t_account of it" in topic.one("0").text
    assert "would make a dead letter (decode: not JSON" in topic.one("bad").text
    topic.load()
    topic.send(account("k1", 3))
    assert topic.fates("k1") == ["superseded mixed[0]@1", "row", "waiting"]


def test_before_any_table_is_made_everything_waits(topic: Searched) -> None:
    topic.send(account("k1", 1))
    with topic.target.sink.engine.begin() as connection:
        for name in sa.inspect(connection).get_table_names():
            connection.execute(sa.text(f'DROP TABLE "{name}"'))
    assert topic.fates("k1") == ["waiting"]


def test_rows_of_a_topic_that_was_made_again_since_are_not_those_of_its_messages(topic: Searched) -> None:
    topic.send(account("k1", 1), event("a"))
    topic.target.pin({P0: 0}, {"mixed": "id-of-mixed"})
    topic.load()
    assert topic.fates("k1") == ["row"]
    topic.metadata.ids["mixed"] = "another"
    assert topic.fates("k1") == ["waiting"]
    assert "deleted and created again" in topic.one("0").text


def test_an_offset_beyond_the_log_is_not_there_yet(topic: Searched) -> None:
    topic.send(event("a"))
    assert topic.fates("7") == ["not_yet"]
    assert "the log ends at offset 1" in topic.one("7").text


def test_what_retention_deleted_is_expired_and_its_loads_are_named(topic: Searched) -> None:
    topic.send(account("k1", 1), account("k1", 2), event("a"), event("b"))
    topic.load(run_id="first")
    log = topic.logs[P0]
    log.messages, log.start = {3: log.messages[3]}, 3
    expired = topic.one("0")
    assert (expired.fate, [each.run_id for each in expired.loads]) == ("expired", ["first"])
    assert "it was loaded before" in expired.text
    assert topic.fates("1") == topic.fates("2") == ["row"]
    topic.send(event("c"))
    log.messages, log.start = {}, 5
    unknown = topic.one("4")
    assert (unknown.fate, unknown.loads) == ("expired", ())
    assert "knows of no load" in unknown.text


def test_offsets_that_a_run_recorded_as_lost_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    topic = Searched(monkeypatch, replace(MIXED, on_data_loss="skip"))
    topic.send(*(event(str(n)) for n in range(6)))
    topic.target.pin({P0: 2})
    topic.logs[P0].start = 4
    state = observe(topic.stream, topic.metadata, topic.target.sink, SETTINGS)
    handle_loss(topic.stream, state, topic.metadata, topic.target.sink, run_id="skipper", now=NOW)
    found = topic.one("3")
    assert (found.fate, [each.run_id for each in found.loads]) == ("lost", ["skipper"])
    assert topic.fates("1") == ["expired"]


def test_an_offset_without_a_message_is_said_to_be_compacted_or_a_marker(topic: Searched) -> None:
    topic.send(account("k1", 1), account("k1", 2), event("a"))
    topic.load()
    for offset in (0, 2):
        del topic.logs[P0].messages[offset]
    assert topic.fates("0") == ["no_message"]
    assert topic.fates("2") == ["row"]  # compacted since it was loaded
    assert topic.fates("k1") == ["row"]


def test_what_lies_before_the_streams_start_was_never_loaded_and_a_backfill_loads_it(topic: Searched) -> None:
    topic.send(event("a"), event("b"), event("c"))
    topic.load(2)
    found = topic.one("name=a")
    assert (found.fate, found.advice) == (
        "not_loaded",
        "kafka-ingest backfill mixed --from 0 --to 1 --partition mixed:0",
    )
    topic.load(0, "backfill")
    assert topic.fates("name=a") == ["row"]


@pytest.mark.parametrize("key", ["name=a", "k1"])
def test_a_row_that_was_deleted_by_hand_is_loaded_again_with_the_command_that_is_named(
    topic: Searched, key: str
) -> None:
    topic.send(event("a"), account("k1", 1))
    topic.load()
    with topic.target.sink.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM t_event"))
        connection.execute(sa.text("DELETE FROM t_account"))
    found = topic.one(key)
    offset = found.position.offset
    assert found.fate == "no_row"
    assert "deleted by hand" in found.text
    assert found.advice == f"kafka-ingest backfill mixed --from {offset} --to {offset + 1} --partition mixed:0"
    topic.load(0, "backfill")
    assert topic.fates(key) == ["row"]


def test_a_dead_letter_that_was_deleted_is_said_to_be_one_of_todays_code(topic: Searched) -> None:
    topic.send(Msg(b"{", b"k"))
    topic.load()
    with topic.target.sink.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM kafka_ingest_dead_letters"))
    found = topic.one("k")
    assert found.fate == "no_row"
    assert "today's code makes a dead letter (decode: not JSON" in found.text


def test_a_step_that_raises_does_not_keep_what_stands_at_the_position_from_being_found(topic: Searched) -> None:
    def broken(_rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
        raise RuntimeError("a bug")

    topic.send(account("k1", 1), account("k1", 2))
    topic.load()
    found = topic.answer("k1", stream=replace(LENIENT, steps=(broken,))).found
    assert [each.fate for each in found] == ["no_row", "row"]
    assert "raised RuntimeError: a bug" in found[0].text


def test_an_offset_is_looked_for_in_every_partition_unless_one_is_named(topic: Searched) -> None:
    topic.send(event("a"), event("b"))
    topic.send(event("c"), partition=3)
    assert [str(each.position) for each in topic.answer("1").found] == ["mixed[0]@1", "mixed[3]@1"]
    assert topic.fates("1") == ["waiting", "not_yet"]
    with pytest.raises(ConfigError, match="has no partition 7; it has 0 to 3"):
        topic.answer("7:1")


def test_a_topic_that_no_stream_reads_or_that_does_not_exist_is_refused(topic: Searched) -> None:
    assert streams_of_topic({"mixed": MIXED}, "mixed2") == [MIXED]
    with pytest.raises(ConfigError, match="no stream reads a topic 'mixed3'; topics: mixed, mixed2"):
        streams_of_topic({"mixed": MIXED}, "mixed3")
    with pytest.raises(ConfigError, match="topic 'mixed' does not exist at"):
        topic.answer("k1")


def test_the_document_says_all_of_it_to_a_program(topic: Searched) -> None:
    topic.send(account("k1", 1), gone("k1"), Msg(b"{", b"\xff"))
    topic.load(run_id="first")
    document = answer_document(topic.answer("0:0"), lambda run: f"http://ui/runs/{run}")
    (found,) = document["found"]
    assert (found["fate"], found["by"], found["key"], found["table"]) == (
        "deleted", "mixed[0]@1", {"id": "k1"}, "t_account",
    )  # fmt: skip
    assert found["message_key"] == {"base64": "azE=", "text": "k1"}
    assert found["loads"][0]["run_url"] == "http://ui/runs/first"
    assert document["ranges"] == [{"topic": "mixed", "partition": 0, "start": 0, "end": 1}]
    (letter,) = answer_document(topic.answer("2"), lambda _run: None)["found"]
    assert letter["dead_letter"] is not None
    assert (letter["dead_letter"]["stage"], letter["message_key"]) == ("decode", {"base64": "/w==", "text": None})


def test_the_search_says_what_it_read_and_closes_its_consumer(topic: Searched) -> None:
    topic.send(event("a"), event("b"))
    answer = topic.answer("nothing", since=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))
    assert (answer.found, answer.reading.messages, answer.reading.matched) == ((), 2, 0)
    assert all(consumer.is_closed and not consumer.committed for consumer in topic.consumers)
