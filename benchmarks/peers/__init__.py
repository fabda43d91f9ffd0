"""Other ways to bring the same Kafka topic into the same MySQL, each measured as its own process. See README.md here.

    python -m benchmarks.peers --messages 100000 [--only faust-10,spark,…] [--freshness 60] [--json FILE]

Every peer is a function of PEERS with the signature of `Peer`: it makes its own table and says which program to start. What is
measured of them, our own program included, is measured in one way: `load` for a topic that waits, `freshness` for one that flows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from benchmarks.peers import connect, dagster_kafka, faust, flink, ours, spark
from benchmarks.peers.job import Job
from benchmarks.peers.program import Peer
from benchmarks.peers.result import NotMeasured, Result
from benchmarks.peers.watch import measure

PEERS: Mapping[str, Peer] = {
    "kafka_ingest": ours.dagster_dev,
    "faust-10": partial(faust.take, batch=10),  # as it was
    "faust-1000": partial(faust.take, batch=1_000),
    "dagster-kafka": dagster_kafka.as_shipped,
    "dagster-kafka-unlimited": dagster_kafka.unlimited,
    "connect": connect.standalone,
    "connect-distributed": connect.distributed,
    "flink": flink.sql,
    "spark": spark.structured_streaming,
}


def load(name: str, job: Job) -> Result:
    """The peer's load of the job's topic, as `measure`; whatever it has started is ended then."""
    with PEERS[name](job) as program:
        return measure(program, job)


__all__ = ["PEERS", "Job", "NotMeasured", "Peer", "Result", "load"]
