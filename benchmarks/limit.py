"""The limit: `LOAD DATA LOCAL INFILE`, or COPY on PostgreSQL, of the same rows from prepared files, over one connection or
several at once, into the same tables."""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

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

# Rows of a transaction: one statement of millions is slower on every server tried.
ROWS_A_FILE = 50_000


class PreparedFile(NamedTuple):
    """Rows of one table as LOAD DATA or COPY reads them."""

    table: int
    """The table's number in the stream."""
    path: Path
    rows: int


Prepared = tuple[tuple[PreparedFile, ...], ...]
"""A topic's rows: of each transaction its files, one for each table that gets some."""


def prepare(stream: Stream, settings: Settings, folder: Path, *, max_bytes: int = 1 << 30) -> Prepared:
    """Read the stream's topic and write its rows into files, a transaction for at most ROWS_A_FILE messages of `max_bytes`
    together. All messages must be good."""
    metadata = KafkaMetadata(settings)
    ends = metadata.ends(metadata.topics(stream).partitions)
    reader = RangeReader(open_consumer(settings, "limit"))
    reader.restart([OffsetRange(*tp, 0, end) for tp, end in ends.items()])
    decoder = StreamDecoder(stream)
    backend = sa.make_url(settings.database_url).get_backend_name()
    encode = copy_format.encode if backend == "postgresql" else load_data_format.encode_rows
    transactions: list[tuple[PreparedFile, ...]] = []
    while reader.remaining():
        raw = reader.read_slice(max_rows=ROWS_A_FILE, max_bytes=max_bytes)
        parsed = run_pipeline(decoder.decode(raw), stream)
        if parsed.dead_letters:
            raise RuntimeError(f"the limit is measured with good messages only: {parsed.dead_letters[0].error}")
        files = []
        for number, target in enumerate(stream.targets):
            if target in parsed.rows:
                path = folder / f"{len(transactions)}-{number}.txt"
                path.write_bytes(encode(parsed.rows[target], target.columns))
                files.append(PreparedFile(number, path, len(parsed.rows[target])))
        transactions.append(tuple(files))
    reader.close()
    return tuple(transactions)


def load_files(prepared: Prepared, stream: Stream, database_url: str, connections: int = 1) -> float:
    """Seconds to load the files into the stream's tables of an empty database; each connection takes the next transaction as it
    is done with one."""
    sink = open_sink(sa.make_url(database_url))
    left = iter(prepared)  # of a tuple: next() is atomic
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


def _load_all(connection: sa.Connection, stream: Stream, left: Iterator[tuple[PreparedFile, ...]]) -> None:
    """Transactions until none is left."""
    quote = connection.dialect.identifier_preparer.quote
    driver = connection.connection.driver_connection
    assert isinstance(driver, TimedConnection | OfferingConnection)
    for files in left:
        for number, path, rows in files:
            target = stream.targets[number]
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
                memoryview(text) as view,
            ):
                found = _load(driver, quote(target.name), ", ".join(map(quote, target.columns)), view)
            if found != (rows, 0):
                raise RuntimeError(f"{found[0]} of {rows} rows, {found[1]} warnings: no limit to measure by")
        driver.commit()


def _load(driver: object, table: str, columns: str, text: memoryview) -> tuple[int, int]:
    """Rows stored, and warnings."""
    if isinstance(driver, TimedConnection):
        return driver.copy_in(f"COPY {table} ({columns}) FROM STDIN {copy_format.OPTIONS}", text), 0
    assert isinstance(driver, OfferingConnection)
    statement = f"LOAD DATA LOCAL INFILE {FILE} INTO TABLE {table} {load_data_format.FORMAT} ({columns})"
    return driver.load_local(statement, text)
