"""What a topic looks like while it is read: end offsets, lag and message rate, on the topic's own asset."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import dagster as dg

from kafka_ingest.engine.stream_state import StreamState
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import topic_key
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream

_SHOWN_PARTITIONS = 50


class TopicObserver:
    """Turns looks at a stream into observations of its topics; the rate is that between two looks of this object."""

    def __init__(self, stream: Stream, first: StreamState, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._before = {tp: marks.high for tp, marks in first.watermarks.items()}
        self._at = clock()

    def observations(self, state: StreamState) -> Iterator[dg.AssetObservation]:
        """One per declared topic (or pattern) that exists; numbers as numbers, so that the UI plots them."""
        now = self._clock()
        seconds = max(now - self._at, 1e-3)
        for declared in self._stream.topic_names:
            own = [tp for tp in sorted(state.watermarks) if self._stream.is_pattern or tp.topic == declared]
            if not own:
                continue
            ends = {tp: state.watermarks[tp].high for tp in own}
            came = sum(max(0, end - self._before.get(tp, end)) for tp, end in ends.items())
            yield dg.AssetObservation(
                topic_key(declared),
                metadata={
                    "lag": sum(state.lag_of(tp) for tp in own),
                    "end_offsets": sum(ends.values()),
                    "messages_per_second": round(came / seconds, 3),
                    "kafka_partitions": len(own),
                    "partitions": dg.MetadataValue.md(_table(state, own)),
                },
            )
        self._before |= {tp: marks.high for tp, marks in state.watermarks.items()}
        self._at = now


def _table(state: StreamState, own: list[TopicPartition]) -> str:
    lines = ["| topic | partition | log start | log end | next offset | lag |", "|---|---:|---:|---:|---:|---:|"]
    for tp in own[:_SHOWN_PARTITIONS]:
        marks, position = state.watermarks[tp], state.position(tp)
        at = "—" if position is None else position
        lines.append(f"| {code(tp.topic)} | {tp.partition} | {marks.low} | {marks.high} | {at} | {state.lag_of(tp)} |")
    if len(own) > _SHOWN_PARTITIONS:
        lines.append(f"\n…and {len(own) - _SHOWN_PARTITIONS} more: `kafka-ingest status`.")
    return "\n".join(lines)
