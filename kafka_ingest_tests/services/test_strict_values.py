"""What a real server would take for another value never gets there: by LOAD DATA and by INSERT, on both servers."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target

pytestmark = pytest.mark.services


class Grade(enum.Enum):
    """Stored by name."""

    GOOD = 1
    BAD = 2


class Listed(AppendModel):
    """Members that look like MySQL's numbers for members, among others."""

    __tablename__ = "listed_strict"
    size: Mapped[str | None] = field(sa.Enum("small", "medium", "large"))
    digits: Mapped[str | None] = field(mysql.ENUM("0", "2", "1"))
    grade: Mapped[Any | None] = field(sa.Enum(Grade))
    marks: Mapped[str | None] = field(mysql.SET("red", "green", "blue", "2"))
    price: Mapped[Decimal | None] = field(sa.Numeric(30, 10))


class Priced(UpsertModel):
    """Keyed by a decimal."""

    __tablename__ = "priced_strict"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[Decimal] = field(sa.Numeric(20, 4), primary_key=True)
    note: Mapped[str | None] = field(sa.String(20))


class Sized(UpsertModel):
    """Keyed by a member of an ENUM and a text."""

    __tablename__ = "sized_strict"
    delete_on_tombstone: ClassVar[bool] = True
    size: Mapped[str] = field(sa.Enum("small", "medium", "1"), primary_key=True)
    name: Mapped[str] = field(sa.String(20), primary_key=True)


class Named(UpsertModel):
    """Keyed by a text."""

    __tablename__ = "named_strict"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[str] = field(sa.String(20), primary_key=True)


class Plain(UpsertModel):
    """Keyed by a text, with keys that are no JSON."""

    __tablename__ = "plain_strict"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key = "text"
    id: Mapped[str] = field(sa.String(20), primary_key=True)


ROUTES: dict[str, type[Model]] = {"listed": Listed, "priced": Priced, "sized": Sized, "named": Named, "plain": Plain}
STREAM = Stream(name="strict", topics=tuple(ROUTES), route_by=RouteByTopic(), routes=ROUTES, max_dead_letter_ratio=1.0)


@pytest.fixture(params=["load_data", "insert"])
def target(request: pytest.FixtureRequest, database: LocalDatabase, database_url: str) -> Iterator[Target]:
    """By LOAD DATA, and by INSERT as the server forbids local files."""
    if request.param == "insert":
        database.run_as_administrator("SET GLOBAL local_infile = OFF")
    try:
        sink = MySQLSink(sa.make_url(database_url))
        opened = Target(STREAM, sink)
        opened.pin({TopicPartition(topic, 0): 0 for topic in ROUTES})
        yield opened
        assert sink.uses_load_data is (request.param == "load_data")
        sink.close()
    finally:
        database.run_as_administrator("SET GLOBAL local_infile = ON")


def load(target: Target, topic: str, *bodies: Any, start: int = 0) -> tuple[int, int, list[int]]:
    """Rows, deletes, and the offsets of dead letters; each body is bytes, fields, or a message."""
    messages = [body if isinstance(body, Msg) else Msg(body) for body in bodies]
    result = target.load(raw_slice(Part(messages, topic=topic, start=start)))
    letters = target.all(f"SELECT kafka_offset FROM kafka_ingest_dead_letters WHERE topic = '{topic}' ORDER BY 1")
    return result.total("rows"), result.total("deletes"), [offset for (offset,) in letters]


def test_a_member_of_an_enum_or_set_is_read_back_and_nothing_else_gets_in(target: Target) -> None:
    good: list[dict[str, Any]] = [
        *({"size": "small"}, {"size": "large"}, {"size": None}, {"digits": "0"}, {"digits": "1"}, {"digits": "2"}),
        *({"grade": "GOOD"}, {"marks": ""}, {"marks": "red"}, {"marks": "blue,red"}, {"marks": "2"}),
    ]
    bad: list[dict[str, Any]] = [
        *({"size": value} for value in ("2", "0", "", "SMALL", "small ", 1, 3, 0)),
        *({"digits": value} for value in (0, 1, 2, "3", "")),
        *({"grade": value} for value in ("1", 1, "good")),
        *({"marks": value} for value in ("3", 3, "red,", "red,red", "red,pink", "RED", "red, blue")),
    ]
    assert load(target, "listed", *good, *bad) == (len(good), 0, list(range(len(good), len(good) + len(bad))))
    rows = target.rows(Listed, "size", "digits", "grade", "marks")
    expected = [(b.get("size"), b.get("digits"), b.get("grade"), b.get("marks")) for b in good]
    expected[9] = (None, None, None, "red,blue")  # a SET has an order of its own
    assert rows == expected


