"""Deletes told by the value of a field, without an envelope or within one."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import CloudEvents, Key, RouteByField, Stream, UpsertModel, field
from kafka_ingest.testing.messages import Msg, letters_of, one, piped
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import TOPIC, Customer, customers, key, stream


def unwrapped(number: int, flag: Any, **more: Any) -> Msg:
    """As ExtractNewRecordState leaves it, with delete.tombstone.handling.mode=rewrite and add.fields=op."""
    return Msg({"id": number, "first_name": "Anne", "email": None, "__deleted": flag, **more}, key=key(number))


REWRITE = stream(envelope=None, delete_when={"__deleted": ["true", True], "__op": "d"})


@pytest.mark.parametrize("gone", [unwrapped(1, "true"), unwrapped(1, True), unwrapped(1, "false", __op="d")])
def test_a_row_with_one_of_the_values_is_deleted(gone: Msg) -> None:
    target = Target(REWRITE)
    target.receive(unwrapped(1, "false"), unwrapped(2, "false", __op="c"))
    target.receive(gone)
    assert customers(target) == {2: "Anne"}


@pytest.mark.parametrize("flag", ["false", False, None, 1, "True", "TRUE", ["true"], {"true": True}])
def test_no_other_value_deletes(flag: Any) -> None:
    target = Target(REWRITE)
    target.receive(unwrapped(1, flag))
    assert customers(target) == {1: "Anne"}


def test_a_tombstone_deletes_as_well() -> None:
    target = Target(REWRITE)
    target.receive(unwrapped(1, "false"), unwrapped(2, "false"), unwrapped(2, "true"), Msg(None, key=key(2)))
    target.receive(Msg(None, key=key(1)))
    assert customers(target) == {}
    assert [batch[3] for batch in target.batches()] == [2, 1]


def test_the_key_of_a_delete_goes_by_the_rules_of_rows() -> None:
    used = stream(envelope=None, delete_when={"op": "d"})
    parsed = piped(used, one({"id": "1", "op": "d"}, {"op": "d"}, {"id": 1 << 40, "op": "d"}, topic=TOPIC))
    errors = {number: error for number, (_, error) in letters_of(parsed).items()}
    assert not parsed.deletes
    assert "Expected `int | null`, got `str`" in errors[0]
    assert errors[1].startswith("delete: the deleted row has no id, and the message has no key")
    assert errors[2].startswith("delete: id: ")


def test_a_text_of_the_source_that_was_not_sent_is_no_value() -> None:
    parsed = piped(REWRITE, one(unwrapped(1, "false", email="__debezium_unavailable_value"), topic=TOPIC))
    assert "REPLICA IDENTITY FULL" in letters_of(parsed)[0][1]


class Keyed(UpsertModel):
    """Keyed by the message's key."""

    __tablename__ = "keyed"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    id: Mapped[str] = field(sa.String(20), primary_key=True, source=Key())
    n: Mapped[int | None] = field(sa.Integer)


def test_a_key_from_the_messages_key_is_that_of_the_delete() -> None:
    target = Target(stream(Keyed, envelope=None, delete_when={"op": "d"}))
    target.receive(Msg({"n": 1}, key=b"a"), Msg({"n": 2}, key=b"b"), Msg({"op": "d"}, key=b"a"), Msg({"op": "d"}))
    assert target.rows(Keyed, "id", "n") == [("b", 2)]
    assert [letter[0] for letter in target.dead_letters()] == [f"{TOPIC}[0]@3"]


def test_within_an_envelope_the_path_is_that_of_the_message() -> None:
    used = Stream(
        name="customers",
        topics=TOPIC,
        route_by=RouteByField("subject"),
        routes={"customer": Customer},
        envelope=CloudEvents(),
        delete_when={"type": "com.example.customer.deleted"},
    )

    def event(kind: str, data: Any) -> dict[str, Any]:
        head = {"specversion": "1.0", "id": "A234", "source": "/crm", "subject": "customer"}
        return head | {"type": f"com.example.customer.{kind}", "data": data}

    target = Target(used)
    target.receive(*(event("created", {"id": n, "first_name": "Anne"}) for n in (1, 2)), event("deleted", {"id": 1}))
    assert customers(target) == {2: "Anne"}
