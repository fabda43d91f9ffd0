"""Kafka Connect with the Debezium JDBC sink: one worker alone, or two that share the tasks."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks.peers.jdbc import jdbc_url
from benchmarks.peers.job import Job
from benchmarks.peers.program import Program, program
from benchmarks.peers.result import NotMeasured
from benchmarks.peers.tables import make_table
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import build_once, silent, write_private, write_private_json
from kafka_ingest.local.java import find_java, kafka_version, resolve_jars
from kafka_ingest.local.ports import LOOPBACK, free_port

# Heap as in Kafka's own connect-standalone.sh; the collector is the JVM's own choice.
JVM_OPTIONS = (
    "-Xms256m",
    "-Xmx2g",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


WORKERS = 2


@dataclass(frozen=True)
class Tuning:
    """What was varied to find its best (README.md)."""

    batch_size: int = 5_000
    poll_records: int = 5_000
    tasks: int = 4


_TEXT = {"type": "string", "optional": True}
# A sink that writes columns needs a schema. It is given once, here, and not with every message (KIP-1054), so Connect reads
# the same bytes as everybody else. Fields that it does not name are left out: `tags`, as the sink has no type for an
# array in MySQL, and `type`. Dates are text: Connect's TimestampConverter knows one format a column.
SCHEMA: Mapping[str, Any] = {
    "type": "struct",
    "optional": False,
    "fields": [
        {"field": "id", "type": "string", "optional": False},
        {"field": "title", **_TEXT},
        {"field": "content", **_TEXT},
        {
            "field": "source",
            "type": "struct",
            "optional": True,
            "fields": [{"field": "name", **_TEXT}, {"field": "url", **_TEXT}],
        },
        {"field": "language", **_TEXT},
        {"field": "score", "type": "int32", "optional": True},
        {"field": "isOriginal", "type": "boolean", "optional": True},
        {"field": "publishTime", **_TEXT},
        {"field": "crawlTime", **_TEXT},
    ],
}
RENAMES = "source_name:source,source_url:url,isOriginal:is_original,publishTime:publish_time,crawlTime:crawl_time"


@contextmanager
def standalone(job: Job, *, tuning: Tuning | None = None) -> Iterator[Program]:
    """One Connect worker; see `Peer`. tuning: only to try others than the best one found."""
    tuning = tuning or Tuning()
    with tempfile.TemporaryDirectory() as folder, _had("connect"):
        command = connect_command(Path(folder), job.bootstrap, _connector(job, tuning))
        yield _program("connect", command, job, tuning, "standalone")


@contextmanager
def distributed(job: Job) -> Iterator[Program]:
    """Two workers of one Connect cluster on this machine, each with half of the tasks; see `Peer`."""
    peer = "connect-distributed"
    with tempfile.TemporaryDirectory() as name, _had(peer):
        folder, tuning = Path(name), Tuning()
        java, _ = find_java()
        worker = _worker(job.bootstrap) | _shared(f"peer-{uuid.uuid4().hex[:8]}")
        files = []
        for number in range(WORKERS):
            files.append(folder / f"worker-{number}.properties")
            write_private(files[-1], _properties(worker | {"listeners": f"http://{LOOPBACK}:{free_port()}"}))
        connector = _connector(job, tuning)
        write_private_json(folder / "connector.json", connector)
        main = "org.apache.kafka.connect.cli.ConnectDistributed"
        worker_command = [java, *JVM_OPTIONS, "-cp", f"{connect_jars()}/*", main]
        command = [sys.executable, program("connect_cluster.py"), str(folder), *worker_command]
        yield _program(peer, command, job, tuning, f"distributed, {WORKERS} workers")


@contextmanager
def _had(peer: str) -> Iterator[None]:
    try:
        yield
    except LocalServerError as error:
        raise NotMeasured(f"{peer}: {error}") from error


def _program(peer: str, command: list[str], job: Job, tuning: Tuning, mode: str) -> Program:
    make_table(job.database_url, job.table, text_dates=True)
    return Program(
        peer,
        command,
        job.table,
        f"Kafka Connect {kafka_version()} {mode}, Debezium JDBC sink, {tuning.tasks} tasks, batch.size {tuning.batch_size:,}, "
        f"max.poll.records {tuning.poll_records:,}, rewriteBatchedStatements; dates stay text, tags are left out",
    )


def connect_command(
    folder: Path, bootstrap: str, connector: Mapping[str, str], *, worker: Mapping[str, str] | None = None
) -> list[str]:
    """The command of a standalone worker with this one connector, whose files are written to `folder`.

    worker: settings of the worker beside its own, or in their place.
    Raises LocalServerError where there is no Java, or as `connect_jars`.
    """
    java, _ = find_java()
    jars = connect_jars()
    worker_file, connector_file = folder / "worker.properties", folder / "connector.properties"
    alone = {"offset.storage.file.filename": str(folder / "offsets"), "listeners": f"http://{LOOPBACK}:{free_port()}"}
    write_private(worker_file, _properties({**_worker(bootstrap), **alone, **(worker or {})}))
    write_private(connector_file, _properties(connector))
    main = "org.apache.kafka.connect.cli.ConnectStandalone"
    return [java, *JVM_OPTIONS, "-cp", f"{jars}/*", main, str(worker_file), str(connector_file)]


def jdbc_sink(topic: str, database_url: str, table: str) -> dict[str, str]:
    """The settings of any connector from this topic into this table of MySQL, which is there already."""
    url = sa.make_url(database_url)
    return {
        # The consumer group is named after it: a new one reads the topic from its start.
        "name": f"peer-{uuid.uuid4().hex[:8]}",
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "topics": topic,
        "connection.url": jdbc_url(url),
        "connection.username": url.username or "",
        "connection.password": url.password or "",
        "collection.name.format": table,
        "schema.evolution": "none",
    }


def _worker(bootstrap: str) -> dict[str, str]:
    return {
        "bootstrap.servers": bootstrap,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "connector.client.config.override.policy": "All",
        # All plugins here have manifests; scanning every class of the jars only delays the start.
        "plugin.discovery": "service_load",
    }


def _shared(cluster: str) -> dict[str, str]:
    """What makes workers one cluster: topics for what a worker alone keeps in files. One broker, so no copies of them."""
    settings = {"group.id": cluster}
    for kind in ("config", "offset", "status"):
        settings |= {f"{kind}.storage.topic": f"{cluster}-{kind}", f"{kind}.storage.replication.factor": "1"}
    return settings | {"offset.storage.partitions": "1", "status.storage.partitions": "1"}


def _connector(job: Job, tuning: Tuning) -> dict[str, str]:
    return {
        **jdbc_sink(job.topic, job.database_url, job.table),
        "tasks.max": str(tuning.tasks),
        "insert.mode": "insert",
        "primary.key.mode": "none",
        "batch.size": str(tuning.batch_size),
        "consumer.override.max.poll.records": str(tuning.poll_records),
        # Room for that many messages of a few hundred bytes in one fetch.
        "consumer.override.max.partition.fetch.bytes": str(8 * 1024 * 1024),
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(SCHEMA),
        "transforms": "flatten,rename",
        "transforms.flatten.type": "org.apache.kafka.connect.transforms.Flatten$Value",
        "transforms.flatten.delimiter": "_",
        "transforms.rename.type": "org.apache.kafka.connect.transforms.ReplaceField$Value",
        "transforms.rename.renames": RENAMES,
    }


def _properties(values: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n".replace("\\", "\\\\") for key, value in values.items())


def connect_jars() -> Path:
    """The folder with Connect, the sink, the driver and all they need, downloaded once (about 70 MB).

    Raises LocalServerError where it is not in the cache and Maven is missing or fails.
    """
    pom = Path(__file__).with_name("connect-pom.xml").read_text().replace("@KAFKA_VERSION@", kafka_version())
    digest = hashlib.sha256(pom.encode()).hexdigest()[:10]
    return build_once(
        f"connect-{kafka_version()}-{digest}",
        lambda folder: resolve_jars("Kafka Connect", pom, folder, "debezium-connector-jdbc-*.jar", silent),
    )
