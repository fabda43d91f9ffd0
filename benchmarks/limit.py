"""The limit: `LOAD DATA LOCAL INFILE`, or COPY on PostgreSQL, of the same rows from prepared files, over one connection or
several at once, into the same table."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.mysql import load_data_format
from kafka_ingest.sinks.mysql.load_data_connection import FILE, OfferingConnection
from kafka_ingest.sinks.postgresql import copy_format
from kafka_ingest.sinks.postgresql.connection import TimedConnection
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import OffsetRange
from kafka_ingest.streams.stream import Stream

# Rows of a prepared file, each a statement and a commit of its own: one statement of millions is slower on every server tried.
ROWS_A_FILE = 50_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A topic's rows as LOAD DATA or COPY reads them."""

    files: tuple[tuple[Path, int], ...]
    """Each with its number of rows."""

    @property
    def rows(self) -> int:
        return sum(count for _, count in self.files)


def prepare(stream: Stream, settings: Settings, folder: Path) -> Prepared:
    """Read the stream's topic and write its rows into files. All messages must be good, and of one model."""
    metadata = KafkaMetadata(settings)
    ends = metadata.ends(metadata.topics(stream).partitions)
    reader = RangeReader(open_consumer(settings, "limit", partitions=len(ends)))
    reader.restart([OffsetRange(*tp, 0, end) for tp, end in ends.items()])
    decoder = StreamDecoder(stream)
    backend = sa.make_url(settings.database_url).get_backend_name()
    encode = copy_format.encode if backend == "postgresql" else load_data_format.encode_rows
    (target,) = stream.targets
    files: list[tuple[Path, int]] = []
    while reader.remaining():
        raw = reader.read_slice(max_rows=ROWS_A_FILE, max_bytes=1 << 30)
        parsed = run_pipeline(decoder.decode(raw), stream)
        if parsed.dead_letters:
            raise RuntimeError(f"the limit is measured with good messages only: {parsed.dead_letters[0].error}")
        path = folder / f"{len(files)}.txt"
        path.write_bytes(encode(parsed.rows[target], target.columns))
        files.append((path, len(raw)))
    reader.close()
    return Prepared(tuple(files))


def load_files(prepared: Prepared, stream: Stream, database_url: str, connections: int = 1) -> float:
    """Seconds to load the files into the stream's table of an empty database; each connection takes the next file as it is done
    with one."""
    sink = open_sink(sa.make_url(database_url))
    left = iter(prepared.files)  # of a tuple: next() is atomic
    try:
        prepare_tables(sink, stream)
        with ThreadPoolExecutor(connections) as pool:
            ready = [pool.submit(sink.engine.connect) for _ in range(connections)]
            opened = [each.result() for each in ready]
            started = time.perf_counter()
            for done in [pool.submit(_load_all, connection, stream, left) for connection in opened]:
                done.result()
            seconds = time.perf_counter() - started
        for connection in opened:
            connection.close()
        return seconds
    finally:
        sink.close()


def _load_all(connection: sa.Connection, stream: Stream, left: Iterator[tuple[Path, int]]) -> None:
    """Files until none is left, each a transaction."""
    (target,) = stream.targets
    quote = connection.dialect.identifier_preparer.quote
    columns, table = ", ".join(map(quote, target.columns)), quote(target.name)
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection | OfferingConnection)
    for path, count in left:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
            memoryview(text) as view,
        ):
            found = _load(driver, table, columns, view)
        if found != (count, 0):
            raise RuntimeError(f"{found[0]} of {count} rows, {found[1]} warnings: no limit to measure by")
        driver.commit()


def _load(driver: object, table: str, columns: str, text: memoryview) -> tuple[int, int]:
    """Rows stored, and warnings."""
    if isinstance(driver, TimedConnection):
        return driver.copy_in(f"COPY {table} ({columns}) FROM STDIN {copy_format.OPTIONS}", text), 0
    assert isinstance(driver, OfferingConnection)
    statement = f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {table} {load_data_format.FORMAT} ({columns})"
    return driver.load_local(statement, text)
