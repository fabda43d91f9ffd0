"""LOAD DATA and INSERT are equally strict: whichever way rows go, the same are in the table and the same are dead letters."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target

pytestmark = pytest.mark.services


class Awkward(AppendModel):
    """Its table is made narrower after it was looked at, so that the database gets what it cannot hold."""

    __tablename__ = "awkward"
    __table_args__ = (sa.CheckConstraint("amount <> 13"), sa.UniqueConstraint("name"))
    price: Mapped[Any | None] = field(sa.Numeric(20, 6))
    code: Mapped[str | None] = field(sa.String(20))
    name: Mapped[str | None] = field(sa.String(20))
    latin: Mapped[str | None] = field(sa.String(20))
    amount: Mapped[int | None] = field(sa.Integer)
    colour: Mapped[str | None] = field(mysql.ENUM("red", "blue"))
    data: Mapped[Any | None] = field(sa.JSON)
    must: Mapped[int | None] = field(sa.Integer, default=1)
    parent: Mapped[int | None] = field(sa.Integer)
    divisor: Mapped[int | None] = field(sa.Integer, default=1)


class Staged(UpsertModel):
    """The same by way of a staging table."""

    __tablename__ = "awkward_keys"
    id: Mapped[int] = field(sa.Integer, primary_key=True)
    price: Mapped[Any | None] = field(sa.Numeric(20, 6))
    code: Mapped[str | None] = field(sa.String(20))


STREAM = Stream(
    name="awkward",
    topics=("awkward", "staged"),
    route_by=RouteByTopic(),
    routes={"awkward": Awkward, "staged": Staged},
    max_dead_letter_ratio=1.0,
)
NARROWER = (
    "CREATE TABLE parents (id INT PRIMARY KEY) ENGINE=InnoDB",
    "INSERT INTO parents VALUES (1)",
    "ALTER TABLE awkward MODIFY price DECIMAL(12,2), MODIFY code VARCHAR(3), MODIFY colour ENUM('red'), "
    "MODIFY latin VARCHAR(20) CHARACTER SET latin1, MODIFY must TINYINT NOT NULL, "
    "ADD COLUMN quotient INT AS (100 DIV divisor) STORED, ADD FOREIGN KEY (parent) REFERENCES parents (id)",
    "ALTER TABLE awkward_keys MODIFY price DECIMAL(12,2), MODIFY code VARCHAR(3)",
)
GOOD: dict[str, Any] = {"price": 1.23, "code": "abc", "latin": "é", "colour": "red", "data": {"a": [1]}, "parent": 1}
BAD: list[dict[str, Any]] = [
    {"price": 1.234567},  # a mere note: the decimals would be cut
    {"price": 99_999_999_999.5},
    {"code": "abcd"},
    {"code": "ab   "},  # a mere note: the blanks would be cut
    {"latin": "长"},
    {"colour": "blue"},
    {"amount": 13},
    {"must": 128},
    {"parent": 2},
    {"divisor": 0},
    {"name": "one"},  # of the row before
    {"data": {"k" * 66_000: 1}, "amount": 1},
]
# Deeper than MySQL takes, and MariaDB.
DEEP = b'{"data": ' + b"[" * 150 + b"]" * 150 + b"}"


@pytest.fixture(params=["load_data", "insert"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(database: LocalDatabase, way: str) -> Target:
    name = f"t_{uuid.uuid4().hex[:12]}"
    database.create_database(name)
    sink = open_sink(sa.make_url(database.url(name)))
    assert isinstance(sink, MySQLSink)
    if way == "insert":
        sink.uses_load_data = False
    target = Target(STREAM, sink)
    target.pin({TopicPartition(topic, 0): 0 for topic in STREAM.topic_names})
    return target


@pytest.fixture
def target(database: LocalDatabase, way: str) -> Iterator[Target]:
    found = opened(database, way)
    yield found
    found.sink.close()


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def outcome(database: LocalDatabase, way: str) -> dict[str, list[tuple[Any, ...]]]:
    target = opened(database, way)
    execute(target, *NARROWER)
    messages = [Msg(GOOD | {"name": "one"})]
    for number, bad in enumerate(BAD):
        messages += [Msg(GOOD | bad), Msg(GOOD | {"amount": number + 100})]
    messages += [Msg(DEEP), Msg(GOOD)]
    result = target.load(raw_slice(Part(messages, topic="awkward")))
    assert result.messages == len(messages)
    values: list[dict[str, Any]] = [{"price": 1.5}, {"price": 1.234567}, {"code": "a    "}, {"code": "a"}]
    staged = [{"id": number, **row} for number, row in enumerate(values)]
    target.load(raw_slice(Part([Msg(row) for row in staged], topic="staged")))
    found = target.state() | {
        "letters": target.all(
            "SELECT topic, kafka_offset, stage FROM kafka_ingest_dead_letters ORDER BY topic, kafka_offset"
        )
    }
    target.sink.close()
    return found


def test_awkward_rows_end_the_same_way_by_load_data_and_by_insert(database: LocalDatabase) -> None:
    one, other = outcome(database, "load_data"), outcome(database, "insert")
    assert one == other
    bad = [2 * number + 1 for number in range(len(BAD))]
    if database.kind == "mariadb":
        bad.pop()  # takes names of any length
    expected = [("awkward", offset, "database") for offset in [*bad, 2 * len(BAD) + 1]]
    assert one["letters"] == [*expected, ("staged", 1, "database"), ("staged", 2, "database")]
    assert len(one["awkward"]) == 2 * len(BAD) + 3 - len(expected)


def test_a_note_in_the_first_of_many_statements_is_not_overlooked(target: Target) -> None:
    """The driver makes several statements of a long INSERT, and remembers the last one's warnings."""
    execute(target, *NARROWER, "ALTER TABLE awkward MODIFY code MEDIUMTEXT")
    rows = [Msg({"price": 1.234567})] + [Msg({"price": 1.5, "data": "x" * 20_000}) for _ in range(200)]
    result = target.load(raw_slice(Part(rows, topic="awkward")))
    assert (result.total("rows"), result.total("dead_letters")) == (200, 1)
    assert [letter[0] for letter in target.dead_letters()] == ["awkward[0]@0"]
    assert target.all("SELECT COUNT(*), MIN(price), MAX(price) FROM awkward") == [
        (200, Decimal("1.50"), Decimal("1.50"))
    ]


