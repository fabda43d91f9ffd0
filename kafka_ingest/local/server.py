"""What every local server has in common: one data folder, one port, start, stop, kill and restart."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from kafka_ingest.local.errors import LocalServerError
from kafka_ingest.local.files import Progress, locked, read_json, write_private_json
from kafka_ingest.local.ports import LOOPBACK, free_port, port_answers, port_is_free
from kafka_ingest.local.process import POLL_SECONDS, ServerProcess

READY_TIMEOUT_SECONDS = 120.0
PORT_RELEASE_SECONDS = 10.0
PORT_ATTEMPTS = 3
STATE_FILE = "server.json"


class LocalServer(ABC):
    """A server on loopback whose data, pid file and log are in one folder; the data survive stop and kill.

    Nobody stops it but its caller: it runs on when the Python process that started it ends.
    """

    title: str
    """What the server is called in messages, such as 'Apache Kafka'."""
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    """What makes it end cleanly and at once; kept beside the data, for whoever stops it later."""

    def __init__(self, data_dir: Path, *, name: str, version: str, settings: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.version = version
        self.port = 0
        self.pid = 0
        self._settings = dict(settings)
        self._process = ServerProcess(data_dir, data_dir / f"{name}.log")
        self._state_file = data_dir / STATE_FILE

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process.live_pid() is not None

    def stop(self) -> None:
        """Stop it cleanly (`stop_signal`, SIGKILL after a minute); does nothing when it does not run."""
        self._process.stop(self.stop_signal)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._process.kill()

    def restart(self) -> None:
        """Start it again on the same port and data, after `stop` or `kill`; stops it first if it runs.

        Raises LocalServerError when another program took the port meanwhile, or when it does not get ready.
        """
        self.stop()
        with locked(self.data_dir / "start.lock"):
            deadline = time.monotonic() + PORT_RELEASE_SECONDS
            while not port_is_free(self.port):
                if time.monotonic() > deadline:
                    raise LocalServerError(f"{self.title}: port {self.port} is now used by another program")
                time.sleep(POLL_SECONDS)
            self._launch_and_wait()

    @abstractmethod
    def _launch(self) -> int:
        """Start the process on `self.port`; returns its pid."""

    @abstractmethod
    def _check_ready(self) -> bool:
        """True when the server passed its probe, False when it is still starting; raises when it is not right."""

    def _bring_up(self, port: int | None, progress: Progress) -> None:
        """Attach to the server already running on this data folder, else start one; see `start` of the subclasses."""
        with locked(self.data_dir / "start.lock"):
            if self._attach(port):
                return
            progress(f"Starting {self.title} {self.version}")
            saved = read_json(self._state_file).get("port")
            for attempt in range(1, PORT_ATTEMPTS + 1):
                self.port = self._choose_port(port, saved if attempt == 1 else None)
                try:
                    self._launch_and_wait()
                except LocalServerError:
                    # Two starters may choose the same port at once: whoever lost it takes another.
                    if port is None and attempt < PORT_ATTEMPTS and not port_is_free(self.port):
                        continue
                    raise
                return

    def _attach(self, port: int | None) -> bool:
        pid = self._process.live_pid()
        if pid is None:
            return False
        state = read_json(self._state_file)
        if port not in (None, state.get("port")) or state.get("settings") != self._settings:
            raise LocalServerError(
                f"{self.title} already runs on {self.data_dir} (pid {pid}) with another port or settings: stop it first"
            )
        self.port, self.version, self.pid = int(state["port"]), str(state["version"]), pid
        self._wait_until_ready()
        return True

    def _choose_port(self, wanted: int | None, saved: object) -> int:
        if wanted is not None:
            if not port_is_free(wanted):
                raise LocalServerError(f"{self.title}: {LOOPBACK}:{wanted} is in use; name another port or none")
            return wanted
        return saved if isinstance(saved, int) and port_is_free(saved) else free_port()

    def _launch_and_wait(self) -> None:
        self.pid = self._launch()
        write_private_json(
            self._state_file,
            {
                "port": self.port,
                "version": self.version,
                "settings": self._settings,
                "stop_signal": int(self.stop_signal),
            },
        )
        try:
            self._wait_until_ready()
        except LocalServerError as error:
            self.kill()
            raise LocalServerError(f"{error}; end of {self._process.log_file}:\n{self._process.log_tail()}") from error

    def _wait_until_ready(self) -> None:
        """Poll until the probe passes; LocalServerError when the process ends, fails the probe or is too slow."""
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while True:
            if not self.running:
                raise LocalServerError(f"{self.title} ended while starting")
            # The second look tells our server from another one that took the same port.
            if port_answers(self.port) and self._check_ready() and self.running:
                return
            if time.monotonic() > deadline:
                raise LocalServerError(f"{self.title} was not ready after {READY_TIMEOUT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)


def is_running(data_dir: Path) -> bool:
    """Whether a server runs on this data folder, whoever started it."""
    return ServerProcess(data_dir, data_dir / "server.log").live_pid() is not None


def stop_data_dir(data_dir: Path) -> bool:
    """Stop whatever server runs on this data folder, whoever started it; returns whether one ran."""
    ran = is_running(data_dir)
    number = read_json(data_dir / STATE_FILE).get("stop_signal", signal.SIGTERM)
    ServerProcess(data_dir, data_dir / "server.log").stop(signal.Signals(number))
    return ran
