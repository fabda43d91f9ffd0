"""Asset keys, tags and job names: what people search for in the UI. Dagster is imported with the first asset key only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable, identifier_of

if TYPE_CHECKING:
    import dagster as dg

STREAM_TAG = "kafka_ingest/stream"
KIND_TAG = "kafka_ingest/kind"
LIVE_TAG = "kafka_ingest/live"
"""The stream's name on live runs only: what `dagster.yaml` limits, and the sensor looks for."""
RANGES_TAG = "kafka_ingest/ranges"
REASON_TAG = "kafka_ingest/reason"
"""Why the sensor launched the run."""
UPKEEP_TAG = "kafka_ingest/upkeep"
"""On runs of the audit and of the retention."""
PROCESS_TAG = "kafka_ingest/process"

Metadata: TypeAlias = "dict[str, int | float | str | dg.MetadataValue]"
"""Of an event; numbers stay numbers, so that the UI plots them."""

DEAD_LETTERS = "dead_letters"
LEDGER = "ledger"


def job_name(stream: Stream) -> str:
    """The job that loads the stream."""
    return f"ingest_{stream.name}"


def replay_job_name(stream: Stream) -> str:
    """The job that replays the stream's dead letters."""
    return f"replay_dead_letters_{stream.name}"


def find_job_name(stream: Stream) -> str:
    """The job that says what became of a message."""
    return f"find_message_{stream.name}"


def sensor_name(stream: Stream) -> str:
    return f"{stream.name}_sensor"


def topic_key(topic: str) -> dg.AssetKey:
    """Asset of a topic, or of a topic pattern."""
    return _key("kafka", re.sub(r"[^A-Za-z0-9_.-]", "_", topic).replace(".", "_"))


def table_key(stream: Stream, target: TargetTable) -> dg.AssetKey:
    """Asset of a table: under its stream and, where it has one, its schema. A name with other signs than letters, digits and _
    stands there as an identifier made from it."""
    return _key(stream.name, *(_part(name) for name in (target.schema, target.name) if name is not None))


def dead_letters_key(stream: Stream) -> dg.AssetKey:
    """Asset of the stream's dead letters, whatever table their messages were meant for."""
    return _key(stream.name, DEAD_LETTERS)


def ledger_key(stream: Stream) -> dg.AssetKey:
    """The stream's part of the ledger: what the daily audit checks."""
    return _key(stream.name, LEDGER)


def _part(name: str) -> str:
    """As it stands where Dagster can make an op's output of it, as it does for the checks of an asset."""
    return name if re.fullmatch(r"[A-Za-z0-9_]+", name) else identifier_of(name)


def _key(*path: str) -> dg.AssetKey:
    import dagster as dg  # not at the top: it takes seconds, and the command line wants tags and job names only

    return dg.AssetKey(list(path))
