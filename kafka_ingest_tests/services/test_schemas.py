"""Two tables of one name, each in a database of its own on one server, loaded by one stream."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.checks.table_rows import audit_rows
from kafka_ingest.checks.trace import stream_of_table, trace
from kafka_ingest.cli.doctor.database import check_database
from kafka_ingest.cli.status_state import _count
from kafka_ingest.errors import ConfigError
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.support.made import Make

pytestmark = pytest.mark.services

HERE, THERE = TopicPartition("here", 0), TopicPartition("there", 0)


@pytest.fixture
def other(database: LocalDatabase) -> str:
    """Name of a second database of the server."""
    name = sa.make_url(fresh_database(database)).database
    assert name is not None
    return name


@pytest.fixture
def sink(database_url: str) -> Iterator[Sink]:
    found = open_sink(sa.make_url(database_url))
    yield found
    found.close()


def stream_of(made: Make, name: str, other: str) -> Stream:
    return Stream(
        name="schemas",
        topics=("here", "there", "rows_here", "rows_there"),
        route_by=RouteByTopic(),
        routes={
            "here": made(name, UpsertModel, delete_on_tombstone=True),
            "there": made(name, UpsertModel, schema=other, delete_on_tombstone=True),
            "rows_here": made(f"{name} rows"),
            "rows_there": made(f"{name} rows", schema=other),
        },
    )


def row(id_: str) -> Msg:
    return Msg({"id": id_})


def tombstone(id_: str) -> Msg:
    return Msg(None, key=json.dumps(id_).encode())


def ids(target: Target, table: TargetTable) -> list[Any]:
    with target.sink.engine.connect() as connection:
        return list(connection.execute(sa.select(table.table.c.id).order_by(table.table.c.id)).scalars())


@pytest.mark.parametrize("name", ["news", "odd-`na.me` 100%"])
def test_a_tombstone_in_one_schema_leaves_the_other_schemas_row(
    sink: Sink, other: str, database_url: str, made: Make, name: str
) -> None:
    stream = stream_of(made, name, other)
    here, there, rows_here, rows_there = stream.targets
    target = Target(stream, sink)
    target.pin(dict.fromkeys((HERE, THERE, TopicPartition("rows_here", 0), TopicPartition("rows_there", 0)), 0))
    both = [row("k"), row("l")]
    target.load(raw_slice(Part(both, topic="here"), Part(both, topic="there")))
    assert (ids(target, here), ids(target, there)) == (["k", "l"], ["k", "l"])

    # Offset 2 is above all of "there": by one table of tombstones for both, it would bury what is loaded next.
    target.load(raw_slice(Part([tombstone("k")], topic="here", start=2)))
    assert (ids(target, here), ids(target, there)) == (["l"], ["k", "l"])
    target.load(raw_slice(Part(both, topic="here"), Part(both, topic="there")), "backfill")
    assert (ids(target, here), ids(target, there)) == (["l"], ["k", "l"])
    target.load(raw_slice(Part([tombstone("l")], topic="there", start=2)))
    assert (ids(target, here), ids(target, there)) == (["l"], ["k"])

    result = target.load(raw_slice(Part([row("x")], topic="rows_here"), Part(both, topic="rows_there")))
    assert result.rows_by_table == {rows_here.label: 1, rows_there.label: 2}
    for table, count in ((rows_here, 1), (rows_there, 2)):
        assert audit_rows(sink, stream, table, seconds=60).passed
        with sink.engine.connect() as connection:
            counted = _count(connection, sink, table)
        assert (counted.table, counted.rows) == (table.label, count)

    for table, fate in ((here, "tombstone"), (there, "row")):
        _, found = stream_of_table({"schemas": stream}, table.label)
        assert [t.fate for t in trace(sink, stream, found, "k")] == [fate]
    settings = Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": database_url})
    findings = {f.check: f for f in check_database(settings, [stream])}
    assert [findings[f"table {t.label}"].verdict for t in stream.targets] == ["ok"] * 4
    assert "transactions" not in findings
    with sink.engine.begin() as connection:
        quoted = connection.dialect.identifier_preparer.format_table(rows_there.table)
        connection.exec_driver_sql(f"ALTER TABLE {quoted} ENGINE = MyISAM")
    (fault,) = (f for f in check_database(settings, [stream]) if f.check == "transactions")
    assert fault.detail == f"not InnoDB: {rows_there.label} (MyISAM)"


def test_the_ledger_stays_where_the_url_points(sink: Sink, other: str, made: Make) -> None:
    Target(stream_of(made, "news", other), sink)
    with sink.engine.connect() as connection:
        names = sa.inspect(connection).get_table_names(schema=other)
    assert sorted(names) == ["news", "news rows", "news_tombstones"]


def test_the_database_of_the_url_named_as_a_schema_is_the_same_table(sink: Sink, made: Make) -> None:
    own = sink.engine.url.database
    stream = Stream(name="schemas", topics="t", routes={"a": made("news"), "b": made("news", schema=own)})
    with pytest.raises(ConfigError, match=rf"table {own}\.news of model \S+ is also a table of news"):
        Target(stream, sink)
    Target(dataclasses.replace(stream, routes={"b": stream.routes["b"]}), sink)
