"""A message type of the user's: one new file."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest.streams.model import AppendModel, date_field, field
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import RouteByHeader, Stream


class Order(AppendModel):
    """An order as the shop sends it."""

    __tablename__ = "t_outside_order"

    number: Mapped[int] = field(sa.Integer)
    currency: Mapped[str] = field(sa.String(3))
    ordered_at: Mapped[dt.datetime] = date_field(path="orderedAt", timezone="Europe/Berlin")


def currency_in_capitals(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    """A pipeline step of the user's: changes values, refuses rows."""
    upper = rows["currency"].map(lambda text: None if text is None else str(text).upper())
    unknown = ~upper.isin(["EUR", "USD"])
    context.reject(upper[unknown].map(lambda text: f"no currency of ours: {text}"))
    return rows.assign(currency=upper)[~unknown]


STREAM = Stream(
    name="orders",
    topics="orders",
    routes={"order": Order},
    route_by=RouteByHeader("kind"),
    steps=(currency_in_capitals, translate_dates),
)