@pytest.mark.parametrize(
    ("server", "way"), [("mysql", "insert"), ("mariadb", "insert"), ("mariadb", "load_data")], indirect=["way"]
)
def test_a_column_without_a_default_added_under_the_load_is_the_tables_fault_and_no_rows(
    request: pytest.FixtureRequest, server: str, way: str
) -> None:
    """Error 1364 made dead letters of 200 of 200 good messages. MySQL's LOAD DATA says nothing and stores 0: there the
    comparison at the start of each run refuses the table."""
    target = opened(request.getfixturevalue(server), way)
    execute(
        target, "ALTER TABLE awkward ADD COLUMN owner INT NOT NULL", "ALTER TABLE awkward_keys ADD owner INT NOT NULL"
    )
    for topic, row in (("awkward", GOOD | {"parent": None}), ("staged", {"id": 1})):
        with pytest.raises(SchemaMismatch, match="1364"):
            target.load(raw_slice(Part([Msg(row)] * 200, topic=topic)))
    with pytest.raises(SchemaMismatch, match="column owner is not in the model"):
        prepare_tables(target.sink, STREAM)
    assert target.all("SELECT COUNT(*) FROM awkward") == [(0,)]
    assert target.dead_letters() == []
    assert target.offsets() == {"awkward[0]": 0, "staged[0]": 0}
    target.sink.close()
