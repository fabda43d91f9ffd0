"""The Faust consumer that kafka_ingest replaces, with batches of ten, as it was, and of a thousand."""

from __future__ import annotations

import tempfile
from dataclasses import replace

from benchmarks.peers.job import Job
from benchmarks.peers.result import Result
from benchmarks.peers.tables import REQUIRED, make_table
from benchmarks.peers.venvs import venv_python
from benchmarks.peers.watch import measure, program

WITHIN_SECONDS = 10


def load(job: Job, batch: int) -> Result:
    """`take(batch, within=10)`."""
    python = venv_python("faust")
    make_table(job.database_url, job.table)
    # A last batch that is not full waits for ten seconds, which says nothing about speed.
    wanted = job.messages - job.messages % batch
    name = f"faust-{batch}"
    with tempfile.TemporaryDirectory() as data:  # its default is the folder it was started in
        options = ["-L", "uvloop", "--datadir", data, "worker", "--loglevel", "warn", "--without-web"]
        return measure(
            name,
            [str(python), program("faust_consumer.py"), *options],
            replace(job, messages=wanted),
            environment={**job.environment(name), "PEER_BATCH": str(batch), "PEER_WITHIN": str(WITHIN_SECONDS)},
            note=f"take({batch}, within={WITHIN_SECONDS}), one worker, dates translated, executemany, a commit per batch",
            required=REQUIRED,
        )
