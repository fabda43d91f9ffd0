"""Maxwell's messages, as https://maxwells-daemon.io/dataformat/ has them."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import Envelope, Maxwell, RouteByField, Stream, UpsertModel, date_field, field
from kafka_ingest.errors import SourceTruncated
from kafka_ingest.testing.messages import letters_of, one, piped
from kafka_ingest.testing.target import Target


class E(UpsertModel):
    """The table of its documentation."""

    __tablename__ = "e"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    m: Mapped[float | None] = field(sa.Float)
    c: Mapped[Any] = date_field(nullable=True)
    comment: Mapped[str | None] = field(sa.String(255))
    xid: Mapped[int | None] = field(sa.BigInteger, source=Envelope("xid"))


STREAM = Stream(
    name="maxwell",
    topics="maxwell",
    route_by=RouteByField("table"),
    routes={"e": E},
    envelope=Maxwell(),
    max_dead_letter_ratio=1.0,
)
DATA = {"id": 1, "m": 4.2341, "c": "2016-10-21 05:33:37.523000", "comment": "I am a creature of light."}
INSERT = {
    "database": "test",
    "table": "e",
    "type": "insert",
    "ts": 1477053217,
    "xid": 23396,
    "commit": True,
    "position": "master.000006:800911",
    "server_id": 23042,
    "thread_id": 108,
    "data": DATA,
}
UPDATE = INSERT | {
    "type": "update",
    "xid": 23530,
    "data": DATA | {"m": 5.444, "c": "2016-10-21 05:33:54.631000"},
    "old": {"m": 4.2341, "c": "2016-10-21 05:33:37.523000"},
}
DELETE = UPDATE | {"type": "delete", "old": None}


def test_inserts_updates_and_deletes_mirror_the_table() -> None:
    target = Target(STREAM)
    target.receive(INSERT, INSERT | {"data": DATA | {"id": 2}}, UPDATE)
    assert target.rows(E, "id", "m", "c", "xid") == [
        (2, 4.2341, "2016-10-21 05:33:37.523000", 23396),
        (1, 5.444, "2016-10-21 05:33:54.631000", 23530),
    ]
    target.receive(DELETE)
    assert target.rows(E, "id") == [(2,)]


def test_a_changed_key_deletes_the_row_of_the_old_one() -> None:
    """estuary/connectors#2185: the rows of the old keys were left behind."""
    target = Target(STREAM)
    moved = UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1}}
    target.receive(INSERT, INSERT | {"data": DATA | {"id": 2}})
    target.receive(moved)
    assert target.rows(E, "id") == [(2,), (5,)]
    assert target.batches()[-1] == ("maxwell[0]@[2,3)", "live", 1, 0, 0, 0, 0)
    target.load(one(INSERT, topic="maxwell"), "backfill")
    assert target.rows(E, "id") == [(2,), (5,)]


def test_a_changed_key_is_a_row_and_a_delete_or_neither() -> None:
    target = Target(STREAM)
    target.receive(INSERT)
    target.receive(
        UPDATE | {"data": DATA | {"id": 5, "m": "x"}, "old": {"id": 1}},
        UPDATE | {"data": DATA | {"id": 5, "c": "no date"}, "old": {"id": 1}},
        UPDATE | {"data": DATA | {"id": 5}, "old": {"id": "1"}},
        UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1 << 40}},
    )
    assert target.rows(E, "id") == [(1,)]
    assert [letter[:2] for letter in target.dead_letters()] == [
        ("maxwell[0]@1", "decode"),
        ("maxwell[0]@2", "dates"),
        ("maxwell[0]@3", "decode"),
        ("maxwell[0]@4", "decode"),
    ]
    assert target.batches()[-1] == ("maxwell[0]@[1,5)", "live", 0, 0, 4, 0, 0)


def test_so_where_the_old_key_alone_is_bad() -> None:
    target = Target(STREAM)
    target.receive(UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1 << 40}})
    assert target.rows(E, "id") == []
    assert len(target.dead_letters()) == 1


def test_a_changed_key_whose_old_row_the_database_keeps_changes_nothing() -> None:
    target = Target(STREAM)
    target.receive(INSERT, INSERT | {"data": DATA | {"id": 2}})
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER keep BEFORE DELETE ON e WHEN OLD.id = 1 BEGIN SELECT RAISE(ABORT, 'held'); END"
        )
    target.receive(
        UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1}},
        UPDATE | {"data": DATA | {"id": 6}, "old": {"id": 2}},
    )
    assert target.rows(E, "id") == [(1,), (6,)]
    assert [letter[:2] for letter in target.dead_letters()] == [("maxwell[0]@2", "database")]
    assert target.batches()[-1] == ("maxwell[0]@[2,4)", "live", 1, 0, 1, 0, 0)


def test_within_a_slice_the_old_key_may_be_written_again() -> None:
    target = Target(STREAM)
    target.receive(
        INSERT,
        UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1}},
        INSERT | {"data": DATA | {"comment": "another"}},
        UPDATE | {"data": DATA | {"id": 7}, "old": {"id": 5}},
    )
    assert target.rows(E, "id", "comment") == [(1, "another"), (7, "I am a creature of light.")]


class KeptE(UpsertModel):
    """Keeps what is deleted."""

    __tablename__ = "kept_e"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = False
    id: Mapped[int] = field(sa.Integer, primary_key=True)


def test_a_table_that_keeps_deleted_rows_keeps_that_of_the_old_key() -> None:
    target = Target(
        Stream(name="k", topics="maxwell", route_by=RouteByField("table"), routes={"e": KeptE}, envelope=Maxwell())
    )
    target.receive(INSERT, UPDATE | {"data": DATA | {"id": 5}, "old": {"id": 1}})
    assert target.rows(KeptE, "id") == [(1,), (5,)]


def test_a_bootstrap_is_rows_between_two_marks() -> None:
    mark = {"database": "fooDB", "table": "e", "type": "bootstrap-start", "ts": 1450557744, "data": {}}
    insert = mark | {"type": "bootstrap-insert", "data": {"id": 7, "comment": "hello"}}
    target = Target(STREAM)
    target.receive(mark, insert, mark | {"type": "bootstrap-complete"})
    assert target.rows(E, "id", "comment") == [(7, "hello")]
    assert target.batches() == [("maxwell[0]@[0,3)", "live", 1, 0, 0, 2, 0)]


@pytest.mark.parametrize("kind", ["table-create", "table-alter", "database-create", "database-alter", "database-drop"])
def test_statements_that_leave_the_rows_are_ignored(kind: str) -> None:
    found = {"type": kind, "database": "test", "table": "e", "def": {"table": "e"}, "ts": 1477053126000, "sql": "…"}
    assert piped(STREAM, one(found, topic="maxwell")).ignored.tolist() == [0]


def test_a_dropped_table_is_refused() -> None:
    drop = {"type": "table-drop", "database": "test", "table": "e", "ts": 1477053308000, "sql": "drop table test.e"}
    with pytest.raises(SourceTruncated, match=r"at maxwell\[0\]@1 the source's table was truncated or dropped"):
        Target(STREAM).receive(INSERT, drop)


def test_another_type_is_a_dead_letter() -> None:
    parsed = piped(STREAM, one(INSERT | {"type": "upsert"}, INSERT | {"type": None}, topic="maxwell"))
    errors = [error for _, error in letters_of(parsed).values()]
    assert [error.split(",")[0] for error in errors] == ["type is 'upsert'", "type is None"]
