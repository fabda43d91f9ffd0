"""The only `Definitions`. It assembles what is declared; nothing connects or reads a topic on import."""

from __future__ import annotations

import dagster as dg

from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.information_per_hour import example_definitions
from kafka_ingest.streams.registry import declared_streams

STREAMS = tuple(declared_streams().values())

defs: dg.Definitions = dg.Definitions.merge(build_definitions(STREAMS), example_definitions(STREAMS))
