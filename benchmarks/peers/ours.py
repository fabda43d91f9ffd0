"""kafka_ingest itself, as any peer: a `dagster dev` with the example's news, its daemon, web server and code servers counted."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

import kafka_ingest.orchestration
from benchmarks import one_stream
from benchmarks.peers.job import Job
from benchmarks.peers.program import Program
from kafka_ingest.local.ports import LOOPBACK, free_port
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.information import Information

_ROOT = Path(__file__).parents[2]


@contextmanager
def dagster_dev(job: Job) -> Iterator[Program]:
    """The example's stream and settings as they are, into the product's table; `job.table` is not used. See `Peer`."""
    sink = open_sink(sa.make_url(job.database_url))
    prepare_tables(sink, one_stream.STREAM)
    sink.close()
    with tempfile.TemporaryDirectory() as home:
        settings = Path(kafka_ingest.orchestration.__file__).with_name("dagster.yaml")
        Path(home, "dagster.yaml").write_text(settings.read_text())
        where = ["-h", LOOPBACK, "-p", str(free_port())]
        yield Program(
            "kafka_ingest",
            [sys.executable, "-m", "dagster", "dev", "-m", "kafka_ingest.definitions", *where],
            Information.__table__.name,
            "a whole `dagster dev`, runs launched by its sensor, defaults; ledger, three-column key, two indexes, exactly once",
            environment={
                **one_stream.settings(job.topic),
                "KAFKA_BOOTSTRAP_SERVERS": job.bootstrap,
                "KAFKA_INGEST_DATABASE_URL": job.database_url,
                "KAFKA_INGEST_STREAMS": "benchmarks.one_stream",
                "PYTHONPATH": str(_ROOT),
                "DAGSTER_HOME": home,
                "DAGSTER_DISABLE_TELEMETRY": "yes",
            },
            # A message is a row here, and rows and ledger commit together.
            at_most=f"SELECT COALESCE(SUM(next_offset), 0) FROM kafka_ingest_offsets WHERE topic = '{job.topic}'",
        )
