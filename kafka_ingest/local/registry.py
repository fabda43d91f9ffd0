"""A real schema registry: Apicurio Registry, which answers as Confluent's does, in memory and on loopback only."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from importlib.resources import files
from pathlib import Path

from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, build_once, silent
from kafka_ingest.local.java import find_java, run_maven
from kafka_ingest.local.ports import LOOPBACK
from kafka_ingest.local.server import LocalServer

_API = "apis/ccompat/v7"
_PROBE_SECONDS = 5
_PROGRAM = "apicurio-registry-app-*-runner.jar"
JVM_OPTIONS = ("-Xmx400m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.net.preferIPv4Stack=true")


class LocalRegistry(LocalServer):
    """A registry on 127.0.0.1. It keeps its schemas in memory: one that is stopped has forgotten them."""

    title = "Apicurio Registry"

    @classmethod
    def start(cls, data_dir: Path, *, port: int | None = None, progress: Progress = silent) -> LocalRegistry:
        """Start one, or attach to the one that already runs with `data_dir`; returns when it answers, after some 20 s.

        Downloads it on first use (150 MB). LocalServerError when Java or Maven is missing, or it does not answer.
        """
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        java, _ = find_java()
        program = _registry_program(progress)
        registry = cls(data_dir, name="registry", version=_registry_version(), settings={})
        # `-Dkafka_ingest.data`: the folder has to stand in the command line, by which a process is known as ours.
        registry._command = [java, *JVM_OPTIONS, f"-Dkafka_ingest.data={data_dir}", "-Dquarkus.http.host=" + LOOPBACK]
        registry._program = program
        registry._bring_up(port, progress)
        return registry

    _command: list[str]
    _program: Path

    @property
    def url(self) -> str:
        """Where Confluent's API is: what SCHEMA_REGISTRY_URL takes."""
        return f"http://{LOOPBACK}:{self.port}/{_API}"

    def _launch(self) -> int:
        return self._process.spawn([*self._command, f"-Dquarkus.http.port={self.port}", "-jar", str(self._program)])

    def _check_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=_PROBE_SECONDS) as answer:  # noqa: S310  loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


def _pom() -> str:
    return files("kafka_ingest.local").joinpath("registry-pom.xml").read_text()


def _registry_version() -> str:
    found = re.search(r"<registry\.version>([^<]+)</registry\.version>", _pom())
    if found is None:
        raise LocalServerError(
            "registry-pom.xml in this installation names no registry.version: reinstall kafka-ingest"
        )
    return found[1]


def _registry_program(progress: Progress) -> Path:
    """The registry's jar, among the files it needs, downloaded and unpacked once."""
    pom = _pom()
    digest = hashlib.sha256(pom.encode()).hexdigest()[:10]
    folder = build_once(f"registry-{_registry_version()}-{digest}", lambda partial: _unpack(pom, partial, progress))
    return next(folder.glob(_PROGRAM))


def _unpack(pom: str, folder: Path, progress: Progress) -> None:
    what = f"Apicurio Registry {_registry_version()}"
    run_maven(what, pom, folder, ["dependency:unpack", f"-DoutputDirectory={folder}"], _PROGRAM, progress)
