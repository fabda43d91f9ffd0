"""When the first messages of streams were: what the log holds and what the ledger has loaded, by metadata and index alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.entries import first_loaded
from kafka_ingest.ledger.tables import BATCHES, OFFSETS
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import EARLIEST, start_of_window

Times = Mapping[str, dt.datetime | None]
"""Of each stream asked for, by name, the Kafka timestamp of its first message; None where there is none."""


@dataclass(slots=True)
class FirstMessages:
    """What is known of streams. One that stands in neither was not asked for, or there was no answer."""

    in_log: dict[str, dt.datetime | None] = field(default_factory=dict)
    in_ledger: dict[str, dt.datetime | None] = field(default_factory=dict)

    def window_start(self, stream: Stream, *, now: dt.datetime) -> dt.datetime | None:
        """Start of the window of the stream's first message, or of the present one where it has no message yet.

        Where retention deletes, the ledger knows earlier ones than the log, so that the log alone does not say; the ledger alone
        does where it has loaded something. None where nothing says it.
        """
        loaded, held = self.in_ledger.get(stream.name), self.in_log.get(stream.name)
        if stream.name not in self.in_ledger or (loaded is None and stream.name not in self.in_log):
            return None
        first = min((each for each in (loaded, held) if each is not None), default=now)
        return start_of_window(stream, min(first, now))


def first_in_log(streams: Sequence[Stream], metadata: KafkaMetadata) -> Times:
    """By what Kafka holds, not before EARLIEST. Raises as KafkaMetadata does."""
    found = metadata.first_timestamps(streams, EARLIEST)
    return {stream.name: found.get(stream.name) for stream in streams}


def first_in_ledger(streams: Sequence[Stream], sink: Sink) -> Times:
    """By what has been loaded, not before EARLIEST. Raises what `Sink.classify_error` makes of the driver's errors."""
    names = [stream.name for stream in streams]
    with sink.errors("reading the ledger's first entries"), sink.engine.connect() as connection:
        inspector = sa.inspect(connection)
        is_made = inspector.has_table(OFFSETS.name) and inspector.has_table(BATCHES.name)
        found = first_loaded(connection, names, since=EARLIEST) if is_made else {}
    return {name: found.get(name) for name in names}


def with_first_window(stream: Stream, metadata: KafkaMetadata, sink: Sink, *, now: dt.datetime) -> Stream:
    """The stream with the `window_start` that a code location would learn now. Raises as the two looks do."""
    if stream.window_start is not None:
        return stream
    found = FirstMessages(dict(first_in_log([stream], metadata)), dict(first_in_ledger([stream], sink)))
    return replace(stream, window_start=found.window_start(stream, now=now))
