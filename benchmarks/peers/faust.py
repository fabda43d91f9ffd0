"""The Faust consumer that kafka_ingest replaces, with batches of ten, as it was, and of a thousand."""

from __future__ import annotations

import uuid

from benchmarks.peers.result import Result
from benchmarks.peers.tables import make_table
from benchmarks.peers.venvs import venv_python
from benchmarks.peers.watch import DEFAULT_CAP_SECONDS, measure, program

WITHIN_SECONDS = 10


def load_10(
    bootstrap: str,
    topic: str,
    database_url: str,
    table: str,
    messages: int,
    *,
    cap_seconds: float = DEFAULT_CAP_SECONDS,
) -> Result:
    """`take(10, within=10)`."""
    return _load(10, bootstrap, topic, database_url, table, messages, cap_seconds)


def load_1000(
    bootstrap: str,
    topic: str,
    database_url: str,
    table: str,
    messages: int,
    *,
    cap_seconds: float = DEFAULT_CAP_SECONDS,
) -> Result:
    """`take(1000, within=10)`."""
    return _load(1_000, bootstrap, topic, database_url, table, messages, cap_seconds)


def _load(
    batch: int, bootstrap: str, topic: str, database_url: str, table: str, messages: int, cap_seconds: float
) -> Result:
    python = venv_python("faust")
    make_table(database_url, table)
    # A last batch that is not full waits for ten seconds, which says nothing about speed.
    wanted = messages - messages % batch
    name = f"faust-{batch}"
    return measure(
        name,
        [str(python), program("faust_consumer.py"), "-L", "uvloop", "worker", "--loglevel", "warn", "--without-web"],
        environment={
            "PEER_BOOTSTRAP": bootstrap,
            "PEER_TOPIC": topic,
            "PEER_DATABASE_URL": database_url,
            "PEER_TABLE": table,
            "PEER_BATCH": str(batch),
            "PEER_WITHIN": str(WITHIN_SECONDS),
            "PEER_GROUP": f"{name}-{uuid.uuid4().hex[:8]}",
        },
        database_url=database_url,
        table=table,
        messages=wanted,
        cap_seconds=cap_seconds,
        note=f"take({batch}, within={WITHIN_SECONDS}), one worker, dates translated, executemany, a commit per batch",
        required=("id", "title", "source", "publish_time", "crawl_time"),
    )
