"""The order of messages, counted on from slice to slice: where each range's begins is found in the ledger or in the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing

import sqlalchemy as sa

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.ledger.positions import ledger_fences
from kafka_ingest.ledger.tables import BATCHES, of_partition
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import OffsetRange, RawSlice, TopicPartition
from kafka_ingest.streams.stream import Stream

# A lead-in is read and forgotten in pieces of this size.
_LEAD_IN_ROWS = 20_000
# Entries that begin before an offset and may hold it: backfills of parts of a range begin after the range itself.
_ENTRIES_LOOKED_AT = 50


class MessageOrders:
    """Gives slices the orders of their messages (`RawSlice.orders`).

    A slice that goes on where the last one of its partition ended goes on from there. For any other
    - the ledger's position, or an entry that begins just there, says it;
    - inside an entry, what lies between the entry's beginning and the slice is read once more for its timestamps, so that a
      message has the order it had when it was loaded first;
    - where nobody has loaded yet, Kafka's time index says it.
    """

    def __init__(
        self, stream: Stream, sink: Sink, metadata: KafkaMetadata, open_reader: Callable[[], RangeReader]
    ) -> None:
        self._stream = stream
        self._sink = sink
        self._metadata = metadata
        self._open_reader = open_reader
        self._max_bytes = stream.batch.max_bytes
        self._reached: dict[TopicPartition, tuple[int, int]] = {}
        """Per partition an offset and the order of the last message below it."""

    def count(self, raw: RawSlice) -> RawSlice:
        """The slice with its orders. Raises what reading the ledger or the log raises."""
        unknown = [r for r in raw.ranges if self._reached.get(r.topic_partition, (-1, 0))[0] != r.start]
        if unknown:
            self._reached |= self._look_up(unknown)
        counted = raw.with_order_starts({r.topic_partition: self._reached[r.topic_partition][1] for r in raw.ranges})
        self._reached |= {
            r.topic_partition: (r.end, counted.order_before(number, r.end)) for number, r in enumerate(raw.ranges)
        }
        return counted

    def _look_up(self, ranges: Iterable[OffsetRange]) -> dict[TopicPartition, tuple[int, int]]:
        starts = {r.topic_partition: r.start for r in ranges}
        doing = f"reading the ledger of stream {self._stream.name}"
        with self._sink.errors(doing), self._sink.engine.connect() as connection:
            # A dry run may come before the first run has made the ledger, or has brought it up to date.
            is_known = check_version(connection) == VERSION
            fences = ledger_fences(connection, self._stream.name, starts) if is_known else {}
            found = {tp: f.order for tp, f in fences.items() if f.next_offset == starts[tp]}
            rest = [tp for tp in starts if is_known and tp not in found]
            entries = {tp: self._entry(connection, tp, starts[tp]) for tp in rest}
        inside = {tp: entry for tp, entry in entries.items() if entry is not None}
        found |= {tp: order for tp, (start, order) in inside.items() if start == starts[tp]}
        lead_ins = {tp: entry for tp, entry in inside.items() if tp not in found}
        if lead_ins:
            found |= self._read_lead_ins(lead_ins, starts)
        unread = {tp: start for tp, start in starts.items() if tp not in found}
        if unread:
            found |= self._metadata.largest_timestamps_below(unread)
        return {tp: (start, found[tp]) for tp, start in starts.items()}

    def _entry(self, connection: sa.Connection, tp: TopicPartition, offset: int) -> tuple[int, int] | None:
        """Start and order of the entry that an offset lies in, or that ends there; None where there is none."""
        c = BATCHES.c
        rows = connection.execute(
            sa.select(c.start_offset, c.end_offset, c.order_start)
            .where(
                of_partition(BATCHES, self._stream.name, tp),
                c.start_offset <= offset,
                c.kind.in_(("live", "backfill")),
                c.order_start.is_not(None),
            )
            .order_by(c.start_offset.desc(), c.id)
            .limit(_ENTRIES_LOOKED_AT)
        )
        return next(((int(r.start_offset), int(r.order_start)) for r in rows if r.end_offset >= offset), None)

    def _read_lead_ins(
        self, entries: Mapping[TopicPartition, tuple[int, int]], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        orders = {tp: order for tp, (_, order) in entries.items()}
        marks = self._metadata.watermarks(entries)
        ranges = [OffsetRange(*tp, max(start, marks[tp].low), ends[tp]) for tp, (start, _) in entries.items()]
        with closing(self._open_reader()) as reader:
            reader.restart(ranges)
            while reader.remaining():
                raw = reader.read_slice(max_rows=_LEAD_IN_ROWS, max_bytes=self._max_bytes).with_order_starts(orders)
                orders |= {r.topic_partition: raw.order_before(n, r.end) for n, r in enumerate(raw.ranges)}
        return orders
