"""Dagster's code server, daemon and webserver as services of their own, as a deployment runs them: each is killed and started
alone."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType

import dagster as dg

import kafka_ingest.orchestration
from kafka_ingest.local.ports import LOOPBACK, free_port, port_answers
from kafka_ingest_tests.e2e.child import REPOSITORY

CODE_SERVER, DAEMON, WEBSERVER = "code server", "daemon", "webserver"
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class DagsterServices:
    """`with DagsterServices(home, environ) as services: …`; nobody but the test restarts what was killed."""

    def __init__(
        self,
        home: Path,
        environ: Mapping[str, str],
        *,
        host: str | None = None,
        module: str = "kafka_ingest.definitions",
        settings: str = "",
    ) -> None:
        """host: as in `start`, for the code server. environ: what is changed of it counts for what is started later. module: of
        the definitions. settings: added to the package's dagster.yaml."""
        self.home = home
        self.web_port = free_port()
        self._host, self._module, self._settings = host, module, settings
        self._port = free_port()
        self.environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environ, "DAGSTER_HOME": str(home)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._groups: list[int] = []

    def __enter__(self) -> DagsterServices:
        self.home.mkdir(parents=True)
        settings = (Path(kafka_ingest.orchestration.__file__).parent / "dagster.yaml").read_text()
        (self.home / "dagster.yaml").write_text(f"{settings}\n{self._settings}")
        server = f"host: {LOOPBACK}, port: {self._port}, location_name: kafka_ingest"
        (self.home / "workspace.yaml").write_text(f"load_from:\n  - grpc_server: {{{server}}}\n")
        try:
            self.start(CODE_SERVER, host=self._host)
            self.start(DAEMON)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, what: str, *, host: str | None = None) -> None:
        """Returns when the code server or the webserver answers; of the daemon, at once. host: name of a machine of its own for
        it and the runs it launches: its own pids, and nothing else of it is seen from here."""
        workspace = str(self.home / "workspace.yaml")
        code = ["dagster", "api", "grpc", "-m", self._module, "-h", LOOPBACK, "-p", str(self._port)]
        commands = {
            CODE_SERVER: code,
            DAEMON: ["dagster._daemon", "run", "-w", workspace],
            WEBSERVER: ["dagster_webserver", "-w", workspace, "-h", LOOPBACK, "-p", str(self.web_port)],
        }
        port = {CODE_SERVER: self._port, WEBSERVER: self.web_port}.get(what)
        self.launch(what, [*_on(host), sys.executable, "-m", *commands[what]])
        self.wait_for(lambda: port is None or port_answers(port), 90, f"the {what}")

    def launch(self, what: str, command: Sequence[str]) -> None:
        """Start another service of the deployment, in its environment; it is ended with the others."""
        with (self.home / "services.log").open("ab") as log:
            self._processes[what] = subprocess.Popen(
                command, env=self.environ, cwd=self.home, stdout=log, stderr=log, start_new_session=True
            )
        self._groups.append(self._processes[what].pid)

    def kill(self, what: str) -> None:
        """SIGKILL to this process alone; a run it started lives on, unless the process has a host of its own: that ends as a
        whole."""
        self._processes[what].kill()
        self.forget(what)

    def forget(self, what: str) -> None:
        """This process ends for another reason, which is expected."""
        self._processes.pop(what).wait(10)

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

    def pause(self, pid: int) -> None:
        """Have a run's process stand still, but not within a write to Dagster's SQLite: nobody else could write to that file
        until it goes on, which no run can help (docs/reliability.md, "Not promised")."""
        while True:
            os.kill(pid, signal.SIGSTOP)
            if not any(map(_is_locked, self.home.rglob("*.db"))):
                return
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.1)

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


def _on(host: str | None) -> list[str]:
    if host is None:
        return []
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    alone = ["unshare", *as_root, "--pid", "--fork", "--uts", "--mount-proc", "--kill-child"]
    return [*alone, "sh", "-c", 'hostname "$0" && exec "$@"', host]


def _is_locked(file: Path) -> bool:
    """Whether somebody holds a lock of SQLite's for longer than a write takes."""
    with closing(sqlite3.connect(file, timeout=2.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            return True
        connection.execute("ROLLBACK")
    return False
