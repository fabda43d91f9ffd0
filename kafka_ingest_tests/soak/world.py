"""Servers behind proxies, a real `dagster dev` and a producer that never stops: what a soak breaks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from confluent_kafka.admin import AdminClient, NewTopic

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest_tests.e2e.check import ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.production import Production
from kafka_ingest_tests.e2e.proxied import ProxiedKafka, proxied_kafka, through
from kafka_ingest_tests.e2e.proxy import FaultProxy
from kafka_ingest_tests.e2e.streams import environment

TOPIC = "soak"
PARTITIONS = 4
PROCESSES = {"daemon": "dagster._daemon", "code server": "api grpc"}


class World:
    """Made by `world()`."""

    def production(self, rate: int, seed: int) -> Production:
        """Of its topic, past the proxy."""
        return Production(self.kafka.broker.bootstrap_servers, TOPIC, self.truth, rate=rate, seed=seed)

    def __init__(self, kafka: ProxiedKafka, database: LocalDatabase, database_proxy: FaultProxy, home: Path) -> None:
        self.kafka, self.database, self.database_proxy = kafka, database, database_proxy
        self.truth = Truth()
        self.url = database.url()
        environ = environment(kafka.bootstrap_servers, through(self.url, database_proxy), TOPIC)
        self.dagster = DagsterDev(home, environ)

    @property
    def loaded(self) -> int:
        """Offsets in the ledger, read without the proxy."""
        return ledger_total(self.url)

    def process(self, what: str) -> psutil.Process | None:
        """The daemon or the code server: the oldest process with its name."""
        found = []
        for each in self.dagster.children():
            try:
                if PROCESSES[what] in " ".join(each.cmdline()):
                    found.append(each)
            except psutil.Error:
                continue  # it has just ended
        return min(found, key=lambda p: p.create_time(), default=None)

    def run_processes(self) -> list[int]:
        """Process ids of the runs under way."""
        tags = [r["tags"].get("kafka_ingest/process") for r in self.dagster.runs() if r["status"] == "STARTED"]
        return [int(tag.rsplit(":", 2)[1]) for tag in tags if tag]

    def restart_dagster(self) -> None:
        """What a service manager does. `dagster dev` may have ended by itself, with one of its processes."""
        process = self.dagster._process
        if process is not None and process.poll() is None:
            self.dagster.kill_everything()
        self.dagster.__enter__()


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    with ExitStack() as stack:
        kafka = stack.enter_context(proxied_kafka(folder / "kafka"))
        database = LocalDatabase.start("mysql", folder / "mysql")
        stack.callback(database.stop)
        proxy = stack.enter_context(FaultProxy(database.port))
        admin = AdminClient({"bootstrap.servers": kafka.broker.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config={"retention.ms": "-1"})])[TOPIC].result(30)
        found = World(kafka, database, proxy, folder / "dagster")
        stack.enter_context(found.dagster)
        yield found
