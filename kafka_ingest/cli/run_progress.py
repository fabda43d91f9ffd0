"""What a run has loaded so far, from the ledger, and a line that says so while it works."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType

import click
import sqlalchemy as sa

from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.ledger.tables import BATCHES
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.stream import Stream

_TERMINAL_SECONDS = 1.0
_PIPE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LoadedByRun:
    """Sums over a run's ranges."""

    messages: int
    rows: int
    dead_letters: int


def loaded_by_run(sink: Sink, stream: Stream, run_id: str) -> LoadedByRun:
    """What the ledger says of one run; zeros before its first batch."""
    c = BATCHES.c
    sums = [
        sa.func.coalesce(sa.func.sum(x), 0)
        for x in (c.end_offset - c.start_offset - c.absent_count, c.row_count, c.dead_letter_count)
    ]
    query = sa.select(*sums).where(c.run_id == run_id, c.stream == stream.name)
    with sink.errors(f"reading the ledger of stream {stream.name}"), sink.engine.connect() as connection:
        if not sa.inspect(connection).has_table(BATCHES.name):
            return LoadedByRun(0, 0, 0)
        return LoadedByRun(*(int(n) for n in connection.execute(query).one()))


class RunProgress:
    """While open: a thread that says on stderr how far the run is, on one line of a terminal, else every 5 s."""

    def __init__(self, stream: Stream, run_id: str, metadata: KafkaMetadata, sink: Sink, settings: Settings) -> None:
        self._stream = stream
        self._run_id = run_id
        self._metadata = metadata
        self._sink = sink
        self._settings = settings
        self._stop = threading.Event()
        self._is_terminal = sys.stderr.isatty()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> RunProgress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        if self._is_terminal:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._stop.wait(_TERMINAL_SECONDS if self._is_terminal else _PIPE_SECONDS):
            try:
                loaded = loaded_by_run(self._sink, self._stream, self._run_id)
                lag = observe(self._stream, self._metadata, self._sink, self._settings).lag
            except KafkaIngestError:
                continue  # the run itself meets the same trouble, retries and says so
            text = (
                f"{time.monotonic() - started:.0f} s: {loaded.messages:,} messages, {loaded.rows:,} rows, "
                f"{loaded.dead_letters:,} dead letters, lag {lag:,}"
            )
            click.echo(f"\r\x1b[K{text}" if self._is_terminal else text, nl=not self._is_terminal, err=True)
