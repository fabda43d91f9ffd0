"""Messages of the topic `shop.orders`, as rows of `shop_order` and `shop_event`.

Written by `kafka-ingest new-stream`: from 150 messages, of a log of 150 offsets.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

from kafka_ingest import AppendModel, Stream, UpsertModel, date_field, field
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Date,
    Float,
    Integer,
    Numeric,
    String,
    Uuid,
)
from sqlalchemy.orm import Mapped


class Order(UpsertModel):
    """A row for each id, that of its last message: id is different in each of 100
    messages.
    """

    __tablename__ = "shop_order"

    id: Mapped[int] = field(BigInteger, primary_key=True)
    customer_name: Mapped[str] = field(String(16), path="customer.name")
    customer_address_postal_code: Mapped[str] = field(
        String(16),
        path="customer.address.postalCode",
    )
    customer_address_city: Mapped[str] = field(String(16), path="customer.address.city")
    select_: Mapped[int] = field(Integer, path="select")
    placed_at: Mapped[dt.datetime] = date_field(path="placedAt", unit="ms")
    day: Mapped[dt.date] = date_field(Date)
    # objects in an array: a model with explode has a row for each
    lines_: Mapped[Any] = field(JSON, path="lines")
    a_very_long_name_of_a_field_that_does_not_fit_into_a_line: Mapped[str] = field(
        String(16),
        path="aVeryLongNameOfAFieldThatDoesNotFitIntoALine.withOneMoreVeryLongNameInsideOfIt",
    )
    标题: Mapped[str] = field(String(16))
    # numbers written as texts
    amount: Mapped[Decimal] = field(Numeric(18, 4))
    huge: Mapped[Decimal] = field(Numeric(26, 0))
    trace: Mapped[str] = field(Uuid)
    # all say no zone, and count as UTC: timezone="Area/City" if they mean another
    placed_at_2: Mapped[dt.datetime] = date_field(path="placed_at")
    # array, integer, text in turn: kept as JSON
    mixed: Mapped[Any] = field(JSON)
    flag: Mapped[bool | None] = field(Boolean)  # in 50 of 100
    # Not here: "it's \"quoted\"", no path leads to a name with quotes, backslashes or
    # control characters.
    # Not here: "with \\ and \t", no path leads to a name with quotes, backslashes or
    # control characters.
    # Not here: "nothing", null in all messages: declare it once its type is known.
    # Not here: "unlike", null in all messages: declare it once its type is known.


class Event(AppendModel):
    """Each message is a row: no field, and no message key, was found that tells rows
    apart.
    """

    __tablename__ = "shop_event"

    # numbers of up to 11 decimals, as doubles have them; Numeric keeps every digit
    ratio: Mapped[float | None] = field(Float)
    when_: Mapped[dt.datetime | None] = date_field(path="when", unit="s")
    dmy: Mapped[dt.date | None] = date_field(Date, formats=["%d-%m-%Y"])
    time: Mapped[int | None] = field(Integer)


STREAM = Stream(
    name="shop",
    topics="shop.orders",
    routes={"order": Order, "event": Event},
)
