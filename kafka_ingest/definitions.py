"""The only `Definitions`. It assembles what is declared; connects only as `build_definitions` does, and reads no topic."""

from __future__ import annotations

import dagster as dg

from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.information_per_hour import example_definitions
from kafka_ingest.streams.registry import declared_streams

STREAMS = tuple(declared_streams().values())

defs: dg.Definitions = dg.Definitions.merge(
    build_definitions(STREAMS),
    example_definitions(STREAMS),
    # For Dagster's implicit job, which backfills from the UI are runs of: one process for its ops, not one for each.
    dg.Definitions(executor=dg.in_process_executor),
)
