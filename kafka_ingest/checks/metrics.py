"""One look at a stream as samples of the exported metrics. Reads only."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator

from kafka_ingest.checks import metric_families as families
from kafka_ingest.checks.ledger_totals import OUTCOMES, LedgerTotals, Totals
from kafka_ingest.checks.metric_families import Sample
from kafka_ingest.engine.stream_state import StreamState, observe, oldest_wait_seconds
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.ledger.dead_letters import count_waiting, has_dead_letters_table
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream

# Those of loads; ranges that were lost are the fourth kind of entries.
LOAD_KINDS = ("live", "backfill", "replay")


class StreamMetrics:
    """Looks at one stream, one look at a time; the ledger's sums are kept in between."""

    def __init__(
        self,
        stream: Stream,
        metadata: KafkaMetadata,
        sink: Sink,
        settings: Settings,
        *,
        has_partitions: bool = True,
        kafka_seconds: float,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """has_partitions: whether each Kafka partition has samples of its own. kafka_seconds: for all of a look's requests to
        Kafka together."""
        self._stream = stream
        self._metadata = metadata
        self._sink = sink
        self._settings = settings
        self._has_partitions = has_partitions
        self._kafka_seconds = kafka_seconds
        self._now = now
        self._clock = clock
        self._totals = LedgerTotals(stream.name, clock=clock)

    def look(self) -> list[Sample]:
        """All but `kafka_ingest_up`. Raises KafkaUnavailable, DatabaseUnavailable, AccessDenied and their like."""
        name, begun = self._stream.name, self._clock()
        with kafka_deadline(self._kafka_seconds):
            state = observe(self._stream, self._metadata, self._sink, self._settings)
            oldest = oldest_wait_seconds(state, self._metadata, now=self._now()) or 0.0
        totals = self._totals.look(self._sink)
        samples = [
            families.PARTITIONS.sample(name, value=len(state.watermarks)),
            families.MISSING_TOPICS.sample(name, value=len(state.topics.missing)),
            families.LAG.sample(name, value=state.lag),
            families.OLDEST_WAITING.sample(name, value=oldest),
            families.DEAD_LETTERS_WAITING.sample(name, value=self._dead_letters()),
        ]
        if totals is not None:
            samples += _totals_samples(self._stream, totals)
        if self._has_partitions:
            samples += _partition_samples(name, state)
        return [*samples, families.LOOK_SECONDS.sample(name, value=self._clock() - begun)]

    def _dead_letters(self) -> int:
        with self._sink.errors("counting dead letters"), self._sink.engine.connect() as connection:
            return count_waiting(connection, self._stream.name) if has_dead_letters_table(connection) else 0


def _totals_samples(stream: Stream, totals: Totals) -> Iterator[Sample]:
    """Also the zeros of what has not happened yet: the first lost offset is seen as a rise only where there was a 0 before."""
    offsets = {(kind, outcome): 0 for kind in LOAD_KINDS for outcome in OUTCOMES} | {("lost", "absent"): 0}
    rows = {(target.label, kind): 0 for target in stream.targets for kind in LOAD_KINDS}
    yield families.LOADS.sample(stream.name, value=totals.loads)
    for (kind, outcome), number in sorted((offsets | totals.offsets).items()):
        if number or (kind, outcome) in offsets:
            yield families.OFFSETS.sample(stream.name, kind, outcome, value=number)
    for (table, kind), number in sorted((rows | totals.rows).items()):
        yield families.ROWS.sample(stream.name, table, kind, value=number)
    for kind, at in sorted(totals.last_load.items()):
        yield families.LAST_LOAD.sample(stream.name, kind, value=at.timestamp())


def _partition_samples(stream: str, state: StreamState) -> Iterator[Sample]:
    for tp, marks in sorted(state.watermarks.items()):
        labels = (stream, tp.topic, str(tp.partition))
        known = state.ledger.get(tp)
        if known is not None:
            yield families.PARTITION_NEXT_OFFSET.sample(*labels, value=known.next_offset)
        yield families.PARTITION_LAG.sample(*labels, value=state.lag_of(tp))
        yield families.PARTITION_LOG_START.sample(*labels, value=marks.low)
        yield families.PARTITION_LOG_END.sample(*labels, value=marks.high)
