"""Messages of public bug reports about sinks of change events, each with where it was reported."""

from __future__ import annotations

from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import ConnectJson, RouteByTopic, Stream, UpsertModel, field
from kafka_ingest.testing.messages import MORNING_MS, Msg
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import TOPIC, change, customers, deleted, key, row, stream, tombstone, written


def test_an_update_of_the_primary_key_leaves_the_new_row() -> None:
    """MaterializeInc/materialize#6553: the delete and the create have the same time, and the row was gone."""
    target = Target(stream())
    stamp = MORNING_MS + 4_439
    target.receive(
        written(1, op="r", lsn=23547008, timestamp_ms=MORNING_MS),
        deleted(1, lsn=23547048, timestamp_ms=stamp),
        Msg(None, key=key(1), timestamp_ms=stamp),
        written(2, lsn=23547048, timestamp_ms=stamp),
    )
    assert customers(target) == {2: "Anne"}


def test_updates_and_deletes_do_not_leave_the_old_rows() -> None:
    """risingwavelabs/risingwave#4694: old rows and new rows both existed."""
    target = Target(stream())
    target.receive(*(written(n, name) for n, name in ((1001, "Sally"), (1002, "George"), (1004, "Anne"))))
    target.receive(
        Msg(change("u", row(1004, "Anne"), row(1004, "Anne Marie")), key=key(1004)), deleted(1001), tombstone(1001)
    )
    assert customers(target) == {1002: "George", 1004: "Anne Marie"}


def test_a_tombstone_behind_a_delete_stops_nothing() -> None:
    """apache/hudi#16001, DBZ-6862: a null value ended the job."""
    target = Target(stream())
    target.receive(written(1), deleted(1), tombstone(1), tombstone(2), written(3))
    assert customers(target) == {3: "Anne"}
    assert target.dead_letters() == []


def test_a_tombstone_that_compaction_has_left_alone_is_the_delete() -> None:
    """debezium/debezium#43: a consumer that comes late sees only the tombstone of a deleted row."""
    target = Target(stream())
    target.receive(written(1), written(2))
    target.receive(tombstone(1))
    assert customers(target) == {2: "Anne"}


class Device(UpsertModel):
    """What a sink of unwrapped events writes."""

    __tablename__ = "devicetype"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    id: Mapped[int] = field(sa.Integer, primary_key=True)
    name: Mapped[str | None] = field(sa.String(50))


def test_deletes_that_come_unwrapped_as_tombstones_alone_are_deletes() -> None:
    """confluentinc/kafka-connect-jdbc#1421, debezium/debezium-connector-jdbc#43: deletes of ExtractNewRecordState were
    dropped."""
    used = Stream(
        name="devices",
        topics="t",
        route_by=RouteByTopic(),
        routes={"t": Device},
        value_format=ConnectJson(),
        key_format=ConnectJson(),
    )
    target = Target(used)
    schema = {"type": "struct", "fields": [{"type": "int32", "optional": False, "field": "id"}], "optional": False}

    def framed(payload: Any) -> dict[str, Any]:
        return {"schema": schema, "payload": payload}

    name = Msg(framed({"id": 1})).body
    target.receive(Msg(framed({"id": 1, "name": "x"}), key=name), Msg(framed({"id": 2}), key=b'{"id": 2}'))
    target.receive(Msg(None, key=name), Msg(None, key=b'{"id": 2}'))
    assert target.rows(Device, "id") == []


def test_a_delete_with_defaults_in_before_is_of_its_key() -> None:
    """debezium/debezium#1126, dbz-1518: with REPLICA IDENTITY DEFAULT only the key of `before` is the row's."""
    target = Target(stream())
    target.receive(written(1, "Anne"), written(2, "Sally"))
    target.receive(Msg(change("d", {"id": 1, "first_name": "", "email": ""}), key=key(1)))
    assert customers(target) == {2: "Sally"}


def test_a_value_that_was_not_sent_does_not_overwrite_the_one_that_is_there() -> None:
    """airbytehq/airbyte#30518, risingwavelabs/risingwave#21577: the placeholder stood in the table."""
    target = Target(stream())
    target.receive(Msg(change("c", None, row(1, email="a long text")), key=key(1)))
    target.receive(Msg(change("u", None, row(1, "Anne Marie", email="__debezium_unavailable_value")), key=key(1)))
    assert target.all("SELECT first_name, email FROM customers") == [("Anne", "a long text")]
    assert [letter[:2] for letter in target.dead_letters()] == [(f"{TOPIC}[0]@1", "decode")]


def test_changes_of_one_time_keep_their_order() -> None:
    """apache/seatunnel#9773: a delete and an insert with one timestamp could not be told apart."""
    target = Target(stream())
    target.receive(
        written(7, "old", timestamp_ms=MORNING_MS),
        deleted(7, timestamp_ms=MORNING_MS),
        written(7, "new", timestamp_ms=MORNING_MS),
    )
    assert customers(target) == {7: "new"}
