"""A model's own order field: the message with the highest value is the last, wherever and whenever it comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.testing.messages import MORNING_MS, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import P0, P1
from kafka_ingest_tests.support.ordered import ORDERED, TABLES, versioned

pytestmark = pytest.mark.services


@pytest.fixture(params=["sqlite", "mysql", "mariadb", "postgresql"])
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    kind: str = request.param
    url = "sqlite://" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    found = Target(ORDERED, open_sink(sa.make_url(url)))
    found.pin({P0: 0, P1: 0})
    yield found
    found.sink.close()


def notes(target: Target, kind: str) -> dict[str, str]:
    return dict(target.all(f"SELECT id, note FROM {TABLES[kind]}"))


@pytest.mark.parametrize("kind", ["v", "t", "d"])
def test_the_highest_value_stays_in_one_slice_and_in_several(target: Target, kind: str) -> None:
    log = [
        versioned(kind, "k", 1, "one"),
        versioned(kind, "k", 2, "two"),
        versioned(kind, "k", -1, "minus"),
        versioned(kind, "k", None, "none"),
        versioned(kind, "m", None, "none"),
        versioned(kind, "m", None, "none again"),
        versioned(kind, "m", 0, "zero"),
        versioned(kind, "n", 2, "first of equals"),
        versioned(kind, "n", 2, "second of equals"),
        versioned(kind, "o", None, "only"),
        versioned(kind, "p", -(2**63), "the lowest value"),
        versioned(kind, "p", None, "NULL is before it"),
    ]
    expected = {"k": "two", "m": "zero", "n": "second of equals", "o": "only", "p": "the lowest value"}
    target.load(raw_slice(Part(log)))
    assert notes(target, kind) == expected
    for number, message in enumerate(log):
        target.load(raw_slice(Part([message], start=number)), "backfill")
        assert notes(target, kind) == expected
    assert target.dead_letters() == []


@pytest.mark.parametrize("kind", ["v", "t", "d"])
def test_the_place_in_kafka_counts_only_between_equal_values(target: Target, kind: str) -> None:
    """Of two partitions the one with the earlier timestamp has the higher version."""
    target.load(raw_slice(Part([versioned(kind, "k", 1, "later", timestamp_ms=MORNING_MS + 9_000)])))
    target.load(raw_slice(Part([versioned(kind, "k", 2, "higher", timestamp_ms=MORNING_MS)], partition=1)))
    assert notes(target, kind) == {"k": "higher"}
    target.load(raw_slice(Part([versioned(kind, "k", 2, "equal", timestamp_ms=MORNING_MS)], start=1)))
    assert notes(target, kind) == {"k": "equal"}


def test_every_order_of_arrival_gives_the_same_row(target: Target) -> None:
    log = [versioned("v", "k", version, f"{version}") for version in (1, None, 2, 0)]
    target.load(raw_slice(Part(log)))
    for order in itertools.permutations(range(len(log))):
        with target.sink.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM t_by_version")
        for number in order:
            target.load(raw_slice(Part([log[number]], start=number)), "backfill")
        assert notes(target, "v") == {"k": "2"}
