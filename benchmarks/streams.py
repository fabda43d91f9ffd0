"""The benchmark's streams: the example's news on a topic of its own, into an append table or one keyed by `id`.

Child processes import this by KAFKA_INGEST_STREAMS; what to measure is in the environment, as they share nothing else.
"""

from __future__ import annotations

import datetime as dt
import os
from typing import Any

from sqlalchemy import JSON, Boolean, Integer, String
from sqlalchemy.orm import Mapped

from kafka_ingest.streams.information import LONG_TEXT, Information
from kafka_ingest.streams.model import UpsertModel, date_field, field
from kafka_ingest.streams.stream import BatchPolicy, Stream

TOPIC = "KAFKA_INGEST_BENCH_TOPIC"
MODEL = "KAFKA_INGEST_BENCH_MODEL"
LOADERS = "KAFKA_INGEST_BENCH_LOADERS"


class NewsById(UpsertModel):
    """The columns of `Information`, keyed by `id` instead of the Kafka position."""

    __tablename__ = "news_by_id"

    id: Mapped[str] = field(String(64), primary_key=True)
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


MODELS = {"append": Information, "upsert": NewsById}

STREAM = Stream(
    name="bench",
    topics=os.environ.get(TOPIC, "information"),
    routes={"information": MODELS[os.environ.get(MODEL, "append")]},
    batch=BatchPolicy(loaders=int(os.environ.get(LOADERS, "2")), max_run_seconds=3_600),
)
