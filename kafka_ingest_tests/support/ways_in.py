"""Each database, by each way in: what a test of columns runs over, as a fixture's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.target import Target

MYSQL_WAYS = ("mysql load_data", "mysql insert", "mariadb load_data", "mariadb insert")
WAYS = (*MYSQL_WAYS, "postgresql")


@contextmanager
def target_by(request: pytest.FixtureRequest, stream: Stream) -> Iterator[Target]:
    """The stream's tables in an empty database, by the way that is the fixture's parameter; it has to be the way to the end."""
    server, _, way = request.param.partition(" ")
    sink = open_sink(sa.make_url(request.getfixturevalue(f"{server}_url")))
    if isinstance(sink, MySQLSink) and way == "insert":
        sink.uses_load_data = False
    opened = Target(stream, sink)
    opened.pin({TopicPartition(topic, 0): 0 for topic in stream.topic_names})
    yield opened
    if isinstance(sink, MySQLSink):
        assert sink.uses_load_data is (way == "load_data")
    sink.close()
