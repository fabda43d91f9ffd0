"""What the local brokers have in common, Apache Kafka and its stand-in: their address and how they are proven ready."""

from __future__ import annotations

from kafka_ingest.local.kafka_probe import broker_answers, probe_broker
from kafka_ingest.local.ports import LOOPBACK
from kafka_ingest.local.server import LocalServer


class LocalBroker(LocalServer):
    """A local server that speaks Kafka's protocol."""

    @property
    def bootstrap_servers(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"{LOOPBACK}:{self.port}"

    def _check_ready(self) -> bool:
        if not broker_answers(self.bootstrap_servers):
            return False
        probe_broker(self.bootstrap_servers)
        return True
