"""Tables of very many columns, slices of many Kafka partitions and streams of many tables, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import PermanentError, RetryableError
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target

pytestmark = pytest.mark.services

COLUMNS, TABLES, PARTITIONS = 200, 50, 137
_KINDS = (sa.String(20), sa.BigInteger(), sa.Float(53), sa.Boolean(), sa.Numeric(12, 2))


def model(name: str, count: int, *kinds: Any) -> type[AppendModel]:
    """Columns c0, c1, … of these types in turn."""
    fields = {f"c{n}": field(kinds[n % len(kinds)], nullable=True) for n in range(count)}
    return type(name, (AppendModel,), {"__tablename__": name, **fields})


def stream(name: str, *models: type[AppendModel]) -> Stream:
    routes = {each.__tablename__: each for each in models}
    return Stream(name=name, topics=name, routes=routes, route_by=RouteByField("type"))


WIDE = model("columns_200", COLUMNS, *_KINDS)
GOOD = model("beside_too_wide", 1, sa.Integer())
LONG_ROWS = model("columns_of_text", 100, sa.String(255))
MANY_COLUMNS = model("columns_1100", 1_100, sa.Integer())
MODELS = [model(f"of_many_{n}", 1, sa.String(20)) for n in range(TABLES)]


@pytest.fixture
def sink(database_url: str) -> Iterator[Sink]:
    opened = open_sink(sa.make_url(database_url))
    yield opened
    opened.close()


def test_each_of_200_columns_has_its_own_value(sink: Sink) -> None:
    names = [f"c{n}" for n in range(COLUMNS)]
    target = Target(stream("wide", WIDE), sink)

    def value(message: int, n: int) -> object:
        if (message + n) % 7 == 0:
            return None
        return (f"{message}·{n}", message * 1_000 + n, message + n / 8, (message + n) % 2 == 0, message + n / 4)[n % 5]

    messages = [{"type": "columns_200"} | {c: value(m, n) for n, c in enumerate(names)} for m in range(250)]
    target.receive(*messages)
    table = target.stream.targets[0].table
    with sink.engine.connect() as connection:
        rows = connection.execute(sa.select(table).order_by(table.c["_kafka_offset"])).mappings().all()
    assert [{c: row[c] for c in names} for row in rows] == [{c: m[c] for c in names} for m in messages]


@pytest.mark.parametrize("too_wide", [LONG_ROWS, MANY_COLUMNS])
def test_a_table_that_the_server_cannot_have_is_named_and_not_tried_again(
    sink: Sink, too_wide: type[AppendModel]
) -> None:
    """As other loaders retried for ever (pingcap/tiflow#9659)."""
    said = rf"making table {too_wide.__tablename__} of stream s: .*[Tt]oo (large|many|big)"
    with pytest.raises(PermanentError, match=said) as caught:
        prepare_tables(sink, stream("s", GOOD, too_wide))
    assert not isinstance(caught.value, RetryableError)


def of_each_partition(length: int, start: int) -> RawSlice:
    return raw_slice(
        *(
            Part(
                [
                    Msg({"type": f"of_many_{(p + offset) % TABLES}", "c0": f"{p}-{offset}"})
                    for offset in range(start, start + length)
                ],
                topic="many",
                partition=p,
                start=start,
            )
            for p in range(PARTITIONS)
        )
    )


def test_many_partitions_and_tables_are_loaded_once_in_order_ahead_and_again(sink: Sink) -> None:
    target = Target(stream("many", *MODELS), sink)
    target.pin({TopicPartition("many", p): 0 for p in range(PARTITIONS)})
    target.load(of_each_partition(3, 0))
    target.load_ahead(of_each_partition(2, 3))
    assert target.load(of_each_partition(3, 2)).skipped == 3 * PARTITIONS
    target.load(of_each_partition(5, 0), "backfill")
    for number, each in enumerate(MODELS):
        expected = [
            (f"{p}-{offset}",) for p in range(PARTITIONS) for offset in range(5) if (p + offset) % TABLES == number
        ]
        assert target.rows(each, "c0") == expected
    assert target.offsets() == {f"many[{p}]": 5 for p in range(PARTITIONS)}
