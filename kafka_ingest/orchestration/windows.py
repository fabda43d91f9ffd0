"""A stream's windows as Dagster's partitions."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from kafka_ingest.orchestration.names import Names
from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource, check_resources
from kafka_ingest.orchestration.window_starts import with_window_starts
from kafka_ingest.settings import Settings
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import first_window_start, window_format, window_key


def partitions_of(
    stream: Stream,
    key_prefix: str | Sequence[str] | None = None,
    *,
    kafka: KafkaResource | None = None,
    database: DatabaseResource | None = None,
) -> dg.TimeWindowPartitionsDefinition:
    """Windows by Kafka timestamp, in UTC, from the stream's first one on, the present one included: live runs load into it.

    For assets of one's own that follow a stream's tables; `key_prefix`, `kafka` and `database` are those of `build_definitions`.
    Connects as that does, or not at all where it was called before. Raises ConfigError as that does.
    """

    def settings() -> Settings:
        return check_resources(
            KafkaResource.from_environment() if kafka is None else kafka,
            DatabaseResource.from_environment() if database is None else database,
        )

    (placed,) = with_window_starts([stream], Names.with_prefix(key_prefix), settings)
    return windows_of(placed)


def windows_of(stream: Stream) -> dg.TimeWindowPartitionsDefinition:
    """The same of a stream that has its `window_start` already, as placed ones do."""
    return dg.TimeWindowPartitionsDefinition(
        start=window_key(stream, first_window_start(stream)),
        fmt=window_format(stream),
        cron_schedule="0 * * * *" if stream.window == "hourly" else "0 0 * * *",
        timezone="UTC",
        end_offset=1,
    )
