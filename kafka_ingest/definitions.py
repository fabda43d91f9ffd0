"""The only `Definitions`. It assembles what is declared; nothing connects or reads a topic on import."""

from __future__ import annotations

import dagster as dg

from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.streams.registry import declared_streams

defs: dg.Definitions = build_definitions(declared_streams().values())
