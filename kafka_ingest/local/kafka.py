"""A real Apache Kafka broker: one node, KRaft, loopback only."""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from kafka_ingest.local.broker import LocalBroker
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, read_json, silent, write_private, write_private_json
from kafka_ingest.local.java import find_java, kafka_jars, kafka_version
from kafka_ingest.local.ports import LOOPBACK, free_port

FORMAT_TIMEOUT_SECONDS = 120
JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


class LocalKafka(LocalBroker):
    """A broker on 127.0.0.1 whose topics live in `data_dir`; its log is `data_dir/kafka.log`."""

    title = "Apache Kafka"

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        port: int | None = None,
        properties: Mapping[str, str] | None = None,
        progress: Progress = silent,
    ) -> LocalKafka:
        """Start a broker on `data_dir`, or attach to the one that already runs there; returns when it passed its probe.

        `port`: without one, the folder's last port if it is free, else a new one. `properties` are added to
        server.properties and win. Downloads Kafka on first use. LocalServerError when Java or Maven is missing, the
        broker ends or fails its probe (with the end of its log), or one with other properties runs there.
        """
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        java, java_major = find_java()
        jars = kafka_jars(progress)
        kafka = cls(data_dir, name="kafka", version=kafka_version(), settings=properties or {})
        kafka.java_major = java_major
        kafka._java = [java, *JVM_OPTIONS, "-cp", f"{jars}/*"]
        kafka._bring_up(port, progress)
        return kafka

    java_major: int
    """The major version of the Java it runs on."""
    _java: list[str]

    def _launch(self) -> int:
        config = self.data_dir / "server.properties"
        write_private(config, self._config_text(controller_port=free_port()))
        self._format(config)
        return self._process.spawn([*self._java, "kafka.Kafka", str(config)])

    def _format(self, config: Path) -> None:
        """Give the log folder its cluster id, once; a folder that was formatted keeps its data."""
        if (self.data_dir / "data" / "meta.properties").exists():
            return
        cluster_file = self.data_dir / "cluster.json"
        cluster_id = read_json(cluster_file).get("cluster_id") or _new_cluster_id()
        write_private_json(cluster_file, {"cluster_id": cluster_id})
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", str(cluster_id), "-c", str(config)]
        answer = subprocess.run(
            [*self._java, *tool], capture_output=True, text=True, check=False, timeout=FORMAT_TIMEOUT_SECONDS
        )
        if answer.returncode != 0:
            raise LocalServerError(f"Kafka could not format {self.data_dir / 'data'}:\n{answer.stdout}{answer.stderr}")

    def _config_text(self, controller_port: int) -> str:
        values = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
            "listeners": f"BROKER://{LOOPBACK}:{self.port},CONTROLLER://{LOOPBACK}:{controller_port}",
            "advertised.listeners": f"BROKER://{LOOPBACK}:{self.port}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir / "data"),
            "auto.create.topics.enable": "false",
            # Retention goes by the records' own timestamps: fixtures with old dates would vanish within seconds.
            "log.retention.ms": "-1",
            "group.initial.rebalance.delay.ms": "0",
            # One broker holds every replica; one partition is enough and saves a hundred open files.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # After a SIGKILL the controller refuses the new broker until the old one's session ends (default 9 s).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Sized for a 512 MiB heap and two cores.
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "16777216",
            **self._settings,
        }
        lines = (f"{key}={value}".replace("\\", "\\\\").replace("\n", "\\n") for key, value in values.items())
        return "\n".join(lines) + "\n"


def _new_cluster_id() -> str:
    """A random UUID in Kafka's form: 22 characters of unpadded URL-safe base64 that do not begin with '-'."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
