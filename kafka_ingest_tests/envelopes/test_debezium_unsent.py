"""Values that PostgreSQL did not send to Debezium, since the row's change did not touch them."""

from __future__ import annotations

import base64
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import AppendModel, Cast, Envelope, UpsertModel, field
from kafka_ingest.pipelines.envelopes import UNAVAILABLE
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import (
    TOPIC,
    becomes,
    change,
    customers,
    deleted,
    key,
    row,
    stream,
    written,
)


@pytest.mark.parametrize(
    "value",
    ["__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==", '"__debezium_unavailable_value"'],
)
def test_a_value_that_postgresql_did_not_send_is_a_dead_letter(value: str) -> None:
    found = becomes(stream(), change("u", None, row(1, email=value)))
    assert found.startswith("decode: email: __debezium_unavailable_value: ")
    assert found.endswith("set REPLICA IDENTITY FULL for the source's table")


class Wide(AppendModel):
    """Columns of JSON."""

    __tablename__ = "wide"
    metadata = sa.MetaData()
    data: Mapped[Any] = field(sa.JSON, nullable=True)


@pytest.mark.parametrize("value", ["__debezium_unavailable_value", ["__debezium_unavailable_value"]])
def test_such_a_value_is_found_in_a_column_of_json(value: Any) -> None:
    assert becomes(stream(Wide), change("u", None, {"data": value})).startswith("decode: data: __debezium_unavailable")


class Toasted(UpsertModel):
    """Of which PostgreSQL does not send the large values (TOAST) that a change is not of."""

    __tablename__ = "toasted"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "lsn"

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    lsn: Mapped[int | None] = field(sa.BigInteger, source=Envelope("source.lsn"))
    text: Mapped[str | None] = field(sa.Text, keep_absent=UNAVAILABLE)
    data: Mapped[Any | None] = field(sa.JSON, keep_absent=UNAVAILABLE)
    image: Mapped[bytes | None] = field(sa.LargeBinary, cast=Cast(bytes_from="base64"), keep_absent=UNAVAILABLE)
    bare: Mapped[str | None] = field(sa.Text, keep_absent=True)


NOT_SENT = {
    "text": UNAVAILABLE,
    "data": [UNAVAILABLE],
    "image": base64.b64encode(UNAVAILABLE.encode()).decode(),
}
SENT = {"text": "long", "data": [1], "image": "AAE=", "bare": "b"}


def test_a_value_that_postgresql_did_not_send_stays_in_a_column_that_keeps_it() -> None:
    target = Target(stream(Toasted))
    target.pin({TopicPartition(TOPIC, 0): 0, TopicPartition(TOPIC, 1): 0})
    update = Msg(change("u", None, {"id": 1} | NOT_SENT, lsn=30), key=key(1))
    create = Msg(change("c", None, {"id": 1} | SENT, lsn=10), key=key(1))
    target.load(raw_slice(Part([update], TOPIC, 0)))
    assert target.rows(Toasted, "lsn", "text", "data", "image", "bare") == [(30, None, None, None, None)]
    target.load(raw_slice(Part([create], TOPIC, 1)))  # before it in the order of the source's log
    assert target.rows(Toasted, "lsn", "text", "data", "image", "bare") == [(30, "long", "[1]", b"\0\1", "b")]
    target.load(raw_slice(Part([deleted(1, lsn=20)], TOPIC, 1, start=1)))
    assert target.rows(Toasted, "lsn", "text", "data", "image", "bare") == [(30, None, None, None, None)]
    assert target.dead_letters() == []


def test_a_row_of_one_slice_has_what_came_after_its_delete() -> None:
    target = Target(stream(Toasted))
    target.receive(
        Msg(change("c", None, {"id": 1} | SENT, lsn=10), key=key(1)),
        deleted(1, lsn=20),
        Msg(change("c", None, {"id": 1, "text": "new", "bare": None}, lsn=30), key=key(1)),
        Msg(change("u", None, {"id": 1} | NOT_SENT, lsn=40), key=key(1)),
    )
    assert target.rows(Toasted, "lsn", "text", "data", "bare") == [(40, "new", None, None)]


def test_a_column_that_keeps_what_is_missing_does_not_know_a_placeholder_that_it_does_not_name() -> None:
    found = becomes(stream(Toasted), change("u", None, {"id": 1, "bare": UNAVAILABLE}))
    assert found.startswith(f"decode: bare: {UNAVAILABLE}: ")
    assert f"keep_absent='{UNAVAILABLE}'" in found


def test_a_text_that_only_speaks_of_it_is_a_text() -> None:
    target = Target(stream())
    target.receive(written(1, "not __debezium_unavailable_value"))
    assert customers(target) == {1: "not __debezium_unavailable_value"}
