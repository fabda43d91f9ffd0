"""Models that order the messages of a key by a field of their own."""

from __future__ import annotations

import datetime as dt
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import UpsertModel, date_field, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg


class ByVersion(UpsertModel):
    __tablename__ = "t_by_version"
    order_by: ClassVar[str | None] = "version"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    version: Mapped[int | None] = field(sa.BigInteger)
    note: Mapped[str | None] = field(sa.String(20))


class ByTime(UpsertModel):
    __tablename__ = "t_by_time"
    order_by: ClassVar[str | None] = "changed"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    changed: Mapped[dt.datetime | None] = date_field()
    note: Mapped[str | None] = field(sa.String(20))


class ByDay(UpsertModel):
    __tablename__ = "t_by_day"
    order_by: ClassVar[str | None] = "changed"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    changed: Mapped[dt.date | None] = date_field(sa.Date)
    note: Mapped[str | None] = field(sa.String(20))


ORDERED = Stream(name="mixed", topics=("mixed",), routes={"v": ByVersion, "t": ByTime, "d": ByDay})
TABLES = {"v": "t_by_version", "t": "t_by_time", "d": "t_by_day"}

TIMES = {
    None: None,
    -(2**63): "1000-01-01",
    -1: "1969-12-31 23:59:59.999999",
    0: "1970-01-01",
    1: "1970-01-01 00:00:00.000001",
    2: "2026-11-26 12:00:00",
}
"""A date for each version the tests use, in the same order."""
DAYS = {
    None: None,
    -(2**63): "1000-01-01",
    -1: "1969-12-31",
    0: "1970-01-01",
    1: "1970-01-02",
    2: "2026-11-26",
}


def versioned(kind: str, key: str, version: int | None, note: str, **more: Any) -> Msg:
    """A message of one of the models with a version, or the date or the day that stands for it."""
    own = {"version": version} if kind == "v" else {"changed": (TIMES if kind == "t" else DAYS)[version]}
    return Msg({"type": kind, "id": key, "note": note} | own, **more)
