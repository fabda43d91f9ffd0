"""The declared example stream on a topic of the test's own: what child processes import by KAFKA_INGEST_STREAMS."""

from __future__ import annotations

import dataclasses
import os

from kafka_ingest.streams.information import STREAM as DECLARED

TOPIC_VARIABLE = "KAFKA_INGEST_TEST_TOPIC"

STREAM = dataclasses.replace(
    DECLARED,
    topics=os.environ.get(TOPIC_VARIABLE, "information"),
    batch=dataclasses.replace(DECLARED.batch, max_wait_seconds=5, linger_seconds=3, max_rows=4_000),
)
