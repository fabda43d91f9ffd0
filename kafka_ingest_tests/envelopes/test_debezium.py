"""Events of Debezium's connectors, as documented, mirror their table."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import Debezium, Envelope, RouteByField, Stream, UpsertModel, field
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.testing.messages import Msg, one, outcomes, piped
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import (
    TOPIC,
    Change,
    Customer,
    Ordered,
    becomes,
    change,
    customers,
    deleted,
    key,
    row,
    stream,
    tombstone,
    with_schemas,
    written,
)


def test_creates_updates_reads_and_deletes_mirror_the_table() -> None:
    target = Target(stream())
    target.receive(written(1001, "Sally", op="r"), written(1004, "Anne"), written(1005, "Kenneth"))
    assert customers(target) == {1001: "Sally", 1004: "Anne", 1005: "Kenneth"}
    update = change("u", row(1004, "Anne"), row(1004, "Anne Marie"))
    target.receive(Msg(update, key=key(1004)), deleted(1005), tombstone(1005))
    assert customers(target) == {1001: "Sally", 1004: "Anne Marie"}
    assert target.batches()[-1] == (f"{TOPIC}[0]@[3,6)", "live", 1, 2, 0, 0, 0)


SCHEMA = {
    "type": "struct",
    "optional": False,
    "name": "dbserver1.inventory.customers.Envelope",
    "fields": [
        *(
            {
                "type": "struct",
                "optional": True,
                "name": "dbserver1.inventory.customers.Value",
                "field": place,
                "fields": [
                    {"type": "int32", "optional": False, "field": "id"},
                    {"type": "string", "optional": False, "field": "first_name"},
                    {"type": "int32", "optional": True, "name": "io.debezium.time.Date", "version": 1, "field": "born"},
                    {
                        "type": "bytes",
                        "optional": True,
                        "name": "org.apache.kafka.connect.data.Decimal",
                        "version": 1,
                        "parameters": {"scale": "2"},
                        "field": "credit",
                    },
                    {
                        "type": "int64",
                        "optional": True,
                        "name": "io.debezium.time.MicroTimestamp",
                        "version": 1,
                        "field": "seen",
                    },
                ],
            }
            for place in ("before", "after")
        ),
        {"type": "string", "optional": False, "field": "op"},
        {"type": "int64", "optional": True, "field": "ts_ms"},
    ],
}
KEY_SCHEMA = {
    "type": "struct",
    "name": "dbserver1.inventory.customers.Key",
    "optional": False,
    "fields": [{"type": "int32", "optional": False, "field": "id"}],
}


class Typed(UpsertModel):
    """Types that the schema in the message names."""

    __tablename__ = "typed"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    first_name: Mapped[str] = field(sa.String(255))
    credit: Mapped[Any] = field(sa.Numeric(10, 2), nullable=True)


def framed(op: str, before: Any, after: Any, number: int) -> Msg:
    payload = {"before": before, "after": after, "op": op, "ts_ms": 1559033904863}
    return Msg(
        {"schema": SCHEMA, "payload": payload},
        key=json.dumps({"schema": KEY_SCHEMA, "payload": {"id": number}}).encode(),
    )


def test_with_schemas_in_the_messages_types_are_read_as_they_say_and_keys_name_rows() -> None:
    target = Target(with_schemas(Typed))
    typed = {"id": 1, "first_name": "Anne", "born": 19844, "credit": "AMw=", "seen": 1690366967048491}
    target.receive(framed("c", None, typed, 1), framed("c", None, typed | {"id": 2}, 2))
    assert target.rows(Typed, "id", "first_name", "credit") == [(1, "Anne", "2.04"), (2, "Anne", "2.04")]
    gone = framed("d", None, None, 1)  # without a replica identity
    target.receive(gone, replace(gone, value=None), framed("d", typed | {"id": 2}, None, 2))
    assert target.rows(Typed, "id") == []
    assert target.dead_letters() == []


def test_an_event_with_a_schema_is_no_event_to_plain_json() -> None:
    found = becomes(stream(), {"schema": SCHEMA, "payload": change("c", None, row(1))})
    assert found.startswith("decode: no field op")
    assert "value_format=ConnectJson()" in found


@pytest.mark.parametrize("before", [None, {}, {"id": None, "first_name": None}])
def test_a_delete_without_its_key_in_before_is_of_the_messages_key(before: Any) -> None:
    target = Target(stream())
    target.receive(written(1), written(2), Msg(change("d", before), key=key(1)))
    assert customers(target) == {2: "Anne"}


def test_a_delete_that_names_no_row_is_a_dead_letter() -> None:
    found = becomes(stream(), Msg(change("d"), key=None))
    assert found == (
        "decode: delete: the deleted row has no id, and the message has no key, so nothing says which row to delete"
    )
    found = becomes(stream(), Msg(change("d", {"id": 1 << 40}), key=key(1)))
    assert found.startswith("decode: delete: id:")
    assert becomes(stream(), Msg(change("d", {"id": "1"}), key=key(1))).startswith("decode: ")


def test_the_key_change_of_a_row_is_a_delete_and_a_create() -> None:
    target = Target(stream())
    target.receive(written(1, "Sally"))
    moved = Msg(change("d", row(1, "Sally")), key=key(1), headers=[("__debezium.newkey", b'{"id": 2}')])
    made = Msg(change("c", None, row(2, "Sally")), key=key(2), headers=[("__debezium.oldkey", b'{"id": 1}')])
    target.receive(moved, tombstone(1), made)
    assert customers(target) == {2: "Sally"}


def test_a_backfill_of_a_deleted_row_does_not_bring_it_back() -> None:
    target = Target(stream())
    first = one(written(1), written(2), topic=TOPIC)
    target.receive(written(1), written(2))
    target.receive(deleted(1))
    target.load(first, "backfill")
    assert customers(target) == {2: "Anne"}


TRANSACTION = {
    "status": "BEGIN",
    "id": "571:53195829",
    "ts_ms": 1486500577125,
    "event_count": None,
    "data_collections": None,
}
ENDED = TRANSACTION | {
    "status": "END",
    "event_count": 2,
    "data_collections": [{"data_collection": "s1.a", "event_count": 2}],
}
SCHEMA_CHANGE = {
    "source": {
        "version": "3.5.2.Final",
        "connector": "mysql",
        "name": "mysql",
        "db": "inventory",
        "table": "customers",
    },
    "ts_ms": 1651535750218,
    "databaseName": "inventory",
    "schemaName": None,
    "ddl": "ALTER TABLE customers ADD middle_name varchar(255) AFTER first_name",
    "tableChanges": [{"type": "ALTER", "id": '"inventory"."customers"', "table": {"primaryKeyColumnNames": ["id"]}}],
}
LOGICAL = change("m", None, None, message={"prefix": "p", "content": "Ymxhcw=="})


@pytest.mark.parametrize("message", [TRANSACTION, ENDED, SCHEMA_CHANGE, LOGICAL])
def test_what_is_no_change_of_a_row_is_ignored(message: Any) -> None:
    parsed = piped(stream(), one(message, topic=TOPIC))
    assert (parsed.ignored.tolist(), outcomes(parsed)) == ([0], [0])


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"ts_ms": 1565787098802}, "no field op"),  # a heartbeat, of a topic of its own
        ({"id": 1, "first_name": "Anne", "email": None}, "ExtractNewRecordState"),
        ({"id": 1, "status": "BEGIN", "first_name": "Anne"}, "no field op"),
        (change("x"), "op is 'x', none of c, u, r, d, t, m"),
        (change("c") | {"op": ["c"]}, "op is ['c'], none of"),
        (change("c") | {"op": 1}, "op is 1, none of"),
    ],
)
def test_what_is_no_event_is_a_dead_letter(message: Any, error: str) -> None:
    found = becomes(stream(), message)
    assert found.startswith("decode: ")
    assert error in found


def test_a_row_that_is_not_there_is_a_dead_letter() -> None:
    assert becomes(stream(), change("c")) == "validate: id: missing or null, and the column is NOT NULL"


def test_a_document_of_mongodb_is_refused_as_json_in_a_string() -> None:
    found = becomes(stream(), change("c") | {"after": '{"_id": {"$numberLong": "1004"}, "first_name": "Anne"}'})
    assert found.startswith("decode: ")
    assert "after" in found
    assert "JSON" in found


# Routes, and models that do something else with deletes.


class Order(UpsertModel):
    """A second table of the topic."""

    __tablename__ = "orders"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    id: Mapped[int] = field(sa.Integer, primary_key=True)


def test_tables_in_one_topic_are_told_apart_by_a_field_around_the_row() -> None:
    used = Stream(
        name="all",
        topics=TOPIC,
        route_by=RouteByField("source.table"),
        routes={"customers": Customer, "orders": Order},
        envelope=Debezium(),
    )
    order = change("c", None, {"id": 1})
    order["source"]["table"] = "orders"
    target = Target(used)
    # The tombstone does not say of which table it is: the delete before it has.
    target.receive(written(1), order, written(2), deleted(1), tombstone(1))
    assert customers(target) == {2: "Anne"}
    assert target.rows(Order, "id") == [(1,)]
    assert target.batches() == [(f"{TOPIC}[0]@[0,5)", "live", 3, 1, 0, 1, 0)]


def test_in_a_log_of_changes_a_delete_is_a_row_of_what_was_there() -> None:
    target = Target(stream(Change))
    target.receive(written(1, "Sally"), Msg(change("d", row(1, "Sally")), key=key(1)), tombstone(1))
    assert target.rows(Change, "op", "id", "first_name") == [("c", 1, "Sally"), ("d", 1, "Sally")]
    assert target.rows(Change, "at")[0] == ("2019-05-28 08:58:24.863000",)
    assert target.batches() == [(f"{TOPIC}[0]@[0,3)", "live", 2, 0, 0, 1, 0)]


class Kept(UpsertModel):
    """Keeps the rows that the source deletes."""

    __tablename__ = "kept"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = False
    id: Mapped[int] = field(sa.Integer, primary_key=True)


def test_a_table_may_keep_what_is_deleted() -> None:
    target = Target(stream(Kept))
    target.receive(written(1), deleted(1), tombstone(1))
    assert target.rows(Kept, "id") == [(1,)]
    assert target.batches() == [(f"{TOPIC}[0]@[0,3)", "live", 1, 0, 0, 2, 0)]


# What a declaration may not say.


class Silent(UpsertModel):
    __tablename__ = "silent"
    metadata = sa.MetaData()
    id: Mapped[int] = field(sa.Integer, primary_key=True)


class ByRow(UpsertModel):
    __tablename__ = "by_row"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "version"
    id: Mapped[int] = field(sa.Integer, primary_key=True)
    version: Mapped[int | None] = field(sa.Integer)


@pytest.mark.parametrize(
    ("model", "more", "error", "setting"),
    [
        (Silent, {}, "does not say what becomes of the deletes", "deletes"),
        (ByRow, {}, "a column of the row, and a deleted row of Debezium() may have its key alone", "order_by"),
        (Ordered, {"envelope": None}, "from source.lsn of the envelope, and the stream has none", "envelope"),
        (ByRow, {"envelope": None}, "nothing in the stream's messages can say so", "order_by"),
        (Customer, {"envelope": "debezium"}, "no envelope such as Debezium()", "envelope"),
        (Customer, {"delete_when": {}}, "delete_when is empty", "delete_when"),
        (Customer, {"delete_when": {"op": 1.5}}, "each a text, an integer or a boolean", "delete_when"),
    ],
)
def test_what_does_not_fit_is_refused_where_the_stream_is_declared(
    model: type[Any], more: dict[str, Any], error: str, setting: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        stream(model, **more)
    assert error in str(caught.value)
    assert caught.value.setting == setting


def test_an_envelope_of_ones_own_is_a_small_class() -> None:
    class Boxed(MessageEnvelope):
        row = ("new",)
        deleted = ("old",)
        marks = (("verb",),)
        deletes = True

        def judge(self, *marks: object) -> Any:
            return "delete" if marks == ("erase",) else "row"

    class Thing(UpsertModel):
        __tablename__ = "things"
        metadata = sa.MetaData()
        deletes: ClassVar[bool | None] = True
        id: Mapped[int] = field(sa.Integer, primary_key=True)
        verb: Mapped[str] = field(sa.String(9), source=Envelope("verb"))

    target = Target(stream(Thing, envelope=Boxed()))
    target.receive(
        {"verb": "write", "new": {"id": 1}}, {"verb": "write", "new": {"id": 2}}, {"verb": "erase", "old": {"id": 1}}
    )
    assert target.rows(Thing, "id", "verb") == [(2, "write")]
