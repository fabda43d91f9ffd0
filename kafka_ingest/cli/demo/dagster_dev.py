"""`dagster dev` as a child of the demo: started in a session of its own, watched, and stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from kafka_ingest.cli.dagster_api import DagsterApi
from kafka_ingest.errors import ConfigError, KafkaIngestError
from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import tail_of
from kafka_ingest.local.ports import LOOPBACK, port_is_free
from kafka_ingest.processes import session_members

PORTS_TRIED = 50
READY_SECONDS = 180.0
# What each signal is given before the next, stronger one.
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))
_POLL_SECONDS = 0.2
_ANSWER_SECONDS = 5.0

_LOCATIONS = """{ workspaceOrError { __typename
  ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename ... on PythonError { message } } } }
  ... on PythonError { message } } }"""
_RUNS = "query Runs($f: RunsFilter) { runsOrError(filter: $f, limit: 500) { ... on Runs { results { status } } } }"


def choose_port(wanted: int) -> int:
    """The port asked for, or the next free one. LocalServerError where none of the next fifty is."""
    for port in range(wanted, min(wanted + PORTS_TRIED, 65_536)):
        if port_is_free(port):
            return port
    raise LocalServerError(f"no free port from {wanted} on; name another with --port")


def dagster_home(root: Path, environ: Mapping[str, str]) -> Path:
    """The user's DAGSTER_HOME as it is, else a folder under `root` with this package's dagster.yaml.

    Raises ConfigError where the user's is no folder.
    """
    if environ.get("DAGSTER_HOME"):
        home = Path(environ["DAGSTER_HOME"])
        if not home.is_absolute() or not home.is_dir():
            raise ConfigError(
                f"DAGSTER_HOME={home} is no folder with an absolute path; create it, or unset it",
                setting="DAGSTER_HOME",
            )
        return home
    home = (root / "dagster_home").resolve()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    template = files("kafka_ingest.orchestration") / "dagster.yaml"
    (home / "dagster.yaml").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    return home


class DemoDagster:
    """One `dagster dev`. Call `stop` in the end, whatever happened."""

    def __init__(self, *, home: Path, log_file: Path, port: int, environ: Mapping[str, str]) -> None:
        self.log_file = log_file
        self.url = f"http://{LOOPBACK}:{port}"
        self._api = DagsterApi(self.url, timeout_seconds=_ANSWER_SECONDS)
        self._port = port
        self._home = home
        self._environ = {
            **environ,
            "DAGSTER_HOME": str(home),
            "DAGSTER_DISABLE_TELEMETRY": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = time.time()

    def start(self) -> None:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "dagster", "dev", "-m", "kafka_ingest.definitions"]
        command += ["-h", LOOPBACK, "-p", str(self._port)]
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environ,
                # Not the user's folder: `dagster dev` would take a workspace.yaml or pyproject.toml lying there.
                cwd=self._home,
                # Ctrl-C goes to the demo alone, which then stops things in order.
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises LocalServerError, with the end of the log, where it has ended."""
        if self.exit_code is not None:
            end = f"end of {self.log_file}:\n{tail_of(self.log_file)}"
            raise LocalServerError(f"dagster dev ended with exit code {self.exit_code}; {end}")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return None if self._process is None else self._process.poll()

    def wait_until_ready(self) -> None:
        """Return when the UI answers and the streams are loaded. Raises LocalServerError with the end of the log."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"dagster dev was not ready after {READY_SECONDS:.0f} s; end of {self.log_file}:\n{tail_of(self.log_file)}"
                )
            time.sleep(_POLL_SECONDS)

    def _is_ready(self) -> bool:
        answer = self._ask(_LOCATIONS)
        if answer is None:
            return False
        workspace = answer["workspaceOrError"]
        if workspace["__typename"] != "Workspace":
            raise LocalServerError(f"Dagster has no workspace: {workspace.get('message')}")
        entries = workspace["locationEntries"]
        for entry in entries:
            problem = entry["locationOrLoadError"] or {}
            if problem.get("__typename") == "PythonError":
                raise LocalServerError(f"Dagster could not load the streams: {problem['message']}")
        return bool(entries) and all(e["loadStatus"] == "LOADED" for e in entries)

    def runs(self) -> Counter[str]:
        """Runs since the start, by status in lower case; empty where the UI does not answer."""
        answer = self._ask(_RUNS, f={"createdAfter": self._started_at})
        results = [] if answer is None else answer["runsOrError"].get("results", [])
        return Counter(str(r["status"]).lower() for r in results)

    def _ask(self, query: str, **variables: object) -> dict[str, Any] | None:
        try:
            return self._api.ask(query, **variables)
        except KafkaIngestError:
            return None  # it is not up yet, or busy

    def stop(self) -> list[int]:
        """Stop it and everything it started: SIGINT, then SIGTERM, then SIGKILL. Returns the pids that are left: none."""
        if self._process is None:
            return []
        session = self._process.pid
        for number, seconds in STOP_STEPS:
            if not session_members(session):
                break
            try:
                os.killpg(session, number)
            except ProcessLookupError:
                break
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and self._members():
                time.sleep(_POLL_SECONDS)
        return self._members()

    def _members(self) -> list[int]:
        assert self._process is not None  # noqa: S101  only asked after the start
        self._process.poll()  # a zombie of ours is no process
        return session_members(self._process.pid)
