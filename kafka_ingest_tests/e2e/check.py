"""The equalities that must hold after everything: tables, dead letters, ledger, consumer group."""

from __future__ import annotations

import base64
import json
from typing import Any

import sqlalchemy as sa
from confluent_kafka import Consumer, TopicPartition

from kafka_ingest_tests.e2e.news import Truth


def ledger_total(url: str) -> int:
    """Offsets the ledger says are loaded; 0 before it exists."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("kafka_ingest_offsets"):
                return 0
            return int(
                connection.execute(
                    sa.text("SELECT COALESCE(SUM(next_offset), 0) FROM kafka_ingest_offsets")
                ).scalar_one()
            )
    finally:
        engine.dispose()


def assert_exactly_once(
    url: str, bootstrap_servers: str, topic: str, truth: Truth, *, group: str = "kafka_ingest"
) -> None:
    """Tables equal the truth row for row, dead letters byte for byte, the ledger tiles, the group stands at the ends."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        assert _information(connection) == {(topic, *position): row for position, row in truth.information.items()}
        assert _announcements(connection) == {
            key: ((topic, *position), row) for key, (position, row) in truth.announcement.items()
        }
        assert _dead_letters(connection) == {
            (topic, *position): (m.key, m.value, m.headers) for position, m in truth.dead_letters.items()
        }
        ends = _assert_tiles(connection, truth.total)
    engine.dispose()
    assert _group_offsets(bootstrap_servers, group, topic, ends) == ends


def _information(connection: sa.Connection) -> dict[Any, dict[str, Any]]:
    rows = connection.execute(sa.text("SELECT * FROM information")).mappings()
    return {(r["_kafka_topic"], r["_kafka_partition"], r["_kafka_offset"]): _plain(r) for r in rows}


def _announcements(connection: sa.Connection) -> dict[str, Any]:
    rows = connection.execute(sa.text("SELECT * FROM announcement")).mappings()
    return {r["id"]: ((r["_kafka_topic"], r["_kafka_partition"], r["_kafka_offset"]), _plain(r)) for r in rows}


def _plain(row: Any) -> dict[str, Any]:
    """A row without its position, with JSON and booleans as Python has them."""
    found = {k: v for k, v in row.items() if not k.startswith("_kafka")}
    if found.get("tags") is not None:
        found["tags"] = _read(found["tags"])
    if found.get("is_original") is not None:
        found["is_original"] = bool(found["is_original"])
    return found


def _read(value: Any) -> Any:
    """JSON of a list: psycopg has read it already."""
    return json.loads(value) if isinstance(value, str) else value


def _dead_letters(connection: sa.Connection) -> dict[Any, Any]:
    rows = connection.execute(sa.text("SELECT * FROM kafka_ingest_dead_letters")).mappings()
    found = {}
    for r in rows:
        assert r["error"], r
        headers = None if r["message_headers"] is None else _read(r["message_headers"])
        decoded = None if headers is None else [(n, None if v is None else base64.b64decode(v)) for n, v in headers]
        found[r["topic"], r["kafka_partition"], r["kafka_offset"]] = (r["message_key"], r["message_value"], decoded)
    return found


def _assert_tiles(connection: sa.Connection, total: int) -> dict[int, int]:
    """Live ranges of each partition follow each other from 0 without gap or overlap, and each adds up."""
    rows = connection.execute(
        sa.text("SELECT * FROM kafka_ingest_batches WHERE kind = 'live' ORDER BY kafka_partition, start_offset")
    ).mappings()
    ends: dict[int, int] = {}
    for r in rows:
        assert r["start_offset"] == ends.get(r["kafka_partition"], 0), dict(r)
        ends[r["kafka_partition"]] = r["end_offset"]
        counted = sum(r[f"{c}_count"] for c in ("row", "delete", "dead_letter", "ignored", "absent"))
        assert counted == r["end_offset"] - r["start_offset"], dict(r)
    positions = connection.execute(sa.text("SELECT kafka_partition, next_offset FROM kafka_ingest_offsets"))
    assert {p: n for p, n in positions if n} == ends
    assert sum(ends.values()) == total
    return ends


def _group_offsets(bootstrap_servers: str, group: str, topic: str, partitions: dict[int, int]) -> dict[int, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group})
    try:
        return {
            t.partition: t.offset
            for t in consumer.committed([TopicPartition(topic, p) for p in partitions], timeout=30)
        }
    finally:
        consumer.close()
