"""A real `dagster dev` for tests: started, asked over GraphQL, stopped with everything below it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

import kafka_ingest.orchestration
from kafka_ingest.local.ports import free_port
from kafka_ingest_tests.e2e.graphql import graphql

_LOADED = (
    "{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { __typename } } } } }"
)


class DagsterDev:
    """`with DagsterDev(home, environ) as dagster: …`"""

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        *modules: str,
        python: str = sys.executable,
        slots: int | None = None,
    ) -> None:
        """A code location for each of `modules`; the package's definitions where there are none.

        python: whose Dagster it is. slots: how many runs go on at a time, where not as many as the package's settings say.
        """
        self._python = python
        self._slots = slots
        self.home = home
        self._modules = modules or ("kafka_ingest.definitions",)
        self.port = free_port()
        self.log = home / "dagster.log"
        # The tests' own streams are imported by the processes Dagster starts, wherever those run.
        tests = str(Path(__file__).parents[2])
        self._environ = {**os.environ, "PYTHONPATH": tests, **environ, "DAGSTER_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DagsterDev:
        self.home.mkdir(parents=True, exist_ok=True)
        settings = (Path(kafka_ingest.orchestration.__file__).parent / "dagster.yaml").read_text()
        if self._slots is not None:
            settings = re.sub("max_concurrent_runs: [0-9]+", f"max_concurrent_runs: {self._slots}", settings)
        (self.home / "dagster.yaml").write_text(settings)
        command = [
            self._python,
            "-m",
            "dagster",
            "dev",
            *(each for module in self._modules for each in ("-m", module)),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environ, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self.wait_for(self._is_loaded, 90, "the code location to load")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and every process it started."""
        if self._process is None:
            return
        tree = [self._process.pid, *(c.pid for c in self.children())]
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._process = None
        left = [psutil.Process(pid) for pid in tree if psutil.pid_exists(pid)]
        for each in left:
            each.kill()
        psutil.wait_procs(left, 10)

    def kill_everything(self) -> None:
        """What a machine reset does to it: SIGKILL to every process at once."""
        assert self._process is not None
        for each in [*self.children(), psutil.Process(self._process.pid)]:
            each.kill()
        self._process.wait(10)
        self._process = None

    def children(self) -> list[psutil.Process]:
        assert self._process is not None
        return list(psutil.Process(self._process.pid).children(recursive=True))

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """One request; GraphQL errors fail the test."""
        return graphql(self.port, query, **variables)

    def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first, with status and tags."""
        data = self.graphql("{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }")
        return [{**run, "tags": {t["key"]: t["value"] for t in run["tags"]}} for run in data["runsOrError"]["results"]]

    def wait_for(self, condition: Any, seconds: float, what: str) -> None:
        """Poll until `condition()` is true."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process is not None
            assert self._process.poll() is None, f"dagster dev ended: {self.tail()}"
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}; {self.tail()}"
            time.sleep(0.5)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6_000:]

    def _is_loaded(self) -> bool:
        try:
            entries = self.graphql(_LOADED)["workspaceOrError"]["locationEntries"]
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        loaded = bool(entries) and all(e["loadStatus"] == "LOADED" for e in entries)
        if loaded:
            assert all(e["locationOrLoadError"]["__typename"] == "RepositoryLocation" for e in entries), self.tail()
        return loaded
