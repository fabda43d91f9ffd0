"""Real servers behind a proxy, and runs over them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import LOOPBACK, free_port
from kafka_ingest.settings import Settings
from kafka_ingest.slices import LoadResult
from kafka_ingest.streams.information import STREAM as DECLARED
from kafka_ingest.streams.stream import BatchPolicy, Stream
from kafka_ingest_tests.e2e.proxy import FaultProxy


@dataclasses.dataclass(frozen=True, slots=True)
class ProxiedKafka:
    """A broker with two listeners: one for the tests themselves, one whose address is the proxy's."""

    broker: LocalKafka
    proxy: FaultProxy

    @property
    def bootstrap_servers(self) -> str:
        """Through the proxy. What the broker says of itself there leads through the proxy, too."""
        return f"{LOOPBACK}:{self.proxy.port}"


@contextmanager
def proxied_kafka(folder: Path) -> Iterator[ProxiedKafka]:
    """A broker whose second listener advertises a proxy's address, as a broker behind NAT does."""
    direct, hidden, controller, outer = (free_port() for _ in range(4))
    properties = {
        "listeners": f"BROKER://{LOOPBACK}:{direct},PROXIED://{LOOPBACK}:{hidden},CONTROLLER://{LOOPBACK}:{controller}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "advertised.listeners": f"BROKER://{LOOPBACK}:{direct},PROXIED://{LOOPBACK}:{outer}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    broker = LocalKafka.start(folder, port=direct, properties=properties)
    try:
        with FaultProxy(hidden, port=outer) as proxy:
            yield ProxiedKafka(broker, proxy)
    finally:
        broker.stop()


def through(url: str, proxy: FaultProxy, **options: str) -> str:
    """The database URL by way of the proxy; `options` are the driver's (`read_timeout`)."""
    changed = sa.make_url(url).set(port=proxy.port).update_query_dict(options)
    return changed.render_as_string(hide_password=False)


def settings_of(bootstrap_servers: str, url: str, **more: str) -> Settings:
    environ = {"KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "KAFKA_INGEST_DATABASE_URL": url}
    return Settings.from_environment(environ | more)


def stream_on(topic: str, **policy: float) -> Stream:
    """The example stream on this topic; small slices, no waiting."""
    batch = BatchPolicy(**{"max_rows": 200, "max_wait_seconds": 0, "linger_seconds": 0} | policy)  # type: ignore[arg-type]
    return dataclasses.replace(DECLARED, topics=topic, batch=batch)


@contextmanager
def opened(
    stream: Stream, settings: Settings, *, run_id: str = "run", at_step: Callable[[str], None] = lambda _step: None
) -> Iterator[Ingestion]:
    ingestion = Ingestion(stream, settings, run_id=run_id, at_step=at_step)
    try:
        yield ingestion
    finally:
        ingestion.close()


def run_once(
    stream: Stream, settings: Settings, *, run_id: str = "run", at_step: Callable[[str], None] = lambda _step: None
) -> list[LoadResult]:
    """One whole run until caught up, as the ops do it but without their retries; errors leave it."""
    with opened(stream, settings, run_id=run_id, at_step=at_step) as ingestion:
        batch = dataclasses.replace(ingestion.plan((), "live"), until_caught_up=True)
        first = ingestion.load(ingestion.apply_steps(ingestion.read(batch)), "live")
        ingestion.commit(first.next_offsets)
        return [first, *ingestion.drain(batch)]