def test_a_number_is_stored_exactly_and_what_is_none_is_a_dead_letter(target: Target) -> None:
    good = ["1.10", "-0.0000000001", "12345678901234567890.0123456789", "1e3", "0", "-0.0"]
    bad = ["1_000", " 12 ", "１２", "٣", "+1", "01", "NaN", "1e400", "0.00000000001"]
    numbers = [b'{"price":%s}' % text.encode() for text in good]
    assert load(target, "listed", *numbers, *({"price": text} for text in (*good, *bad))) == (
        *(2 * len(good), 0),
        list(range(2 * len(good), 2 * len(good) + len(bad))),
    )
    assert [row[0] for row in target.rows(Listed, "price")] == [Decimal(text) for text in good] * 2


@pytest.mark.parametrize("together", [True, False])
def test_a_row_is_deleted_by_its_own_key_and_by_no_other(target: Target, together: bool) -> None:
    ids = ["12", "12 ", " 12", '"q"', "q", "A", "a", "é", "e\u0301", "\\N", ""]
    for topic, written in (("named", [json.dumps(i).encode() for i in ids]), ("plain", [i.encode() for i in ids])):
        rows, keys = [Msg({"id": i}) for i in ids], [Msg(None, key=k) for k in written]
        if together:
            assert load(target, topic, *rows, *keys[:-3]) == (len(ids), len(ids) - 3, [])
        else:
            load(target, topic, *rows)
            for place, key in enumerate(keys[:-3]):
                load(target, topic, key, start=len(ids) + place)
                assert target.all(f"SELECT COUNT(*) FROM {topic}_strict") == [(len(ids) - place - 1,)]
        left = {row[0] for row in target.all(f"SELECT id FROM {topic}_strict")}
        assert left == set(ids[-3:])


def test_a_key_that_names_no_row_deletes_none_and_is_a_dead_letter(target: Target) -> None:
    foreign = [b"12", b"Struct{id=12}", b'{"schema":{},"payload":{"id":"12"}}', b"", b'"12 "', b'{"id":null}', None]
    letters = load(target, "named", {"id": "12"}, *(Msg(None, key=key) for key in foreign))
    assert letters == (1, 2, [2, 3, 4, 6, 7])  # 12 is the digits of its row, "12 " the key of another
    assert target.all("SELECT COUNT(*) FROM named_strict") == [(0,)]


def test_equal_decimals_are_one_key_of_rows_and_of_tombstones(target: Target) -> None:
    written = [
        b'{"id":1.10,"note":"a"}',
        b'{"id":"1.1","note":"b"}',
        b'{"id":11e-1,"note":"c"}',
        b'{"id":2,"note":"d"}',
    ]
    assert load(target, "priced", *written) == (4, 0, [])
    assert target.all("SELECT id, note FROM priced_strict ORDER BY id") == [(Decimal("1.1"), "c"), (Decimal(2), "d")]
    assert load(target, "priced", *(Msg(None, key=k) for k in (b'"1.1000"', b'{"id":2.0}')), start=4) == (0, 2, [])
    assert target.all("SELECT COUNT(*) FROM priced_strict") == [(0,)]
    assert load(target, "priced", Msg(None, key=b"1.00001"), Msg(None, key=b'"1_0"'), start=6) == (0, 0, [6, 7])


def test_a_member_of_an_enum_can_be_part_of_a_key(target: Target) -> None:
    bodies = [{"size": size, "name": "n"} for size in ("small", "medium", "1")]
    assert load(target, "sized", *bodies) == (3, 0, [])
    keys = [b'{"size":"1","name":"n"}', b'{"size":1,"name":"n"}', b'{"size":"2","name":"n"}']
    assert load(target, "sized", *(Msg(None, key=k) for k in keys), start=3) == (0, 1, [4, 5])
    assert target.all("SELECT size FROM sized_strict ORDER BY size") == [("small",), ("medium",)]
