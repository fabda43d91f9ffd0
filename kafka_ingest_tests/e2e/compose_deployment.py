"""The deployment of docs/compose as a user starts it, on a Docker of the tests' own.

Image, commands, environment, user, files and network are those of the compose file. In place of the images of its four servers,
which cannot be pulled, containers of their names hand connections on to the tests' servers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
import yaml

from kafka_ingest_tests.e2e.celery_deployment import Servers
from kafka_ingest_tests.e2e.child import REPOSITORY
from kafka_ingest_tests.e2e.python_image import import_python_image

COMPOSE = REPOSITORY / "docs" / "compose"
WEB_PORT = 3000
"""Of this machine, as the file has it."""
_PROJECT = "kafka-ingest-tests"
_FORWARDER = "/opt/kafka-ingest/kafka_ingest_tests/e2e/forwarder.py"  # the image has the clone
_STORAGE = "dagster"
"""User and database of Dagster's storage."""


class ComposeDeployment:
    """`with ComposeDeployment(folder, docker, socket, servers) as deployment: …`: built, started, and every service answers."""

    def __init__(self, folder: Path, docker: Any, socket: str, servers: Servers) -> None:
        """docker: a client of the daemon behind this socket (value of DOCKER_HOST)."""
        self._folder, self._docker, self._servers = folder, docker, servers
        account = sa.make_url(servers.mysql.url())
        self._environ = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ} | {
            "DOCKER_HOST": socket,
            "MYSQL_PASSWORD": str(account.password),
            "DAGSTER_PG_PASSWORD": "storage",
        }
        self._override = folder / "override.yaml"

    def __enter__(self) -> ComposeDeployment:
        (base,) = re.findall(r"^FROM (\S+)$", (COMPOSE / "Dockerfile").read_text(), re.MULTILINE)
        import_python_image(self._docker, base, self._folder)
        self._admit()
        self._override.write_text(yaml.safe_dump(self._changes()))
        try:
            self.compose("build")
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def up(self) -> None:
        """All containers that the file asks for; one that has stopped is started again."""
        self.compose("up", "-d")
        self.wait_for(lambda: self.health("code") == {"healthy"}, 180, "a healthy code server")

    def down(self) -> None:
        """Containers, volumes and network go; a worker is not waited for."""
        self.compose("down", "--volumes", "--timeout", "5")

    def compose(self, *arguments: str) -> str:
        """Docker Compose with the deployment's file; its output."""
        done = self.start(*arguments)
        said, _ = done.communicate(timeout=1_800)
        assert done.returncode == 0, f"docker compose {' '.join(arguments)}: {said[-6_000:]}"
        return said

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        files = ["-f", str(COMPOSE / "compose.yaml"), "-f", str(self._override), "-p", _PROJECT]
        return subprocess.Popen(
            [*_program(), *files, *arguments],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def containers(self, service: str) -> list[Any]:
        """Those of a service that run."""
        labels = [f"com.docker.compose.project={_PROJECT}", f"com.docker.compose.service={service}"]
        found: list[Any] = self._docker.containers.list(filters={"label": labels})
        return found

    def health(self, service: str) -> set[str]:
        """What Docker says of the service's containers."""
        return {each.attrs["State"]["Health"]["Status"] for each in self.containers(service)}

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> float:
        """Poll until `condition()` is true; the seconds it took."""
        begun = time.monotonic()
        while not condition():
            assert time.monotonic() - begun < seconds, f"waited {seconds:.0f} s for {what}: {self.tail()}"
            time.sleep(0.5)
        return time.monotonic() - begun

    def tail(self) -> str:
        return self.compose("ps") + self.compose("logs", "--tail=25")

    def _admit(self) -> None:
        """The servers take the accounts of the compose file, from addresses of Docker's choice."""
        url = sa.make_url(self._servers.mysql.url())
        self._servers.mysql.run_as_administrator(f"GRANT ALL PRIVILEGES ON `{url.database}`.* TO '{url.username}'@'%'")
        postgresql, password = self._servers.postgresql, self._environ["DAGSTER_PG_PASSWORD"]
        postgresql.run_as_administrator(f"CREATE ROLE {_STORAGE} LOGIN PASSWORD '{password}'")
        postgresql.run_as_administrator(f"CREATE DATABASE {_STORAGE} OWNER {_STORAGE}")
        with (postgresql.data_dir / "data" / "pg_hba.conf").open("a") as allowed:
            allowed.write(f"host {_STORAGE} {_STORAGE} 0.0.0.0/0 scram-sha-256\n")
        postgresql.run_as_administrator("SELECT pg_reload_conf()")

    def _changes(self) -> dict[str, Any]:
        """What the compose file does not say."""
        found, network = self._servers, self._servers.network
        kafka_host, _, kafka_port = found.bootstrap_servers.partition(":")
        places = {
            "kafka": (9092, kafka_host, kafka_port),
            "mysql": (3306, network.database, str(found.mysql.port)),
            "postgresql": (5432, network.servers, str(found.postgresql.port)),
            "redis": (6379, network.servers, str(found.redis_port)),
        }
        services: dict[str, Any] = {
            name: {
                "image": "kafka-ingest:latest",
                "command": ["python", _FORWARDER, str(port), host, port_there],
                "init": True,
                "healthcheck": {"test": ["CMD", "true"], "interval": "1s"},
            }
            for name, (port, host, port_there) in places.items()
        }
        # The daemon has no bridge by itself, on which images are built otherwise.
        services["code"] = {"build": {"network": "host"}}
        return {"services": services}


def _program() -> list[str]:
    """`docker compose`, or `docker-compose`, which is all that older distributions have."""
    plugin = shutil.which("docker")
    if plugin and subprocess.run([plugin, "compose", "version"], capture_output=True, check=False).returncode == 0:
        return [plugin, "compose"]
    program = shutil.which("docker-compose")
    assert program is not None, "docker-compose is missing: apt-get install docker-compose (make hosts does it)"
    return [program]
