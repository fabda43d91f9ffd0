"""dagster-kafka (PyPI): its IO manager reads a topic into a list, an asset writes a DataFrame of it with `to_sql`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.peers.job import Job
from benchmarks.peers.program import Program, program
from benchmarks.peers.tables import make_table
from benchmarks.peers.venvs import venv_python


def as_shipped(job: Job) -> AbstractContextManager[Program]:
    """`KafkaIOManager` as it is: at most 20 polls, thus 20 messages, a materialization."""
    note = (
        "KafkaIOManager, max_messages 10,000, but its load_input stops after 20 polls and sleeps 2 s first, so 20 messages "
        "a materialization; in-process materializations in a row, no run launch between; to_sql(method='multi')"
    )
    return _program("dagster-kafka", "io-manager", note, job)


def unlimited(job: Job) -> AbstractContextManager[Program]:
    """Its `KafkaResource`'s consumer polled by the asset itself, as the IO manager polls but without its limit."""
    note = (
        "KafkaResource's consumer, polled message by message like the IO manager but without its limit of 20, its sleep and "
        "its log line per message: 10,000 messages a materialization; to_sql(method='multi', chunksize=1000)"
    )
    return _program("dagster-kafka-unlimited", "resource", note, job)


@contextmanager
def _program(peer: str, way: str, note: str, job: Job) -> Iterator[Program]:
    python = venv_python("dagster-kafka")
    make_table(job.database_url, job.table)
    with tempfile.TemporaryDirectory() as home:
        yield Program(
            peer,
            [str(python), program("dagster_kafka_load.py")],
            job.table,
            note,
            environment={
                **job.environment(peer),
                "PEER_WAY": way,
                "DAGSTER_HOME": home,
                "DAGSTER_DISABLE_TELEMETRY": "yes",
            },
        )
