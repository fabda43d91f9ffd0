"""The declared example stream on a topic of the test's own: what child processes import by KAFKA_INGEST_STREAMS."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pandas as pd

from kafka_ingest import StepContext, translate_dates
from kafka_ingest.streams.information import STREAM as DECLARED

TOPIC_VARIABLE = "KAFKA_INGEST_TEST_TOPIC"
MAX_ROWS_VARIABLE = "KAFKA_INGEST_TEST_MAX_ROWS"
SHARDS_VARIABLE = "KAFKA_INGEST_TEST_SHARDS"
GATE_VARIABLE = "KAFKA_INGEST_TEST_GATE"
"""A file: slices take half a second each, and wait while it is there. None where the variable is not set."""
GATE_SECONDS = 90.0

HASTY_EXAMPLE = "kafka_ingest_tests.e2e.hasty_example"
"""The stream's module for a child whose example table is counted every minute. Not imported here: it changes the example."""
HASTY_RUNS = 3
"""By how many runs at most it is counted."""


def wait_at_gate(rows: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
    """A step that lets the test have a say in how long a run takes."""
    gate, until = Path(os.environ[GATE_VARIABLE]), time.monotonic() + GATE_SECONDS
    time.sleep(0.5)
    while gate.exists() and time.monotonic() < until:
        time.sleep(0.05)
    return rows


STREAM = dataclasses.replace(
    DECLARED,
    steps=(translate_dates, wait_at_gate) if GATE_VARIABLE in os.environ else None,
    topics=os.environ.get(TOPIC_VARIABLE, "information"),
    batch=dataclasses.replace(
        DECLARED.batch,
        max_wait_seconds=5,
        linger_seconds=3,
        max_rows=int(os.environ.get(MAX_ROWS_VARIABLE, "4000")),
        shards=int(os.environ.get(SHARDS_VARIABLE, "1")),
    ),
)


def environment(
    bootstrap_servers: str, url: str, topic: str, *, max_rows: int = 4_000, shards: int = 1
) -> dict[str, str]:
    """What a child process needs to load this stream."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "KAFKA_INGEST_DATABASE_URL": url,
        "KAFKA_INGEST_STREAMS": __name__,
        TOPIC_VARIABLE: topic,
        MAX_ROWS_VARIABLE: str(max_rows),
        SHARDS_VARIABLE: str(shards),
    }
