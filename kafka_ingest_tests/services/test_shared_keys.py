"""Two transactions that meet on one business key, on real servers: the outcome is that of the total order, whoever is first."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.model import UpsertModel, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Held, Target
from kafka_ingest_tests.support.loads import P0, P1, account, balances, gone

pytestmark = pytest.mark.services

SECONDS = 30.0


@pytest.fixture
def target(any_database_url: str) -> Iterator[Target]:
    found = Target(MIXED, open_sink(sa.make_url(any_database_url)))
    found.pin({P0: 0, P1: 0})
    yield found
    found.sink.close()


def at(partition: int, *messages: Msg, start: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), start=start, partition=partition))


def both(target: Target, first: RawSlice, second: RawSlice, step: LoadStep = LoadStep.DEAD_LETTERS) -> None:
    """`first` has written and is not committed; `second` comes and may have to wait; then both end."""
    held = Held(target, first, step)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, second, run_id="other")
        waited = threading.Event()
        waited.wait(0.5)  # either it waits for the first one's lock by now, or it is done
        held.let_go()
        other.result(SECONDS)


def t(seconds: int) -> int:
    return MORNING_MS + 1_000 * seconds


@pytest.mark.parametrize("first_is_later", [True, False])
def test_a_new_key_of_two_partitions_is_no_fault_of_either_message(target: Target, first_is_later: bool) -> None:
    stamps = (t(200), t(100)) if first_is_later else (t(100), t(200))
    both(
        target,
        at(1, account("k", 1, timestamp_ms=stamps[0])),
        at(0, account("k", 2, timestamp_ms=stamps[1]), account("m", 5, timestamp_ms=stamps[1])),
    )
    assert balances(target) == {"k": 1 if first_is_later else 2, "m": 5}
    assert target.dead_letters() == []
    assert {b[0]: b[2] for b in target.batches()} == {"mixed[1]@[0,1)": 1, "mixed[0]@[0,2)": 2}


def test_a_deleted_row_does_not_come_back_by_an_older_message_that_was_under_way(target: Target) -> None:
    both(target, at(0, account("k", 1, timestamp_ms=t(100))), at(1, gone("k", timestamp_ms=t(200))))
    assert balances(target) == {}
    assert target.dead_letters() == []


def test_an_older_message_that_comes_while_the_tombstone_is_under_way_stays_deleted(target: Target) -> None:
    both(target, at(1, gone("k", timestamp_ms=t(200))), at(0, account("k", 1, timestamp_ms=t(100))))
    assert balances(target) == {}


def test_a_newer_message_that_comes_while_its_row_is_deleted_is_there_afterwards(target: Target) -> None:
    target.load(at(0, account("k", 1, timestamp_ms=t(1))))
    both(
        target,
        at(1, gone("k", timestamp_ms=t(100))),
        at(0, account("k", 2, timestamp_ms=t(200)), start=1),
    )
    assert balances(target) == {"k": 2}


@pytest.mark.parametrize("first_is_later", [True, False])
def test_of_two_tombstones_at_once_the_later_one_is_remembered(target: Target, first_is_later: bool) -> None:
    stamps = (t(300), t(100)) if first_is_later else (t(100), t(300))
    both(target, at(1, gone("k", timestamp_ms=stamps[0])), at(0, gone("k", timestamp_ms=stamps[1])))
    # Between the two: what the later one deletes and the earlier one does not.
    target.load(at(1, account("k", 9, timestamp_ms=t(200)), start=1))
    # Where the later one is in the same partition, the row follows it there, whatever its timestamp.
    assert balances(target) == ({"k": 9} if first_is_later else {})


def test_many_keys_written_from_both_sides_at_once_end_as_the_total_order_says(target: Target) -> None:
    size = 300
    forward = [account(f"k{n:03}", 1, timestamp_ms=t(n)) for n in range(size)]
    backward = [account(f"k{n:03}", 2, timestamp_ms=t(size // 2)) for n in reversed(range(size))]
    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(target.load, at(p, *m), run_id=f"r{p}") for p, m in ((0, forward), (1, backward))]
        assert sum(d.result(120).total("rows") for d in done) == 2 * size
    # Equal times: the higher partition.
    assert balances(target) == {f"k{n:03}": 1 if n > size // 2 else 2 for n in range(size)}
    assert target.dead_letters() == []


LOG_0 = [account("k", 0, timestamp_ms=t(200)), account("k", 1, timestamp_ms=t(50))]  # A, B
LOG_1 = [account("k", 2, timestamp_ms=t(100))]  # C


@pytest.mark.parametrize(
    "loads",
    [
        [(0, 0, 1), (0, 1, 2), (1, 0, 1)],
        [(1, 0, 1), (0, 0, 1), (0, 1, 2)],
        [(1, 0, 1), (0, 0, 2)],
        [(0, 0, 2), (1, 0, 1)],
    ],
)
def test_the_last_message_of_a_key_does_not_depend_on_slices(target: Target, loads: list[tuple[int, int, int]]) -> None:
    """C(p1, 100), A(p0, 200), B(p0, 50): B follows A in its partition, so B is the last."""
    for partition, start, end in loads:
        target.load(at(partition, *(LOG_0, LOG_1)[partition][start:end], start=start))
    assert balances(target) == {"k": 1}
    for raw in (at(1, *LOG_1), at(0, *LOG_0), at(0, LOG_0[0])):
        target.load(raw, "backfill")
        assert balances(target) == {"k": 1}


class Owner(UpsertModel):
    """Its deletes are refused while an account of it is there."""

    __tablename__ = "t_owner"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Any] = "text"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    age: Mapped[int | None] = field(sa.Integer)


class Pet(UpsertModel):
    __tablename__ = "t_pet"
    __table_args__ = (sa.UniqueConstraint("badge"),)

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    badge: Mapped[int | None] = field(sa.Integer)
    owner: Mapped[str | None] = field(Owner.__table__.c.id.type)


PETS = Stream(name="mixed", topics=("mixed",), routes={"pet": Pet, "owner": Owner})


def pet(key: str, badge: int | None = None, owner: str | None = None) -> Msg:
    return Msg({"type": "pet", "id": key, "badge": badge, "owner": owner})


def owner(key: str, age: int) -> Msg:
    return Msg({"type": "owner", "id": key, "age": age})


@pytest.fixture
def pets(any_database_url: str) -> Iterator[Target]:
    found = Target(PETS, open_sink(sa.make_url(any_database_url)))
    found.pin({P0: 0, P1: 0})
    with found.sink.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE t_pet ADD FOREIGN KEY (owner) REFERENCES t_owner (id)")
    yield found
    found.sink.close()


def test_values_of_a_unique_column_that_two_rows_swap_in_one_slice_are_swapped(pets: Target) -> None:
    pets.load(at(0, pet("a", 1), pet("b", 2)))
    pets.load(at(0, pet("a", 3), pet("b", 1), pet("a", 2), start=2))
    assert pets.all("SELECT id, badge FROM t_pet ORDER BY id") == [("a", 2), ("b", 1)]
    assert pets.dead_letters() == []


def test_a_value_that_one_row_gives_up_and_a_new_row_takes_is_taken(pets: Target) -> None:
    pets.load(at(0, pet("a", 1)))
    pets.load(at(0, pet("a", 2), pet("b", 1), start=1))
    assert pets.all("SELECT id, badge FROM t_pet ORDER BY id") == [("a", 2), ("b", 1)]


def test_a_child_that_its_table_gets_before_its_parent_is_loaded_after_it(pets: Target) -> None:
    pets.load(at(0, owner("o", 1), pet("a", 1, "o"), pet("b", 2, "nobody")))
    assert pets.all("SELECT id, owner FROM t_pet") == [("a", "o")]
    assert [d[:2] for d in pets.dead_letters()] == [("mixed[0]@2", "database")]


def test_a_row_whose_tombstone_is_refused_stands_in_the_table(pets: Target) -> None:
    pets.load(at(0, owner("o", 1), pet("a", 1, "o")))
    pets.load(at(0, owner("o", 2), gone("o"), start=2))
    assert pets.all("SELECT id, age FROM t_owner") == [("o", 2)]
    assert [d[:2] for d in pets.dead_letters()] == [("mixed[0]@3", "database")]
    assert pets.batches()[1] == ("mixed[0]@[2,4)", "live", 1, 0, 1, 0, 0)
