"""A deployment over several hosts: Dagster with PostgreSQL and Celery's run launcher, and workers on hosts of their own.

What it needs besides (`make hosts` installs it): root, iproute2, a Redis server, dagster-celery, dagster-postgres, redis.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.local.ports import LOOPBACK, free_port, port_answers
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.e2e.dagster_services import DagsterServices
from kafka_ingest_tests.e2e.hosts import Host, Network

RUNS_A_WORKER = 6
EXECUTOR_VARIABLE = "KAFKA_INGEST_TEST_CELERY"
"""JSON: the configuration of Celery's executor, for `celery_steps`."""
# What docs/deployment.md tells people to set, and why.
CELERY = {
    "worker_prefetch_multiplier": 1,
    "worker_max_tasks_per_child": 1,
    "broker_transport_options": {"visibility_timeout": 7200},
}


@dataclass(frozen=True, slots=True)
class Servers:
    """What the hosts reach over the network, and the tests do, too."""

    network: Network
    kafka: LocalKafka
    bootstrap_servers: str
    mysql: LocalDatabase
    postgresql: LocalPostgreSQL
    redis_port: int

    def fresh_database(self) -> str:
        """URL of an empty database, by an address that nothing else has."""
        url = sa.make_url(fresh_database(self.mysql)).set(host=self.network.database)
        self.mysql.run_as_administrator(f"GRANT ALL PRIVILEGES ON `{url.database}`.* TO '{url.username}'@'%'")
        return url.render_as_string(hide_password=False)

    def broker(self) -> str:
        """Of Celery."""
        return f"redis://{self.network.servers}:{self.redis_port}/0"

    def dagster_settings(self, *, launcher: str = "celery", result_backend: str | None = None) -> str:
        """For dagster.yaml: storage, and runs on Celery's workers or (`default`) below the code server."""
        url = sa.make_url(fresh_database(self.postgresql))
        storage = {"scheme": "postgresql+psycopg2", "hostname": self.network.servers, "port": self.postgresql.port}
        storage |= {"username": url.username, "password": url.password, "db_name": url.database}
        settings: dict[str, Any] = {"storage": {"postgres": {"postgres_db": storage}}}
        if launcher == "celery":
            config = {"broker": self.broker(), "backend": result_backend or self.broker(), "config_source": CELERY}
            settings["run_launcher"] = {
                "module": "dagster_celery.launcher",
                "class": "CeleryRunLauncher",
                "config": config,
            }
        return str(yaml.safe_dump(settings))


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """A network with Kafka, MySQL, PostgreSQL and Redis on it."""
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        kafka, outer = _kafka(folder / "kafka", network)
        stack.callback(kafka.stop)
        mysql = LocalDatabase.start(
            "mysql", folder / "mysql", options={"bind-address": f"{LOOPBACK},{network.database}"}
        )
        stack.callback(mysql.stop)
        account = sa.make_url(mysql.url())
        mysql.run_as_administrator(f"CREATE USER '{account.username}'@'%' IDENTIFIED BY '{account.password}'")
        postgresql = LocalPostgreSQL.start(
            "postgresql", folder / "postgresql", options={"listen_addresses": f"{LOOPBACK},{network.servers}"}
        )
        stack.callback(postgresql.stop)
        with (postgresql.data_dir / "data" / "pg_hba.conf").open("a") as allowed:
            allowed.write(f"host all all {network.addresses} scram-sha-256\n")
        postgresql.run_as_administrator("SELECT pg_reload_conf()")
        port = stack.enter_context(_redis(folder / "redis", network))
        yield Servers(network, kafka, f"{network.servers}:{outer}", mysql, postgresql, port)


def _kafka(folder: Path, network: Network) -> tuple[LocalKafka, int]:
    """A broker with a second listener on the network, and that one's port."""
    direct, outer, controller = (free_port() for _ in range(3))
    names = {f"BROKER://{LOOPBACK}:{direct}", f"NETWORK://{network.servers}:{outer}"}
    properties = {
        "listeners": ",".join([*sorted(names), f"CONTROLLER://{LOOPBACK}:{controller}"]),
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller}",
        "advertised.listeners": ",".join(sorted(names)),
        "listener.security.protocol.map": "BROKER:PLAINTEXT,NETWORK:PLAINTEXT,CONTROLLER:PLAINTEXT",
    }
    return LocalKafka.start(folder, port=direct, properties=properties), outer


@contextmanager
def _redis(folder: Path, network: Network) -> Iterator[int]:
    program = shutil.which("redis-server")
    assert program is not None, "redis-server is missing: apt-get install redis-server (make hosts does it)"
    folder.mkdir()
    port = free_port()
    addresses = ["--bind", LOOPBACK, network.servers, "--protected-mode", "no"]
    command = [program, "--port", str(port), *addresses, "--save", "", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + 20
        while not port_answers(port):
            assert process.poll() is None, (folder / "redis.log").read_text()
            assert time.monotonic() < deadline, "Redis does not answer"
            time.sleep(0.1)
        try:
            yield port
        finally:
            process.kill()


class CeleryDeployment(DagsterServices):
    """Code server and daemon here, two workers on hosts of their own, whose disks have nothing of Dagster's but its settings."""

    def __init__(self, folder: Path, found: Servers, environ: Mapping[str, str], **options: str) -> None:
        """options: of `DagsterServices`."""
        self._folder, self._servers = folder, found
        options = {"settings": found.dagster_settings()} | options
        super().__init__(folder / "dagster", environ, host=None, **options)
        self.hosts: list[Host] = []

    def __enter__(self) -> CeleryDeployment:
        super().__enter__()
        self._configure_workers()
        try:
            for number in range(2):
                disk = self._folder / f"disk-{number}"
                disk.mkdir()
                shutil.copy(self.home / "dagster.yaml", disk)
                host = self._servers.network.host(f"worker-{number}", own={self.home: disk})
                self.hosts.append(host)
                self.start_worker(host)
        except BaseException:
            self.stop()
            raise
        return self

    def start_worker(self, host: Host) -> None:
        """Celery's on the host, as `dagster-celery worker start` starts it."""
        celery = [sys.executable, "-m", "celery", "-A", "dagster_celery.app", "worker", "--prefetch-multiplier=1"]
        options = ["-n", f"{host.name}@%h", "-c", str(RUNS_A_WORKER), "--loglevel", "INFO"]
        self.launch(host.name, host.command([*celery, *options]))

    def stop(self) -> None:
        for host in self.hosts:
            host.resume()
            host.vanish()
            if host.name in self._processes:
                self.forget(host.name)
        super().stop()

    def host_of(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def _configure_workers(self) -> None:
        """The module that `dagster-celery worker start -y` writes of a YAML file."""
        folder = self._folder / "celery"
        folder.mkdir()
        settings = {"broker_url": self._servers.broker(), "result_backend": self._servers.broker(), **CELERY}
        text = "".join(f"{name} = {value!r}\n" for name, value in settings.items())
        (folder / "dagster_celery_config.py").write_text(text)
        self.environ["PYTHONPATH"] = f"{self.environ['PYTHONPATH']}:{folder}"
