"""Servers of a benchmark's own."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka


@contextmanager
def servers(database: str) -> Iterator[tuple[LocalKafka, LocalDatabase]]:
    """A broker and a database server of their own, gone afterwards, also when this process is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder:
        kafka = LocalKafka.start(Path(folder) / "kafka", progress=print)
        try:
            store = LocalDatabase.start(database, Path(folder) / database, progress=print)
            try:
                yield kafka, store
            finally:
                store.stop()
        finally:
            kafka.stop()
