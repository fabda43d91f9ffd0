"""Models and streams of the tests. Their tables are not those of any declared stream."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any, ClassVar, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByField, Stream


class Everything(AppendModel):
    """A column of every type."""

    __tablename__ = "t_everything"

    id: Mapped[str] = field(sa.String(8))
    note: Mapped[str | None] = field(sa.Text)
    small: Mapped[int | None] = field(sa.SmallInteger)
    number: Mapped[int | None] = field(sa.Integer)
    big: Mapped[int | None] = field(sa.BigInteger)
    ratio: Mapped[float | None] = field(sa.Float)
    price: Mapped[decimal.Decimal | None] = field(sa.Numeric(12, 4))
    flag: Mapped[bool | None] = field(sa.Boolean)
    data: Mapped[Any | None] = field(sa.JSON)
    source: Mapped[str | None] = field(sa.String(20), path="source.name")
    dotted: Mapped[str | None] = field(sa.String(20), path=("a.b",))
    level: Mapped[int] = field(sa.Integer, default=7)
    at: Mapped[dt.datetime | None] = date_field(timezone="Asia/Shanghai")
    seen: Mapped[dt.datetime | None] = date_field(path="source.seen", on_error="null")


class Event(AppendModel):
    """Small, with a constraint that only the database knows."""

    __tablename__ = "t_event"
    __table_args__ = (sa.CheckConstraint("amount <> 13", name="no_thirteen"), sa.UniqueConstraint("code"))

    name: Mapped[str] = field(sa.String(20))
    amount: Mapped[int | None] = field(sa.Integer)
    code: Mapped[str | None] = field(sa.String(20))


class Account(UpsertModel):
    """A row per id, deleted by a tombstone whose key is the id as plain text."""

    __tablename__ = "t_account"
    __table_args__ = (sa.CheckConstraint("balance <> 13", name="no_thirteen_balance"),)

    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    balance: Mapped[int | None] = field(sa.Integer)


FIELDS = (
    "id", "note", "small", "number", "big", "ratio", "price", "flag", "data", "source", "a.b", "level", "at", "balance",
)  # fmt: skip
"""What messages of Everything and Account have at their top level."""


class Slot(UpsertModel):
    """A business key of two columns, one of them an integer; never deleted."""

    __tablename__ = "t_slot"

    room: Mapped[str] = field(sa.String(8), primary_key=True)
    hour: Mapped[int] = field(sa.SmallInteger, primary_key=True)
    guest: Mapped[str | None] = field(sa.String(20))


class Booking(UpsertModel):
    """As Slot, and deleted by tombstones whose keys are JSON."""

    __tablename__ = "t_booking"

    delete_on_tombstone: ClassVar[bool] = True

    room: Mapped[str] = field(sa.String(8), primary_key=True, path="where.room")
    hour: Mapped[int] = field(sa.SmallInteger, primary_key=True)
    guest: Mapped[str | None] = field(sa.String(20))


EVERYTHING = Stream(name="everything", topics="everything", routes={"e": Everything}, timezone="Asia/Tokyo")
MIXED = Stream(
    name="mixed",
    topics=("mixed", "mixed2"),
    routes={"event": Event, "evt": Event, "account": Account},
    route_by=RouteByField("type"),
)
BOOKINGS = Stream(name="bookings", topics="bookings", routes={"b": Booking})
