"""Other ways to bring the same Kafka topic into the same MySQL, each measured as its own process. See README.md here.

    python -m benchmarks.peers --messages 100000 [--only faust-10,faust-1000,…] [--json FILE]

Every peer is a function of PEERS with the signature of `Load`. It makes its own table, starts its programs, waits until
the topic's rows are visible in MySQL or its time is up, and ends everything it started.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from benchmarks.peers import connect, dagster_kafka, faust
from benchmarks.peers.result import NotMeasured, Result


class Load(Protocol):
    def __call__(
        self, bootstrap: str, topic: str, database_url: str, table: str, messages: int, *, cap_seconds: float = ...
    ) -> Result:
        """Load the topic's first `messages` messages into the new table `table` (one of that name is dropped).

        topic: `messages` messages of the stream `information`, all of type `information`, all good.
        cap_seconds: from the process's start; a slower peer is stopped then and its rate taken over what it loaded.

        Raises NotMeasured where the peer cannot be had or does not work, saying why.
        """


PEERS: Mapping[str, Load] = {
    "faust-10": faust.load_10,
    "faust-1000": faust.load_1000,
    "dagster-kafka": dagster_kafka.load_as_shipped,
    "dagster-kafka-unlimited": dagster_kafka.load_unlimited,
    "connect": connect.load,
}

__all__ = ["PEERS", "Load", "NotMeasured", "Result"]
