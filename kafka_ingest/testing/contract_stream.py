"""The tables and messages of the contract's tests."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.testing.messages import Msg, Part


class ContractValue(AppendModel):
    """A column of every type; one of the names is a word of SQL."""

    __tablename__ = "contract_value"

    id: Mapped[str] = field(sa.String(8))
    text: Mapped[str | None] = field(sa.Text)
    short: Mapped[str | None] = field(sa.String(20))
    small: Mapped[int | None] = field(sa.SmallInteger)
    whole: Mapped[int | None] = field(sa.Integer)
    large: Mapped[int | None] = field(sa.BigInteger)
    ratio: Mapped[float | None] = field(sa.Double)
    price: Mapped[decimal.Decimal | None] = field(sa.Numeric(20, 6))
    flag: Mapped[bool | None] = field(sa.Boolean)
    data: Mapped[Any | None] = field(sa.JSON)
    at: Mapped[dt.datetime | None] = date_field(timezone="UTC")
    east: Mapped[dt.date | None] = date_field(sa.Date, path="day", timezone="Pacific/Kiritimati")
    west: Mapped[dt.date | None] = date_field(sa.Date, path="day", timezone="Pacific/Pago_Pago")
    order: Mapped[str | None] = field(sa.String(20), path=("a.b",))


class ContractEvent(AppendModel):
    """With constraints that only the database knows."""

    __tablename__ = "contract_event"
    __table_args__ = (
        sa.CheckConstraint("amount <> 13", name="contract_no_thirteen"),
        sa.UniqueConstraint("code", name="contract_code"),
    )

    name: Mapped[str] = field(sa.String(20))
    amount: Mapped[int | None] = field(sa.Integer)
    code: Mapped[str | None] = field(sa.String(20))


class ContractAccount(UpsertModel):
    """A row per id, deleted by a tombstone whose key is the id as plain text."""

    __tablename__ = "contract_account"
    __table_args__ = (sa.CheckConstraint("balance <> 13", name="contract_no_thirteen_balance"),)

    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Any] = "text"

    id: Mapped[str] = field(sa.String(20), primary_key=True)
    balance: Mapped[int | None] = field(sa.Integer)


class ContractVersion(UpsertModel):
    """A row per id, in an order of its own, which deletes have, too."""

    __tablename__ = "contract_version"

    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "version"

    id: Mapped[str] = field(sa.String(20), primary_key=True)
    version: Mapped[int | None] = field(sa.BigInteger)


VERSIONS = Stream(
    name="versions",
    topics="contract",
    routes={"version": ContractVersion},
    route_by=RouteByField("type"),
    delete_when={"gone": True},
)
VALUES = Stream(name="contract_values", topics="values", routes={"v": ContractValue})
STREAM = Stream(
    name="contract",
    topics=("contract", "contract2"),
    routes={"event": ContractEvent, "account": ContractAccount},
    route_by=RouteByField("type"),
    max_dead_letter_ratio=1.0,
)
P0, P1 = TopicPartition("contract", 0), TopicPartition("contract", 1)

TEXTS = (
    "", " ", "a ", " a", "NULL", "null", "\\N", "\\", "\\\\n", "\t", "\n", "\r\n", "a\tb", "'", '"', "`", ";--", "%s", "%", "{}",
    "\x01\x1a\x7f", "é", "e\u0301", "中文", "𝄞", "😀", "\ufeff", "\u2028", "\u202e", "\ufffd", "x" * 20,
)  # fmt: skip
"""Texts that a careless writer changes, none longer than 20 characters."""


def event(name: str, amount: int | None = None, code: str | None = None, **more: Any) -> Msg:
    """A message of `ContractEvent`."""
    return Msg({"type": "event", "name": name, "amount": amount, "code": code}, **more)


def account(key: str, balance: int | None, **more: Any) -> Msg:
    """A message of `ContractAccount`."""
    return Msg({"type": "account", "id": key, "balance": balance}, **more)


def tombstone(key: str, **more: Any) -> Msg:
    """A message that deletes the account."""
    return Msg(None, key=key.encode(), **more)


def version(key: str, number: int, *, gone: bool = False) -> Msg:
    """A message of `ContractVersion`, or one that deletes its row."""
    return Msg({"type": "version", "id": key, "version": number, "gone": gone})


def part(partition: int, *messages: Msg, start: int = 0, end: int | None = None) -> Part:
    """Messages of one Kafka partition."""
    return Part(list(messages), topic="contract", partition=partition, start=start, end=end)
