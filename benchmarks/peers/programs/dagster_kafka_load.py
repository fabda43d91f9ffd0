"""Materialize an asset fed by dagster-kafka again and again, each time what the topic gives, into MySQL with `to_sql`.

Runs in a venv of its own, without kafka_ingest.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of an asset as they stand.

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg
import pandas as pd
import sqlalchemy as sa
from dagster_kafka import KafkaIOManager, KafkaResource

BATCH = 10_000
POLL_SECONDS = 2.0
CHUNK_ROWS = 1_000

TOPIC, TABLE = os.environ["PEER_TOPIC"], os.environ["PEER_TABLE"]
GROUP = os.environ["PEER_GROUP"]
KAFKA = KafkaResource(bootstrap_servers=os.environ["PEER_BOOTSTRAP"])
ENGINE = sa.create_engine(os.environ["PEER_DATABASE_URL"])


def frame_of(messages: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The table's columns; dates of mixed forms read by pandas."""
    sources = [m.get("source") or {} for m in messages]
    tags = [m.get("tags") for m in messages]
    return pd.DataFrame(
        {
            "id": [m["id"] for m in messages],
            "title": [m["title"] for m in messages],
            "content": [m.get("content") for m in messages],
            "source": [s.get("name") for s in sources],
            "url": [s.get("url") for s in sources],
            "language": [m.get("language") for m in messages],
            "tags": [None if t is None else json.dumps(t, ensure_ascii=False) for t in tags],
            "score": [m.get("score") for m in messages],
            "is_original": [m.get("isOriginal") for m in messages],
            "publish_time": dates([m.get("publishTime") for m in messages], "Asia/Shanghai"),
            "crawl_time": dates([m.get("crawlTime") for m in messages], "UTC"),
        }
    )


def dates(values: Sequence[Any], zone: str) -> "pd.Series[Any]":
    """Naive UTC: values with a zone keep it, the others are in `zone`."""
    text = pd.Series(values, dtype="str")
    zoned = text.str.contains(r"(?:Z|[+-]\d{2}:\d{2})$", na=False)
    found = pd.Series(pd.NaT, index=text.index, dtype="datetime64[us]")
    with_zone = pd.to_datetime(text[zoned], format="mixed", utc=True, errors="coerce")
    found[zoned] = with_zone.dt.tz_localize(None).astype("datetime64[us]")
    without = pd.to_datetime(text[~zoned], format="mixed", errors="coerce")
    found[~zoned] = without.dt.tz_localize(zone).dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[us]")
    return found


def store(messages: Sequence[Mapping[str, Any]]) -> int:
    if messages:
        with ENGINE.begin() as connection:
            frame_of(messages).to_sql(
                TABLE, connection, if_exists="append", index=False, method="multi", chunksize=CHUNK_ROWS
            )
    return len(messages)


# The IO manager's topic is the last part of the upstream asset's key.
topic_asset = dg.AssetSpec(TOPIC).with_io_manager_key("kafka_io_manager")


@dg.asset(ins={"messages": dg.AssetIn(key=dg.AssetKey(TOPIC), input_manager_key="kafka_io_manager")})
def by_io_manager(messages) -> int:  # type: ignore[no-untyped-def]
    return store(messages)


@dg.asset(required_resource_keys={"kafka"})
def by_resource(context: dg.AssetExecutionContext) -> int:
    consumer = context.resources.kafka.get_consumer(GROUP)
    consumer.subscribe([TOPIC])
    messages = []
    try:
        while len(messages) < BATCH and (message := consumer.poll(POLL_SECONDS)) is not None:
            if message.error():
                raise RuntimeError(message.error())
            messages.append(json.loads(message.value().decode("utf-8")))
    finally:
        consumer.close()  # commits: enable.auto.commit is its default
    return store(messages)


def main() -> None:
    manager = KafkaIOManager(kafka_resource=KAFKA, consumer_group_id=GROUP, max_messages=BATCH)
    asset = by_io_manager if os.environ["PEER_WAY"] == "io-manager" else by_resource
    with dg.DagsterInstance.ephemeral() as instance:
        while True:  # until it is stopped
            dg.materialize(
                [topic_asset, asset],
                selection=[asset],
                instance=instance,
                resources={"kafka": KAFKA, "kafka_io_manager": manager},
            )


if __name__ == "__main__":
    main()
