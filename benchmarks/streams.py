"""The benchmark's streams: the example's news on a topic of its own, into an append table or one keyed by `id`.

Child processes import this by KAFKA_INGEST_STREAMS; what to measure is in the environment, as they share nothing else.
"""

from __future__ import annotations

import os

from sqlalchemy import String
from sqlalchemy.orm import mapped_column

from kafka_ingest.streams.information import Information
from kafka_ingest.streams.model import KAFKA_COLUMNS, UpsertModel, field
from kafka_ingest.streams.stream import BatchPolicy, Stream

TOPIC = "KAFKA_INGEST_BENCH_TOPIC"
MODEL = "KAFKA_INGEST_BENCH_MODEL"
LOADERS = "KAFKA_INGEST_BENCH_LOADERS"


_COLUMNS = {
    column.name: mapped_column(column.type, nullable=column.nullable, info=column.info)
    for column in Information.__table__.columns
    if column.name not in KAFKA_COLUMNS
}
_KEY = {"id": field(String(64), primary_key=True)}
# The columns of `Information`, keyed by `id` instead of the Kafka position.
NewsById = type("NewsById", (UpsertModel,), {"__tablename__": "news_by_id", **_COLUMNS, **_KEY})

MODELS = {"append": Information, "upsert": NewsById}

STREAM = Stream(
    name="bench",
    topics=os.environ.get(TOPIC, "information"),
    routes={"information": MODELS[os.environ.get(MODEL, "append")]},
    batch=BatchPolicy(loaders=int(os.environ.get(LOADERS, "2")), max_run_seconds=3_600),
)
