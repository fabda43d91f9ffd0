"""dagster-kafka (PyPI): its IO manager reads a topic into a list, an asset writes a DataFrame of it with `to_sql`."""

from __future__ import annotations

import tempfile

from benchmarks.peers.job import Job
from benchmarks.peers.result import Result
from benchmarks.peers.tables import REQUIRED, make_table
from benchmarks.peers.venvs import venv_python
from benchmarks.peers.watch import measure, program


def load_as_shipped(job: Job) -> Result:
    """`KafkaIOManager` as it is: at most 20 polls, thus 20 messages, a materialization."""
    note = (
        "KafkaIOManager, max_messages 10,000, but its load_input stops after 20 polls and sleeps 2 s first, so 20 messages "
        "a materialization; in-process materializations in a row, no run launch between; to_sql(method='multi')"
    )
    return _load("dagster-kafka", "io-manager", note, job)


def load_unlimited(job: Job) -> Result:
    """Its `KafkaResource`'s consumer polled by the asset itself, as the IO manager polls but without its limit."""
    note = (
        "KafkaResource's consumer, polled message by message like the IO manager but without its limit of 20, its sleep and "
        "its log line per message: 10,000 messages a materialization; to_sql(method='multi', chunksize=1000)"
    )
    return _load("dagster-kafka-unlimited", "resource", note, job)


def _load(peer: str, way: str, note: str, job: Job) -> Result:
    python = venv_python("dagster-kafka")
    make_table(job.database_url, job.table)
    with tempfile.TemporaryDirectory() as home:
        return measure(
            peer,
            [str(python), program("dagster_kafka_load.py")],
            job,
            environment={
                **job.environment(peer),
                "PEER_WAY": way,
                "DAGSTER_HOME": home,
                "DAGSTER_DISABLE_TELEMETRY": "yes",
            },
            note=note,
            required=REQUIRED,
        )
