"""Orders with lines: models whose messages are several rows, and what should stand in their tables."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg


class Line(AppendModel):
    """A line of an order."""

    __tablename__ = "x_lines"
    __table_args__ = (sa.CheckConstraint("quantity <> 13", name="x_no_thirteen"),)
    explode = "order.lines"

    order_id: Mapped[int] = field(sa.Integer, path="id")
    customer: Mapped[str | None] = field(sa.String(20), path="order.customer")
    sku: Mapped[str] = field(sa.String(10), path="order.lines.sku")
    quantity: Mapped[int | None] = field(sa.Integer, path="order.lines.quantity")
    price: Mapped[Decimal | None] = field(sa.Numeric(10, 2), path="order.lines.price.amount")


class Stock(UpsertModel):
    """What the last message said of an article."""

    __tablename__ = "x_stock"
    __table_args__ = (sa.CheckConstraint("quantity <> 13", name="x_stock_no_thirteen"),)
    explode = "articles"

    sku: Mapped[str] = field(sa.String(10), primary_key=True, path="articles.sku")
    place: Mapped[str | None] = field(sa.String(20))
    quantity: Mapped[int | None] = field(sa.Integer, path="articles.quantity")


class Reading(AppendModel):
    """A message that is an array of numbers, or of objects with one."""

    __tablename__ = "x_readings"
    explode: ClassVar[str] = "[]"

    value: Mapped[int] = field(sa.Integer)


LINES = Stream(name="lines", topics="lines", routes={"lines": Line}, route_by=RouteByTopic())
STOCK = Stream(name="stock", topics=("stock",), routes={"stock": Stock}, route_by=RouteByTopic())
READINGS = Stream(name="readings", topics="readings", routes={"readings": Reading}, route_by=RouteByTopic())
BOTH = Stream(name="both", topics="mixed", routes={"order": Line, "stock": Stock})


def order(number: int, *lines: Any, **more: Any) -> Msg:
    """An order; a line is its article and quantity, or what stands in the array."""
    made = [{"sku": each[0], "quantity": each[1]} if isinstance(each, tuple) else each for each in lines]
    return Msg({"type": "order", "id": number, "order": {"customer": f"c{number}", "lines": made}, **more})


def stock(place: str, *articles: tuple[str, int]) -> Msg:
    """What a place has of some articles."""
    return Msg({"type": "stock", "place": place, "articles": [{"sku": s, "quantity": q} for s, q in articles]})


def lines_of(messages: Iterable[tuple[int, Msg]]) -> list[tuple[Any, ...]]:
    """(offset, index, article, quantity) of the rows that good orders at these offsets are."""
    return [
        (offset, index, line["sku"], line["quantity"])
        for offset, message in messages
        for index, line in enumerate(message.value["order"]["lines"])
    ]
