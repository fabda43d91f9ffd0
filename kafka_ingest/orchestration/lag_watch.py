"""Lag and freshness of a stream while no run says them: as nothing waits, or as what waits is not loaded."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import dagster as dg

from kafka_ingest.engine.stream_state import StreamState, observe_log, oldest_waits, read_positions
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.sensor_memory import SensorMemory
from kafka_ingest.orchestration.stream_look import StreamLook
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.streams.stream import Stream

# What waits for so long, or for the stream's `max_wait_seconds` where that is more, without anything being loaded, is stuck.
STUCK_SECONDS = 60.0
# How often a stuck stream is observed, at first and later, and one where nothing waits.
STUCK_EVERY_SECONDS = 60.0
LONG_STUCK_SECONDS = 3_600.0
LONG_STUCK_EVERY_SECONDS = 600.0
IDLE_EVERY_SECONDS = 3_600.0


class LagWatch:
    """Looks at one stream, and remembers the last look for as long as the process lives: where the database does not answer,
    nobody loads, and the positions are where they were; where Kafka does not, its log is taken as it was."""

    def __init__(self, placed: PlacedStream) -> None:
        self._placed = placed
        self._topics = TopicObserver(placed)
        self._last: StreamState | None = None
        self._seen: dict[str, dt.datetime] = {}

    @property
    def stream(self) -> Stream:
        """The one it looks at."""
        return self._placed.stream

    def look(self, instance: dg.DagsterInstance, clients: Clients, now: dt.datetime) -> StreamLook:
        """The stream as it stands, as far as it can be seen. Raises as `observe` does where nothing is remembered."""
        troubles: dict[str, KafkaIngestError] = {}
        last, stream = self._last, self._placed.stream
        try:
            positions = read_positions(clients.sink, stream)
        except KafkaIngestError as error:
            if last is None:
                raise
            troubles["ledger_seen"], positions = error, dict(last.ledger)
        try:
            state = observe_log(stream, positions, clients.metadata, clients.settings)
        except KafkaIngestError as error:
            if last is None:
                raise
            troubles["log_seen"] = error
            state = replace(last, ledger={tp: p for tp, p in positions.items() if tp in last.watermarks})
        self._last = state
        self._seen |= {part: now for part in ("ledger_seen", "log_seen") if part not in troubles}
        remembered = {part: self._seen[part] for part in troubles}
        return StreamLook(self._placed, instance, clients, state, now, next(iter(troubles.values()), None), remembered)

    def observations(self, look: StreamLook, memory: SensorMemory) -> list[dg.AssetObservation]:
        """Of what was seen, where it is time; one request where something waits. Raises as KafkaMetadata does."""
        if not is_due(look.state, memory, self._placed.stream, now=look.now):
            return []
        can_ask = "log_seen" not in look.remembered
        waits = oldest_waits(look.state, look.clients.metadata, now=look.now) if can_ask else {}
        return list(self._topics.observations(look.state, waits, look.remembered))


def is_due(state: StreamState, memory: SensorMemory, stream: Stream, *, now: dt.datetime) -> bool:
    """Whether the sensor is to observe a stream: neither a run, which does while it loads, nor the sensor has for long enough."""
    told = [at for at in (state.loaded_at, memory.observed_at) if at is not None]
    silent = (now - max(told)).total_seconds() if told else IDLE_EVERY_SECONDS
    if memory.waiting_since is None:
        return silent >= IDLE_EVERY_SECONDS
    stuck = (now - memory.waiting_since).total_seconds()
    if stuck < max(STUCK_SECONDS, stream.batch.max_wait_seconds):
        return False
    return silent >= (STUCK_EVERY_SECONDS if stuck < LONG_STUCK_SECONDS else LONG_STUCK_EVERY_SECONDS)
