"""CloudEvents 1.0 by the Kafka protocol binding, in both of its modes, and what is neither."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import (
    AppendModel,
    Cast,
    CloudEvents,
    Envelope,
    Header,
    RouteByField,
    RouteByHeader,
    Stream,
    date_field,
    field,
)
from kafka_ingest.testing.messages import Msg, letters_of, one, piped
from kafka_ingest.testing.target import Target

TYPE = "com.github.pull_request.opened"


class Opened(AppendModel):
    """Of structured events."""

    __tablename__ = "opened"
    metadata = sa.MetaData()
    number: Mapped[int | None] = field(sa.Integer)
    event_id: Mapped[str] = field(sa.String(40), source=Envelope("id"))
    at: Mapped[datetime | None] = date_field(source=Envelope("time"))
    extension: Mapped[str | None] = field(sa.String(40), source=Envelope("comexampleextension1"))
    data: Mapped[bytes | None] = field(sa.LargeBinary, source=Envelope("data_base64"), cast=Cast(bytes_from="base64"))


class Headed(AppendModel):
    """Of binary events."""

    __tablename__ = "headed"
    metadata = sa.MetaData()
    number: Mapped[int] = field(sa.Integer)
    event_id: Mapped[str] = field(sa.String(40), source=Header("ce_id"))
    at: Mapped[datetime | None] = date_field(source=Header("ce_time"))


STRUCTURED = Stream(
    name="structured",
    topics="e",
    route_by=RouteByField("type"),
    routes={TYPE: Opened},
    envelope=CloudEvents(),
    max_dead_letter_ratio=1.0,
)
EVENT = {
    "specversion": "1.0",
    "type": TYPE,
    "source": "https://github.com/cloudevents/spec/pull",
    "subject": "123",
    "id": "A234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "datacontenttype": "application/json",
    "data": {"number": 5},
}


def test_attributes_of_structured_events_stand_beside_the_data() -> None:
    target = Target(STRUCTURED)
    other: dict[str, Any] = {name: value for name, value in EVENT.items() if name != "data"}
    target.receive(
        Msg(EVENT, headers=[("content-type", b"application/cloudevents+json; charset=UTF-8")]),
        other | {"data_base64": base64.b64encode(b"\0\xff").decode()},
    )
    assert target.rows(Opened, "number", "event_id", "at", "extension", "data") == [
        (5, "A234-1234-1234", "2018-04-05 17:31:00.000000", "value", None),
        (None, "A234-1234-1234", "2018-04-05 17:31:00.000000", "value", b"\0\xff"),
    ]


def test_attributes_of_binary_events_are_headers() -> None:
    used = Stream(name="binary", topics="e", route_by=RouteByHeader("ce_type"), routes={TYPE: Headed})
    headers: list[tuple[str, bytes | None]] = [
        ("ce_specversion", b"1.0"),
        ("ce_type", TYPE.encode()),
        ("ce_source", b"/mycontext/subcontext"),
        ("ce_id", b"1234-1234-1234"),
        ("ce_time", b"2018-04-05T03:56:24Z"),
        ("content-type", b"application/json"),
    ]
    target = Target(used)
    target.receive(Msg({"number": 5}, headers=headers))
    assert target.rows(Headed, "number", "event_id", "at") == [(5, "1234-1234-1234", "2018-04-05 03:56:24.000000")]


def test_a_binary_event_is_none_of_a_structured_stream() -> None:
    other = EVENT | {"specversion": "0.3"}
    parsed = piped(STRUCTURED, one({"type": TYPE, "number": 5}, other, topic="e"))
    errors = [error for _, error in letters_of(parsed).values()]
    assert 'RouteByHeader("ce_type")' in errors[0]
    assert errors[1] == "specversion is '0.3', not '1.0'"
