"""A source table that was emptied: what Debezium says of it, and what a slice does with that."""

from __future__ import annotations

import pytest

from kafka_ingest import Debezium, RouteByField, Stream
from kafka_ingest.errors import SourceTruncated
from kafka_ingest.testing.messages import one, piped
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import (
    TOPIC,
    Customer,
    customers,
    stream,
    written,
)

# confluentinc/kafka-connect-jdbc#1282
TRUNCATE = {
    "before": None,
    "after": None,
    "source": {
        "version": "2.0.0.Final",
        "connector": "postgresql",
        "name": "source-postgresql",
        "ts_ms": 1670898970313,
        "snapshot": "false",
        "db": "forign",
        "sequence": '[null,"2919574488"]',
        "schema": "public",
        "table": "table1",
        "txId": 15000708,
        "lsn": 2919574488,
        "xmin": None,
    },
    "op": "t",
    "ts_ms": 1670898970410,
    "transaction": None,
}


def test_a_truncated_source_ends_the_slice_and_says_where_it_stands() -> None:
    target = Target(stream())
    target.receive(written(1))
    with pytest.raises(SourceTruncated) as caught:
        target.receive(written(2), TRUNCATE, written(3))
    assert str(caught.value).startswith(
        f"stream customers: at {TOPIC}[0]@2 the source's table was truncated or dropped, and table customers still has its rows."
    )
    error = caught.value
    assert (error.topic, error.partition, error.position, error.table) == (TOPIC, 0, 2, "customers")
    assert customers(target) == {1: "Anne"}
    assert target.offsets() == {f"{TOPIC}[0]": 1}


def test_a_truncated_source_can_be_passed_over() -> None:
    target = Target(stream(on_truncate="ignore"))
    target.receive(written(1), TRUNCATE, written(3))
    assert customers(target) == {1: "Anne", 3: "Anne"}
    assert target.batches() == [(f"{TOPIC}[0]@[0,3)", "live", 2, 0, 0, 1, 0)]


def test_a_truncated_table_that_no_route_takes_is_none_of_ours() -> None:
    used = Stream(
        name="customers",
        topics=TOPIC,
        route_by=RouteByField("source.table"),
        routes={"customers": Customer},
        unrouted="ignore",
        envelope=Debezium(),
    )
    assert piped(used, one(TRUNCATE, topic=TOPIC)).ignored.tolist() == [0]
