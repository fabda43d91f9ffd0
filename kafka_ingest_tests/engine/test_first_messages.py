"""Windows begin at a stream's first message, by the log and the ledger together; a message of 1970 moves nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest
import sqlalchemy as sa

from kafka_ingest.engine.first_messages import FirstMessages, first_in_ledger, first_in_log, with_first_window
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.windows import EARLIEST
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.cluster import FakeMessage, FakeMetadata, Log

P0, P1, Q0 = TopicPartition("mixed", 0), TopicPartition("mixed", 1), TopicPartition("mixed2", 0)
DAILY = dataclasses.replace(MIXED, window="daily")


def at(day: int, hour: int = 0, minute: int = 0) -> dt.datetime:
    return dt.datetime(2025, 12, day, hour, minute, tzinfo=dt.timezone.utc)


def stamped(tp: TopicPartition, *instants: dt.datetime, start: int = 0) -> Log:
    found = {start + n: FakeMessage(tp, start + n, stamp=int(i.timestamp() * 1000)) for n, i in enumerate(instants)}
    return Log(found, start + len(found), start)


def loaded(target: Target, tp: TopicPartition, start: int, *instants: dt.datetime) -> None:
    messages = [Msg({"type": "event", "name": "n"}, timestamp_ms=int(i.timestamp() * 1000)) for i in instants]
    target.load(raw_slice(Part(messages, topic=tp.topic, partition=tp.partition, start=start)))


@pytest.mark.parametrize(
    ("held", "was_loaded", "start"),
    [
        (at(3, 4, 30), None, at(3, 4)),
        (None, at(2, 1, 59), at(2, 1)),
        (at(3, 4, 30), at(2, 1, 59), at(2, 1)),  # retention has moved the log's start
        (at(2), at(3), at(2)),  # what lies before the first loaded message can be loaded by a backfill
        (None, None, NOW),
        (NOW + dt.timedelta(days=400), None, NOW),  # a producer's clock is ahead
    ],
)
def test_windows_begin_at_the_first_message_that_the_log_holds_or_the_ledger_has_loaded(
    held: dt.datetime | None, was_loaded: dt.datetime | None, start: dt.datetime
) -> None:
    found = FirstMessages({"mixed": held}, {"mixed": was_loaded})
    assert found.window_start(MIXED, now=NOW) == start
    assert found.window_start(DAILY, now=NOW) == start.replace(hour=0)


def test_where_one_of_them_does_not_answer_only_the_ledger_may_speak_alone() -> None:
    """The log's first message may be later than windows that are loaded already."""
    assert FirstMessages({"mixed": at(3)}, {}).window_start(MIXED, now=NOW) is None
    assert FirstMessages({}, {"mixed": at(3)}).window_start(MIXED, now=NOW) == at(3)
    assert FirstMessages({}, {"mixed": None}).window_start(MIXED, now=NOW) is None
    assert FirstMessages().window_start(MIXED, now=NOW) is None


def test_the_log_is_asked_for_all_streams_at_once_and_a_message_of_1970_is_passed_over() -> None:
    ancient = dt.datetime(1970, 1, 1, 1, tzinfo=dt.timezone.utc)
    logs = {P0: stamped(P0, ancient, at(5), at(4)), P1: stamped(P1, at(7)), Q0: stamped(Q0, ancient)}
    metadata = FakeMetadata(logs)
    other = dataclasses.replace(MIXED, name="other", topics="mixed2", group_id="other")
    unmade = dataclasses.replace(MIXED, name="unmade", topics="unmade")
    assert first_in_log([MIXED, other, unmade], metadata) == {"mixed": at(5), "other": None, "unmade": None}
    assert metadata.requests == 2


def test_the_ledger_says_the_first_of_each_partitions_entries_of_former_lives_too() -> None:
    target = Target(MIXED)
    assert first_in_ledger([MIXED], target.sink) == {"mixed": None}
    target.pin({P0: 0, P1: 50})
    loaded(target, P0, 0, dt.datetime(1970, 1, 2, tzinfo=dt.timezone.utc))
    loaded(target, P0, 1, at(6), at(5))
    loaded(target, P0, 3, at(9))
    loaded(target, P1, 50, at(8))
    other = dataclasses.replace(MIXED, name="other")
    assert first_in_ledger([MIXED, other], target.sink) == {"mixed": at(5), "other": None}
    for table in ("kafka_ingest_batches", "kafka_ingest_offsets"):
        with target.sink.engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE {table} SET topic = 'mixed@id' WHERE kafka_partition = 0"))
    assert first_in_ledger([MIXED], target.sink) == {"mixed": at(5)}


def test_a_database_without_a_ledger_has_loaded_nothing() -> None:
    target = Target(MIXED)
    with target.sink.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE kafka_ingest_batches"))
    assert first_in_ledger([MIXED], target.sink) == {"mixed": None}


def test_the_command_line_learns_what_a_code_location_does() -> None:
    target, metadata = Target(MIXED), FakeMetadata({P0: stamped(P0, at(9, 1, 30), start=7)})
    assert with_first_window(MIXED, metadata, target.sink, now=NOW).window_start == at(9, 1)
    declared = dataclasses.replace(MIXED, window_start=EARLIEST)
    assert with_first_window(declared, metadata, target.sink, now=NOW) is declared
