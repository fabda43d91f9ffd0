"""The example's news as a stream whose topic and run length are the benchmark's: what `dagster dev` loads there."""

import dataclasses
import os

from kafka_ingest.streams.information import STREAM as DECLARED

TOPIC_VARIABLE = "KAFKA_INGEST_BENCH_TOPIC"
RUN_SECONDS_VARIABLE = "KAFKA_INGEST_BENCH_RUN_SECONDS"
LINGER_SECONDS_VARIABLE = "KAFKA_INGEST_BENCH_LINGER_SECONDS"

_DEFAULTS = DECLARED.batch

# Under a name of its own: the example table that is built on `information` would have runs of its own.
STREAM = dataclasses.replace(
    DECLARED,
    name="news",
    topics=os.environ.get(TOPIC_VARIABLE, "news"),
    batch=dataclasses.replace(
        _DEFAULTS,
        max_run_seconds=float(os.environ.get(RUN_SECONDS_VARIABLE, _DEFAULTS.max_run_seconds)),
        linger_seconds=float(os.environ.get(LINGER_SECONDS_VARIABLE, _DEFAULTS.linger)),
    ),
)


def settings(topic: str, *, run_seconds: float | None = None, linger_seconds: float | None = None) -> dict[str, str]:
    """The variables that make it so; None keeps the default."""
    values = {TOPIC_VARIABLE: topic, RUN_SECONDS_VARIABLE: run_seconds, LINGER_SECONDS_VARIABLE: linger_seconds}
    return {name: str(value) for name, value in values.items() if value is not None}
