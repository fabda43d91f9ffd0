"""One look of a sensor at its stream: what it saw, and whom it may ask more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import dagster as dg

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.placed_stream import PlacedStream


@dataclass(frozen=True, slots=True)
class StreamLook:
    """What the stream was like at `now`."""

    placed: PlacedStream
    instance: dg.DagsterInstance
    clients: Clients
    state: StreamState
    now: dt.datetime
    trouble: KafkaIngestError | None = None
    """Why a part of the state is remembered from an earlier look, and not seen."""
    remembered: Mapping[str, dt.datetime] = field(default_factory=dict)
    """When that part was seen: `ledger_seen`, `log_seen`."""
