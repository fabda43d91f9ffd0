"""Columns that the database fills itself: never written, never refused, on each database and by each way in."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.sources import Constant, Database, Header, Key
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.ways_in import WAYS, target_by

pytestmark = pytest.mark.services


class Filled(AppendModel):
    """As tables of people are: a number of their own, who wrote a row and when, a column made of others."""

    __tablename__ = "filled_append"
    number: Mapped[int] = field(sa.BigInteger, source=Database(), server_default=sa.Identity())
    made_at: Mapped[dt.datetime] = field(sa.DateTime, source=Database(), server_default=sa.func.now())
    state: Mapped[str] = field(sa.String(10), source=Database(), server_default="new")
    double: Mapped[int | None] = field(
        sa.Integer, source=Database(), server_default=sa.Computed("amount * 2", persisted=True)
    )
    amount: Mapped[int | None] = field(sa.Integer)
    region: Mapped[str] = field(sa.String(4), source=Constant("eu"))
    trace: Mapped[str | None] = field(sa.String(10), source=Header("trace"))


class FilledKeys(UpsertModel):
    """The same, keyed by the message's key."""

    __tablename__ = "filled_upsert"
    delete_on_tombstone = True
    id: Mapped[str] = field(sa.String(10), primary_key=True, source=Key())
    number: Mapped[int] = field(sa.BigInteger, source=Database(), server_default=sa.Identity())
    state: Mapped[str] = field(sa.String(10), source=Database(), server_default="new")
    double: Mapped[int | None] = field(
        sa.Integer, source=Database(), server_default=sa.Computed("amount * 2", persisted=True)
    )
    amount: Mapped[int | None] = field(sa.Integer)


STREAM = Stream(
    name="filled", topics=("append", "upsert"), route_by=RouteByTopic(), routes={"append": Filled, "upsert": FilledKeys}
)


@pytest.fixture(params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_by(request, STREAM) as opened:
        yield opened


def test_rows_of_an_append_table_get_what_the_database_fills(target: Target) -> None:
    raw = raw_slice(Part([Msg({"amount": n}, None, [("trace", b"t")]) for n in range(3)], topic="append"))
    for kind in ("live", "backfill"):
        target.load(raw, kind)
        names = f"state, {_double(target)}, amount, region, trace"
        rows = target.all(f"SELECT {names} FROM filled_append ORDER BY amount")
        assert rows == [("new", 2 * n, n, "eu", "t") for n in range(3)]
        numbers = [number for (number,) in target.all("SELECT number FROM filled_append")]
        assert len({*numbers}) == 3
    table = TargetTable.of(Filled)
    with target.sink.engine.connect() as connection, closing(table_comparison(connection, target.sink, table)) as found:
        found.compare(piped(STREAM, raw))
        assert found.result() == TableForecast(unchanged=3)
    prepare_tables(target.sink, STREAM)  # its own tables fit


def _double(target: Target) -> str:
    return target.sink.engine.dialect.identifier_preparer.quote("double")


def test_a_row_that_is_replaced_keeps_what_the_database_filled(target: Target) -> None:
    target.load(raw_slice(Part([Msg({"amount": 1}, b"k"), Msg({"amount": 5}, b"m")], topic="upsert")))
    with target.sink.engine.begin() as connection:
        connection.execute(sa.text("UPDATE filled_upsert SET state = 'seen' WHERE id = 'k'"))
    before = dict(target.all("SELECT id, number FROM filled_upsert"))
    target.load(
        raw_slice(Part([Msg({"amount": 2}, b"k"), Msg(None, b"m"), Msg({"amount": 3}, b"n")], topic="upsert", start=2))
    )
    query = f"SELECT id, state, {_double(target)} FROM filled_upsert ORDER BY id"
    assert target.all(query) == [("k", "seen", 4), ("n", "new", 6)]
    assert dict(target.all("SELECT id, number FROM filled_upsert"))["k"] == before["k"]


def test_a_table_of_ones_own_with_auto_increment_is_loaded(database: LocalDatabase, database_url: str) -> None:
    """confluentinc/kafka-connect-jdbc#802: a key of the table's own; feldera/feldera#6694: DEFAULT now() NOT NULL."""

    with closing(open_sink(sa.make_url(database_url))) as sink:
        with sink.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE filled_append (number BIGINT NOT NULL AUTO_INCREMENT, KEY (number), made_at TIMESTAMP NOT NULL "
                "DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, state ENUM('new','old') NOT NULL DEFAULT 'new', "
                "`double` INT GENERATED ALWAYS AS (amount * 2) VIRTUAL, amount INT, region VARCHAR(4) NOT NULL, "
                "trace VARCHAR(10), "
                "_kafka_topic VARCHAR(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, _kafka_partition INT NOT NULL, "
                "_kafka_offset BIGINT NOT NULL, _kafka_timestamp DATETIME(6), "
                "PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset)) CHARACTER SET utf8mb4"
            )
        opened = Target(STREAM, sink)
        opened.pin({TopicPartition("append", 0): 0})
        opened.load(raw_slice(Part([Msg({"amount": n}) for n in (4, 5)], topic="append")))
        assert opened.all("SELECT number, state, `double` FROM filled_append ORDER BY number") == [
            (1, "new", 8),
            (2, "new", 10),
        ]


def test_a_column_that_nothing_fills_is_refused_before_the_first_row(any_database_url: str) -> None:
    with closing(open_sink(sa.make_url(any_database_url))) as sink:
        prepare_tables(sink, STREAM)
        drop = "MODIFY state VARCHAR(10) NOT NULL" if isinstance(sink, MySQLSink) else "ALTER COLUMN state DROP DEFAULT"
        with sink.engine.begin() as connection:
            connection.exec_driver_sql(f"ALTER TABLE filled_append {drop}")
        with pytest.raises(SchemaMismatch, match="column state is to be filled by the database") as caught:
            prepare_tables(sink, STREAM)
        with sink.engine.begin() as connection:
            connection.exec_driver_sql(caught.value.statements[0])
        prepare_tables(sink, STREAM)


def test_what_sqlite_does_not_fill_is_refused_as_the_table_is_made(tmp_path: Path) -> None:
    url = sa.make_url(f"sqlite:///{tmp_path}/f.db")
    with closing(open_sink(url)) as sink, pytest.raises(SchemaMismatch, match="column number is to be filled"):
        prepare_tables(sink, STREAM)
