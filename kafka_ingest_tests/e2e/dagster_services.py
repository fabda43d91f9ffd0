"""Dagster's code server and daemon as services of their own, as a deployment runs them: each is killed and started alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import dagster as dg

import kafka_ingest.orchestration
from kafka_ingest.local.ports import LOOPBACK, free_port, port_answers
from kafka_ingest_tests.e2e.child import REPOSITORY

CODE_SERVER, DAEMON = "code server", "daemon"
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class DagsterServices:
    """`with DagsterServices(home, environ) as services: …`; nobody but the test restarts what was killed."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        self.home = home
        self._port = free_port()
        self._environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environ, "DAGSTER_HOME": str(home)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._groups: list[int] = []

    def __enter__(self) -> DagsterServices:
        self.home.mkdir(parents=True)
        shutil.copy(Path(kafka_ingest.orchestration.__file__).parent / "dagster.yaml", self.home / "dagster.yaml")
        server = f"host: {LOOPBACK}, port: {self._port}, location_name: kafka_ingest"
        (self.home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {{{server}}}\n")
        try:
            self.start(CODE_SERVER)
            self.start(DAEMON)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, what: str) -> None:
        """Returns when the code server answers; of the daemon, at once."""
        commands = {
            CODE_SERVER: [
                "dagster",
                "api",
                "grpc",
                "-m",
                "kafka_ingest.definitions",
                "-h",
                LOOPBACK,
                "-p",
                str(self._port),
            ],
            DAEMON: ["dagster._daemon", "run", "-w", str(self.home / "workspace.yaml")],
        }
        with (self.home / "services.log").open("ab") as log:
            self._processes[what] = subprocess.Popen(
                [sys.executable, "-m", *commands[what]],
                env=self._environ, cwd=self.home, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._groups.append(self._processes[what].pid)
        self.wait_for(lambda: what == DAEMON or port_answers(self._port), 90, f"the {what}")

    def kill(self, what: str) -> None:
        """SIGKILL to this process alone; a run it started lives on."""
        process = self._processes.pop(what)
        process.kill()
        process.wait(10)

    def stop(self) -> None:
        """End both, and the runs that are left."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self._processes.clear()
        for group in self._groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def runs(self) -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            return list(instance.get_runs())

    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return any(run.status not in _ENDED for run in self.runs())

    def wait_for(self, condition: object, seconds: float, what: str) -> float:
        """Poll until `condition()` is true; the seconds it took."""
        assert callable(condition)
        begun = time.monotonic()
        while not condition():
            for name, process in self._processes.items():
                assert process.poll() is None, f"the {name} ended: {self.tail()}"
            assert time.monotonic() - begun < seconds, f"waited {seconds:.0f} s for {what}: {self.tail()}"
            time.sleep(0.5)
        return time.monotonic() - begun

    def tail(self) -> str:
        return (self.home / "services.log").read_text(errors="replace")[-6_000:]
