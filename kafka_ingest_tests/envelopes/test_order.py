"""Deletes that stand in values and a model's own order: one total order, however the log is cut, repeated and shuffled."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest import UpsertModel, date_field, field
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, letters_of, one, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import TOPIC, Ordered, change, customers, deleted, stream, tombstone, written

pytestmark = pytest.mark.slow

ORDERED = stream(Ordered)


def at(partition: int, *messages: Msg, start: int = 0) -> Any:
    return raw_slice(Part(list(messages), topic=TOPIC, partition=partition, start=start))


def ordered() -> Target:
    """Tables that are empty, and partitions that begin at 0."""
    target = Target(ORDERED)
    target.pin({TopicPartition(TOPIC, partition): 0 for partition in range(3)})
    return target


def test_a_delete_is_compared_by_the_sources_log_before_its_place_in_kafka() -> None:
    target = ordered()
    target.load(at(0, deleted(1, lsn=20, timestamp_ms=MORNING_MS)))
    target.load(at(1, written(1, "old", lsn=10, timestamp_ms=MORNING_MS + 5_000)))
    assert customers(target, "ordered") == {}
    target.load(at(2, written(1, "new", lsn=30, timestamp_ms=MORNING_MS - 5_000)))
    assert customers(target, "ordered") == {1: "new"}
    target.load(at(0, deleted(1, lsn=25), start=1))
    assert customers(target, "ordered") == {1: "new"}
    target.load(at(0, deleted(1, lsn=40), start=2))
    assert customers(target, "ordered") == {}
    assert target.all("SELECT id, lsn, _kafka_offset FROM ordered_tombstones") == [(1, 40, 2)]


def test_within_a_slice_too() -> None:
    target = ordered()
    target.load(at(0, deleted(1, lsn=20), written(1, "old", lsn=10), written(2, "x", lsn=5), deleted(2, lsn=4)))
    assert customers(target, "ordered") == {2: "x"}
    assert target.batches() == [(f"{TOPIC}[0]@[0,4)", "live", 2, 2, 0, 0, 0)]


def test_a_null_value_has_nothing_to_be_compared_by_and_is_ignored() -> None:
    target = ordered()
    target.load(at(0, written(1, lsn=1), tombstone(1)))
    assert customers(target, "ordered") == {1: "Anne"}
    assert target.batches() == [(f"{TOPIC}[0]@[0,2)", "live", 1, 0, 0, 1, 0)]


def test_a_delete_without_its_order_is_a_dead_letter() -> None:
    event = change("d", {"id": 1})
    event["source"]["lsn"] = None
    parsed = piped(stream(Ordered), one(event, topic=TOPIC))
    assert letters_of(parsed) == {
        0: ("decode", "delete: lsn: missing or null, and it says when the row was deleted"),
    }


class Dated(UpsertModel):
    """In the order of a date."""

    __tablename__ = "dated"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "changed"

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    changed: Mapped[dt.datetime] = date_field(timezone="Asia/Shanghai")


def test_the_order_may_be_a_date() -> None:
    target = Target(stream(Dated, envelope=None, delete_when={"gone": True}))
    noon, later = "2026-05-01 12:00:00", "2026-05-01T04:00:01Z"  # a second later
    target.receive({"id": 1, "changed": later, "gone": True}, {"id": 2, "changed": noon, "gone": True})
    target.receive({"id": 1, "changed": noon}, {"id": 2, "changed": later})
    assert target.rows(Dated, "id") == [(2,)]
    target.receive({"id": 1, "changed": "2026-05-01 12:00:02"}, {"id": 2, "changed": later, "gone": True})
    assert target.rows(Dated, "id") == [(1,)]
    parsed = piped(target.stream, one({"id": 1, "changed": "no date", "gone": True}, topic=TOPIC))
    ((stage, error),) = letters_of(parsed).values()
    assert (stage, error.startswith("delete: changed: ")) == ("decode", True)


class Dayed(UpsertModel):
    """In the order of days."""

    __tablename__ = "dayed"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "day"

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    day: Mapped[dt.date] = date_field(sa.Date, unit="days")


def test_or_a_day() -> None:
    target = Target(stream(Dayed, envelope=None, delete_when={"gone": True}))
    target.receive({"id": 1, "day": 19844, "gone": True}, {"id": 2, "day": 19843, "gone": True})
    target.receive({"id": 1, "day": 19843}, {"id": 2, "day": 19844})
    assert target.rows(Dayed, "id", "day") == [(2, "2024-05-01")]
    assert target.all("SELECT id, day FROM dayed_tombstones ORDER BY id") == [(1, "2024-05-01"), (2, "2024-04-30")]


PARTITIONS = 2
KEYS = (1, 2, 3)


@st.composite
def logs(draw: st.DrawFn) -> list[list[Msg]]:
    """Events of a few keys over partitions; a key's events need not stand in one."""
    found: list[list[Msg]] = [[] for _ in range(PARTITIONS)]
    for name in range(draw(st.integers(1, 12))):
        number, lsn = draw(st.sampled_from(KEYS)), draw(st.integers(0, 6))
        stamp = MORNING_MS + 1_000 * draw(st.integers(0, 5))
        make = draw(st.sampled_from(("write", "write", "delete")))
        event = (
            deleted(number, lsn=lsn, timestamp_ms=stamp)
            if make == "delete"
            else written(number, f"v{name}", lsn=lsn, timestamp_ms=stamp)
        )
        found[draw(st.integers(0, PARTITIONS - 1))].append(event)
    return found


def oracle(log: list[list[Msg]]) -> dict[int, str]:
    """By the source's log, then by the running maximum of the partition's timestamps, partition and offset."""
    placed = []
    for partition, messages in enumerate(log):
        highest = -1
        for offset, message in enumerate(messages):
            highest = max(highest, message.timestamp_ms or -1)
            placed.append(((message.value["source"]["lsn"], highest, partition, offset), message.value))
    rows: dict[int, str] = {}
    for _, value in sorted(placed, key=lambda each: each[0]):
        if value["op"] == "d":
            rows.pop(value["before"]["id"], None)
        else:
            rows[value["after"]["id"]] = value["after"]["first_name"]
    return rows


@settings(max_examples=40, deadline=None)
@given(log=logs(), seed=st.integers(0, 1_000))
def test_however_it_is_cut_repeated_and_shuffled_the_table_is_the_logs(log: list[list[Msg]], seed: int) -> None:
    target, chance = ordered(), random.Random(seed)
    slices: list[tuple[int, int, int]] = []
    for partition, messages in enumerate(log):
        start = 0
        while start < len(messages):
            end = chance.randint(start + 1, len(messages))
            slices.append((partition, start, end))
            start = end
    chance.shuffle(slices)
    for partition, start, end in [*slices, *slices[: len(slices) // 2]]:
        before = max((m.timestamp_ms or -1 for m in log[partition][:start]), default=-1)
        raw = at(partition, *log[partition][start:end], start=start)
        raw = raw.with_order_starts({raw.ranges[0].topic_partition: before})
        target.load(raw, "backfill")
    assert customers(target, "ordered") == dict(sorted(oracle(log).items()))
    assert not target.dead_letters()


def test_the_tombstones_have_the_column_of_the_order() -> None:
    assert [row[1] for row in ordered().all("PRAGMA table_info(ordered_tombstones)")][:3] == [
        "id",
        "lsn",
        "_kafka_topic",
    ]
