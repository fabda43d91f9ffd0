"""Other ways to bring the same Kafka topic into the same MySQL, each measured as its own process. See README.md here.

    python -m benchmarks.peers --messages 100000 [--only faust-10,faust-1000,…] [--json FILE]

Every peer is a function of PEERS with the signature of `Load`. It makes its own table, starts its programs, waits until
the topic's rows are visible in MySQL or its time is up, and ends everything it started.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Protocol

from benchmarks.peers import connect, dagster_kafka, faust
from benchmarks.peers.job import Job
from benchmarks.peers.result import NotMeasured, Result


class Load(Protocol):
    def __call__(self, job: Job) -> Result:
        """Raises NotMeasured where the peer cannot be had or does not work, saying why."""


PEERS: Mapping[str, Load] = {
    "faust-10": partial(faust.load, batch=10),  # as it was
    "faust-1000": partial(faust.load, batch=1_000),
    "dagster-kafka": dagster_kafka.load_as_shipped,
    "dagster-kafka-unlimited": dagster_kafka.load_unlimited,
    "connect": connect.load,
}

__all__ = ["PEERS", "Job", "Load", "NotMeasured", "Result"]
