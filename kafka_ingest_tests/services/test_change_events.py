"""A table's changes as events of Debezium, over several partitions, cut anyhow and loaded twice, mirror it on real servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Held, Target
from kafka_ingest_tests.envelopes.source import PARTITIONS, Source
from kafka_ingest_tests.envelopes.world import TOPIC, Customer, Ordered, customers, deleted, stream, written

pytestmark = pytest.mark.services

SECONDS = 30.0
MIRROR, ORDERED = stream(Customer), stream(Ordered)


def slices(source: Source, chance: random.Random) -> list[RawSlice]:
    """The whole log in slices of any size, those of a partition in their order."""
    waiting = {p: list(enumerate(messages)) for p, messages in enumerate(source.partitions) if messages}
    highest = dict.fromkeys(waiting, -1)
    found = []
    while waiting:
        partition = chance.choice(sorted(waiting))
        size = chance.randint(1, 20)
        some, waiting[partition] = waiting[partition][:size], waiting[partition][size:]
        part = Part([message for _, message in some], topic=TOPIC, partition=partition, start=some[0][0])
        found.append(raw_slice(part).with_order_starts({TopicPartition(TOPIC, partition): highest[partition]}))
        highest[partition] = max(highest[partition], *(message.timestamp_ms or -1 for _, message in some))
        if not waiting[partition]:
            del waiting[partition]
    return found


@pytest.fixture
def target(any_database_url: str, request: pytest.FixtureRequest) -> Iterator[Target]:
    used: Stream = getattr(request, "param", MIRROR)
    found = Target(used, open_sink(sa.make_url(any_database_url)))
    found.pin({TopicPartition(TOPIC, partition): 0 for partition in range(PARTITIONS)})
    yield found
    found.sink.close()


@pytest.mark.parametrize(("target", "table"), [(MIRROR, "customers"), (ORDERED, "ordered")], indirect=["target"])
def test_a_table_that_changes_is_mirrored(target: Target, table: str) -> None:
    chance = random.Random(table)
    # In the order of the source's log the events of a row may come by any partition.
    source = Source(chance, by_key=table == "customers")
    for _ in range(250):
        source.change()
    log = slices(source, chance)
    there = {number: row["first_name"] for number, row in sorted(source.rows.items())}
    for each in log:
        target.load(each)
    assert customers(target, table) == there
    again: Sequence[RawSlice] = slices(source, chance)
    chance.shuffle(again)  # type: ignore[arg-type]
    for each in again:
        target.load(each, "backfill")
    assert customers(target, table) == there
    assert target.dead_letters() == []


def at(partition: int, message: Msg) -> RawSlice:
    return raw_slice(Part([message], topic=TOPIC, partition=partition))


@pytest.mark.parametrize("target", [ORDERED], indirect=True)
@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (written(1, "old", lsn=10), deleted(1, lsn=20), {}),
        (deleted(1, lsn=20), written(1, "old", lsn=10), {}),
        (written(1, "new", lsn=30), deleted(1, lsn=20), {1: "new"}),
        (deleted(1, lsn=20), written(1, "new", lsn=30), {1: "new"}),
        (deleted(1, lsn=20), deleted(1, lsn=10), {}),
    ],
)
def test_a_row_and_its_delete_that_are_loaded_at_once_end_in_the_sources_order(
    target: Target, first: Msg, second: Msg, left: dict[int, str]
) -> None:
    held = Held(target, at(0, first), LoadStep.DEAD_LETTERS)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, at(1, second), run_id="other")
        threading.Event().wait(0.3)  # either it waits for the first one's lock by now, or it is done
        held.let_go()
        other.result(SECONDS)
    assert customers(target, "ordered") == left
    target.load(at(2, written(1, "older still", lsn=5)))
    assert customers(target, "ordered") == left
