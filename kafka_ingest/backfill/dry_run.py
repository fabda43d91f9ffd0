"""What a backfill would do, without doing it: the same read, decode, steps and validation, compared with the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.engine.orders import MessageOrders
from kafka_ingest.engine.plan import check_requested
from kafka_ingest.engine.stream_state import group_of, observe
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.ledger.dead_letters import count_waiting_in
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.dead_letter_limit import is_over_limit
from kafka_ingest.sinks.tables import explain_misfits
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream

SHOWN_DEAD_LETTERS = 5


@dataclass(frozen=True, slots=True)
class ForecastLetter:
    """One dead letter to be."""

    position: str
    stage: str
    error: str


@dataclass(slots=True)
class Forecast:
    """What a backfill of these ranges would do now. What only the database can refuse (constraints, triggers) is not seen."""

    stream: str
    ranges: tuple[OffsetRange, ...]
    live_offsets: int = 0
    """Offsets at or above the ledger's next offset, which the backfill loads for the first time."""
    messages: int = 0
    absent: int = 0
    ignored: int = 0
    tables: dict[str, TableForecast] = field(default_factory=dict)
    dead_letters: Counter[str] = field(default_factory=Counter)
    """To be, by stage."""
    dead_letters_now: int = 0
    """In the ledger now."""
    first_dead_letters: list[ForecastLetter] = field(default_factory=list)
    failure: str | None = None
    """Why the backfill would fail."""

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "stream": self.stream,
            "ranges": [
                {"topic": r.topic, "partition": r.partition, "start": r.start, "end": r.end} for r in self.ranges
            ],
            "offsets": sum(r.size for r in self.ranges),
            "live_offsets": self.live_offsets,
            "messages": self.messages,
            "absent": self.absent,
            "ignored": self.ignored,
            "tables": {
                name: {"added": t.added, "changed": t.changed, "unchanged": t.unchanged, "removed": t.removed}
                for name, t in self.tables.items()
            },
            "dead_letters": sum(self.dead_letters.values()),
            "dead_letters_by_stage": dict(self.dead_letters),
            "dead_letters_now": self.dead_letters_now,
            "first_dead_letters": [
                {"position": d.position, "stage": d.stage, "error": d.error} for d in self.first_dead_letters
            ],
            "failure": self.failure,
        }


def dry_run(
    stream: Stream,
    ranges: Sequence[OffsetRange],
    *,
    metadata: KafkaMetadata,
    sink: Sink,
    settings: Settings,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Forecast:
    """Read the ranges slice by slice and compare. Writes nothing, neither to the database nor to Kafka.

    on_progress: told offsets done and all offsets, after each slice.
    Raises ConfigError where the log does not hold the ranges, StepError, and what broken infrastructure raises.
    """
    state = observe(stream, metadata, sink, settings)
    check_requested(stream, ranges, state)
    total = sum(r.size for r in ranges)
    forecast = Forecast(stream.name, tuple(ranges))
    for each in ranges:
        position = state.position(each.topic_partition)
        position = state.watermarks[each.topic_partition].high if position is None else position
        # As the load has it: only what continues contiguously from the next offset is live.
        forecast.live_offsets += each.end - position if each.start <= position < each.end else 0
    doing = f"comparing with the tables of stream {stream.name}"
    with ExitStack() as stack:
        stack.enter_context(sink.errors(doing))
        connection = stack.enter_context(sink.engine.connect())
        forecast.failure = explain_misfits(sink, connection, stream)
        forecast.dead_letters_now = count_waiting_in(connection, stream.name, ranges)
        tables = [stack.enter_context(closing(table_comparison(connection, sink, target))) for target in stream.targets]
        reader = stack.enter_context(closing(_open_reader(stream, settings)))
        orders = MessageOrders(stream, sink, metadata, partial(_open_reader, stream, settings))
        decoder = StreamDecoder(stream, schema_finder(settings))
        reader.restart(ranges)
        # No transaction is open while messages are read and the ledger is asked for their orders, by a connection of its own:
        # on SQLite each transaction is the only one.
        connection.rollback()
        while reader.remaining():
            raw = reader.read_slice(max_rows=stream.batch.max_rows, max_bytes=stream.batch.max_bytes)
            for part in decoder.decode_all(orders.count(raw)):
                parsed = run_pipeline(part, stream)
                _count(forecast, stream, parsed)
                for table in tables:
                    table.compare(parsed)
            # A snapshot of its own for each slice: a long transaction would keep the server from purging old rows.
            connection.rollback()
            on_progress(total - sum(r.size for r in reader.remaining()), total)
        forecast.tables = {table.name: table.result() for table in tables}
    return forecast


def _open_reader(stream: Stream, settings: Settings) -> RangeReader:
    return RangeReader(open_consumer(settings, group_of(stream, settings)))


def _count(forecast: Forecast, stream: Stream, parsed: ParsedSlice) -> None:
    raw, letters = parsed.raw, sorted(parsed.dead_letters, key=lambda letter: letter.number)
    forecast.messages += len(raw)
    forecast.absent += sum(raw.absent)
    forecast.ignored += len(parsed.ignored)
    forecast.dead_letters.update(letter.stage for letter in letters)
    for letter in letters[: SHOWN_DEAD_LETTERS - len(forecast.first_dead_letters)]:
        forecast.first_dead_letters.append(ForecastLetter(raw.position(letter.number), letter.stage, letter.error))
    if is_over_limit(stream, len(raw), len(letters)):
        forecast.failure = forecast.failure or (
            f"{len(letters)} of {len(raw)} messages of a slice are bad, over the stream's limit of "
            f"{stream.max_dead_letter_ratio:.0%} (max_dead_letter_ratio)"
        )
