"""Spark Structured Streaming: a Kafka source, `from_json`, and `foreachBatch` that appends to the table by JDBC."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from benchmarks.peers.jars import java_and_jars
from benchmarks.peers.jdbc import jdbc_url
from benchmarks.peers.job import Job
from benchmarks.peers.program import Program, program
from benchmarks.peers.tables import make_table
from benchmarks.peers.venvs import venv_python

PEER = "spark"


@dataclass(frozen=True)
class Tuning:
    """What was varied to find its best (README.md)."""

    offsets_per_trigger: int = 50_000
    batch_size: int = 5_000


@contextmanager
def structured_streaming(job: Job, *, tuning: Tuning | None = None) -> Iterator[Program]:
    """`local[*]`; see `Peer`. tuning: only to try others than the best one found."""
    tuning = tuning or Tuning()
    python = venv_python(PEER)
    java, jars = java_and_jars(PEER, "spark-sql-kafka-*.jar")
    url = sa.make_url(job.database_url)
    make_table(job.database_url, job.table)
    with tempfile.TemporaryDirectory() as folder:
        yield Program(
            PEER,
            [str(python), program("spark_stream.py")],
            job.table,
            f"Structured Streaming, local[*], maxOffsetsPerTrigger {tuning.offsets_per_trigger:,}, dates translated, "
            f"foreachBatch by JDBC: batchsize {tuning.batch_size:,}, rewriteBatchedStatements, a transaction for each "
            "Kafka partition",
            environment={
                **job.environment(PEER),
                "PEER_JDBC_URL": jdbc_url(url),
                "PEER_USER": url.username or "",
                "PEER_PASSWORD": url.password or "",
                "PEER_JARS": ",".join(str(jar) for jar in sorted(jars.glob("*.jar"))),
                "PEER_FOLDER": folder,
                "PEER_OFFSETS_PER_TRIGGER": str(tuning.offsets_per_trigger),
                "PEER_BATCH_SIZE": str(tuning.batch_size),
                "PATH": f"{Path(java).parent}{os.pathsep}{os.environ['PATH']}",
            },
        )
