"""Loaders of different Kafka partitions do not wait for each other; loaders of the same one do."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from kafka_ingest.ledger.positions import Advance, advance_positions, ledger_positions, lock_fences, pin_positions
from kafka_ingest.ledger.tables import METADATA
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition

pytestmark = pytest.mark.services

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.timezone.utc)
PARTITIONS = [TopicPartition("t", number) for number in range(4)]


@pytest.fixture
def sink(any_database_url: str) -> Iterator[Sink]:
    found = open_sink(sa.make_url(any_database_url))
    with found.engine.begin() as connection:
        METADATA.create_all(connection)
        pin_positions(connection, "s", dict.fromkeys(PARTITIONS, 0), {}, run_id="r", now=NOW)
    yield found
    found.close()


def wait_one_second(connection: sa.Connection) -> None:
    """For a lock, at most."""
    variable = "lock_timeout = '1s'" if connection.dialect.name == "postgresql" else "innodb_lock_wait_timeout = 1"
    connection.exec_driver_sql(f"SET SESSION {variable}")


def holds(connection: sa.Connection, *numbers: int) -> None:
    """Lock these partitions and move them, as a load does."""
    mine = [PARTITIONS[n] for n in numbers]
    locked = lock_fences(connection, "s", mine)
    assert set(locked) == set(mine)
    moves = {tp: replace(Advance.nowhere(fence), next_offset=5, loaded_to=5) for tp, fence in locked.items()}
    advance_positions(connection, "s", moves, run_id="r", now=NOW)


@pytest.mark.parametrize(
    ("first", "second"), [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((1,), (2,)), ((3,), (0, 1, 2)), ((0, 1, 2), (3,))]
)
def test_different_partitions_do_not_wait(sink: Sink, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with sink.engine.connect() as one, sink.engine.connect() as other:
        wait_one_second(other)
        holds(one, *first)
        holds(other, *second)
        other.commit()
        one.commit()
    with sink.engine.connect() as connection:
        found = ledger_positions(connection, "s")
    assert {tp.partition for tp, position in found.items() if position.next_offset == 5} == {*first, *second}


def test_the_same_partition_waits(sink: Sink) -> None:
    with sink.engine.connect() as one, sink.engine.connect() as other:
        wait_one_second(other)
        holds(one, 0, 1)
        with pytest.raises(sa.exc.OperationalError, match=r"Lock wait timeout|due to lock timeout"):
            lock_fences(other, "s", [PARTITIONS[1], PARTITIONS[2]])
