"""What a topic looks like: end offsets, lag, message rate and freshness, on the topic's own asset."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import dagster as dg

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import Metadata
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.slices import TopicPartition

_SHOWN_PARTITIONS = 50


class TopicObserver:
    """Turns looks at a stream into observations of its topics; the rate is that between two looks of this object."""

    def __init__(
        self,
        placed: PlacedStream,
        first: StreamState | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc),
    ) -> None:
        """first: where None, the first observations have no rate."""
        self._placed = placed
        self._clock = clock
        self._now = now
        self._before: dict[TopicPartition, int] | None = None if first is None else _ends(first)
        self._at = clock()

    def observations(
        self,
        state: StreamState,
        waits: Mapping[TopicPartition, float] | None = None,
        remembered: Mapping[str, dt.datetime] | None = None,
    ) -> Iterator[dg.AssetObservation]:
        """One per declared topic (or pattern) that exists; numbers as numbers, so that the UI plots them.

        waits: ages of the oldest waiting messages, where they were asked for. remembered: when those parts of `state` were seen
        that were not seen now, as `StreamLook` names them.
        """
        clock, now, stream = self._clock(), self._now(), self._placed.stream
        ends = _ends(state)
        for declared, spec in self._placed.topics.items():
            own = [tp for tp in sorted(state.watermarks) if stream.is_pattern or tp.topic == declared]
            if not own:
                continue
            metadata: Metadata = {
                "lag": sum(state.lag_of(tp) for tp in own),
                "end_offsets": sum(ends[tp] for tp in own),
                "kafka_partitions": len(own),
                "partitions": dg.MetadataValue.md(_table(state, own)),
            }
            if self._before is not None:
                came = sum(max(0, ends[tp] - self._before.get(tp, ends[tp])) for tp in own)
                metadata["messages_per_second"] = round(came / max(clock - self._at, 1e-3), 3)
            metadata |= _freshness(state, own, waits or {}, now)
            metadata |= {name: dg.MetadataValue.timestamp(at) for name, at in (remembered or {}).items()}
            yield dg.AssetObservation(spec.key, metadata=metadata)
        self._before = (self._before or {}) | ends
        self._at = clock


def _ends(state: StreamState) -> dict[TopicPartition, int]:
    return {tp: marks.high for tp, marks in state.watermarks.items()}


def _freshness(
    state: StreamState, own: Sequence[TopicPartition], waits: Mapping[TopicPartition, float], now: dt.datetime
) -> Metadata:
    """Seconds since something was loaded, and how long the oldest message waits; what is not known is left out."""
    found: Metadata = {}
    loaded = [state.ledger[tp].updated_at for tp in own if tp in state.ledger]
    if loaded:
        found["seconds_since_load"] = round(max(0.0, (now - max(loaded)).total_seconds()), 1)
    ages = [waits[tp] for tp in own if tp in waits]
    if ages or not any(state.lag_of(tp) for tp in own):
        found["oldest_waiting_seconds"] = round(max(ages, default=0.0), 1)
    return found


def _table(state: StreamState, own: list[TopicPartition]) -> str:
    lines = ["| topic | partition | log start | log end | next offset | lag |", "|---|---:|---:|---:|---:|---:|"]
    for tp in own[:_SHOWN_PARTITIONS]:
        marks, position = state.watermarks[tp], state.position(tp)
        at = "—" if position is None else position
        lines.append(f"| {code(tp.topic)} | {tp.partition} | {marks.low} | {marks.high} | {at} | {state.lag_of(tp)} |")
    if len(own) > _SHOWN_PARTITIONS:
        lines.append(f"\n…and {len(own) - _SHOWN_PARTITIONS} more: `kafka-ingest status`.")
    return "\n".join(lines)
