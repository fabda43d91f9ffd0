"""Real servers for a benchmark: one Apache Kafka and one database, stopped with their data when it ends."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.sinks.registry import local_server

TOPIC_SECONDS = 120


@dataclass(frozen=True)
class Servers:
    """Both, and a folder for what else the benchmark writes."""

    folder: Path
    kafka: LocalKafka
    database: LocalDatabaseServer

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap_servers

    def create_topics(self, partitions: dict[str, int], **config: str) -> None:
        """Topics by name with so many partitions each; `config` with `_` for `.`."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        settings = {name.replace("_", "."): value for name, value in config.items()}
        wanted = [NewTopic(name, count, 1, config=settings) for name, count in partitions.items()]
        for made in admin.create_topics(wanted, operation_timeout=TOPIC_SECONDS).values():
            made.result(TOPIC_SECONDS)

    def environment(self, database: str, streams: str) -> dict[str, str]:
        """What Dagster needs to load these streams into a database of that name, which is made."""
        self.database.create_database(database)
        return {
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap,
            "KAFKA_INGEST_DATABASE_URL": self.database.url(database),
            "KAFKA_INGEST_STREAMS": streams,
        }


@contextmanager
def database_server(kind: str) -> Iterator[LocalDatabaseServer]:
    """A database alone, of a kind with a local server; stopped and deleted at the end."""
    server_class = local_server(kind)
    assert server_class is not None
    with tempfile.TemporaryDirectory() as folder:
        server = server_class.start(kind, Path(folder))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def servers(database: str = "mysql") -> Iterator[Servers]:
    """Started now, stopped and deleted at the end, also when this process is told to end. database: one with a local server."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        kafka = LocalKafka.start(folder / "kafka", progress=print)
        running.callback(kafka.stop)
        server_class = local_server(database)
        assert server_class is not None
        store = server_class.start(database, folder / database, progress=print)
        running.callback(store.stop)
        yield Servers(folder, kafka, store)
