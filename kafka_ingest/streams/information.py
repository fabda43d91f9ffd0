"""Example stream: news items and announcements on one topic, told apart by their `type`."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Boolean, Index, Integer, String, Text
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByField, Stream

# MySQL turns TEXT(n) into the smallest text type that holds n (manual, "The BLOB and TEXT Types"): here MEDIUMTEXT.
LONG_TEXT = Text(4_000_000)


class Information(AppendModel):
    """A news item as crawled: every message is a row."""

    __tablename__ = "information"
    # What is built on the table by time of arrival reads this (orchestration/information_per_hour.py).
    __table_args__ = (Index("information_arrival", "_kafka_timestamp"),)

    id: Mapped[str] = field(String(64), index=True)
    title: Mapped[str] = field(String(500))
    content: Mapped[str | None] = field(LONG_TEXT)
    source: Mapped[str | None] = field(String(200), path="source.name")
    url: Mapped[str | None] = field(String(2048), path="source.url")
    language: Mapped[str | None] = field(String(16))
    tags: Mapped[Any | None] = field(JSON)
    score: Mapped[int | None] = field(Integer)
    is_original: Mapped[bool | None] = field(Boolean, path="isOriginal")
    publish_time: Mapped[dt.datetime] = date_field(path="publishTime", timezone="Asia/Shanghai")
    crawl_time: Mapped[dt.datetime | None] = date_field(path="crawlTime", on_error="null")


class Announcement(UpsertModel):
    """A company announcement; a later message with the same id corrects the row."""

    __tablename__ = "announcement"

    id: Mapped[str] = field(String(64), primary_key=True)
    company: Mapped[str] = field(String(200), path="issuer.company")
    stock_code: Mapped[str | None] = field(String(20), path="issuer.code")
    title: Mapped[str] = field(String(500))
    body: Mapped[str | None] = field(LONG_TEXT)
    announced_at: Mapped[dt.datetime] = date_field(path="announcedAt", timezone="Asia/Shanghai")
    effective_on: Mapped[dt.datetime | None] = date_field(path="effectiveOn", on_error="null")


STREAM = Stream(
    name="information",
    topics="information",
    route_by=RouteByField("type"),
    routes={"information": Information, "announcement": Announcement},
)
