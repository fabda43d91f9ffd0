"""The Faust consumer that kafka_ingest replaces, with batches of ten, as it was, and of a thousand."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.job import Job
from benchmarks.peers.program import Program, program
from benchmarks.peers.tables import make_table
from benchmarks.peers.venvs import venv_python

WITHIN_SECONDS = 10


@contextmanager
def take(job: Job, batch: int) -> Iterator[Program]:
    """`take(batch, within=10)`."""
    python = venv_python("faust")
    make_table(job.database_url, job.table)
    name = f"faust-{batch}"
    with tempfile.TemporaryDirectory() as data:  # its default is the folder it was started in
        options = ["-L", "uvloop", "--datadir", data, "worker", "--loglevel", "warn", "--without-web"]
        yield Program(
            name,
            [str(python), program("faust_consumer.py"), *options],
            job.table,
            f"take({batch}, within={WITHIN_SECONDS}), one worker, dates translated, executemany, a commit per batch",
            environment={**job.environment(name), "PEER_BATCH": str(batch), "PEER_WITHIN": str(WITHIN_SECONDS)},
            batch=batch,
        )
