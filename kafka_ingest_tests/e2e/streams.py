"""The declared example stream on a topic of the test's own: what child processes import by KAFKA_INGEST_STREAMS."""

from __future__ import annotations

import dataclasses
import os

from kafka_ingest.streams.information import STREAM as DECLARED

TOPIC_VARIABLE = "KAFKA_INGEST_TEST_TOPIC"
MAX_ROWS_VARIABLE = "KAFKA_INGEST_TEST_MAX_ROWS"

HASTY_EXAMPLE = "kafka_ingest_tests.e2e.hasty_example"
"""The stream's module for a child whose example table is counted every minute. Not imported here: it changes the example."""
HASTY_RUNS = 3
"""By how many runs at most it is counted."""

STREAM = dataclasses.replace(
    DECLARED,
    topics=os.environ.get(TOPIC_VARIABLE, "information"),
    batch=dataclasses.replace(
        DECLARED.batch, max_wait_seconds=5, linger_seconds=3, max_rows=int(os.environ.get(MAX_ROWS_VARIABLE, "4000"))
    ),
)


def environment(bootstrap_servers: str, url: str, topic: str, *, max_rows: int = 4_000) -> dict[str, str]:
    """What a child process needs to load this stream."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": url,
        "KAFKA_INGEST_STREAMS": __name__,
        TOPIC_VARIABLE: topic,
        MAX_ROWS_VARIABLE: str(max_rows),
    }
