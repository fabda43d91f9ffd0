"""What a new user has: a shell, and in it the package in an environment of its own."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from kafka_ingest.processes import session_members
from kafka_ingest_tests.docs.pages import ROOT
from kafka_ingest_tests.e2e.fresh_project import FreshEnvironment

_STOP_SECONDS = 120.0
_POLL_SECONDS = 0.5
_TAIL = 6_000
# A constraint has no extra and no hashes.
_LOCKED = re.compile(r"^([\w.-]+)(?:\[[^]]*\])?(==[^\\\n]+)", re.MULTILINE)


def locked_versions(folder: Path) -> Path:
    """The versions of this package's lock, as constraints of pip's, in a new file in the folder."""
    lock = (ROOT / "requirements" / "dev.txt").read_text(encoding="utf-8")
    constraints = folder / "constraints.txt"
    constraints.write_text("".join(f"{name}{version}\n" for name, version in _LOCKED.findall(lock)))
    return constraints


class Shell:
    """A new user's shell: what a command exports, and the folder it goes to, are there for the next one. Nothing of the tests'
    settings is in it, and the environment's programs are found first."""

    def __init__(self, folder: Path, environment: FreshEnvironment | None = None, *, constraints: Path) -> None:
        """folder: where it begins. constraints: versions of packages, also those that a project of the user's asks for."""
        ours = ("KAFKA_", "DAGSTER_", "PYTHON", "VIRTUAL_ENV", "PYTEST_")
        programs = [] if environment is None else [str(environment.folder / "bin")]
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
            "PIP_CONSTRAINT": str(constraints),
        }
        self._state = Path(mkdtemp(prefix="shell-", dir=constraints.parent)) / "state"
        self._state.write_text(f"cd {shlex.quote(str(folder))}\n")

    @property
    def folder(self) -> Path:
        """Where it is."""
        return Path(self.run("pwd").strip())

    def run(self, commands: str, *, seconds: float = 400) -> str:
        """What commands print, each of which has to succeed."""
        kept = f"{{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {shlex.quote(str(self._state))}"
        done = subprocess.run(
            self._script(f"{commands}\n{kept}"),
            env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, f"{commands}\n{done.stdout[-_TAIL:]}{done.stderr[-_TAIL:]}"
        return done.stdout

    def start(self, command: str, log: Path) -> Endless:
        """Start a command that does not end by itself, as in a terminal of its own."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                self._script(command),
                env=self._environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return Endless(command, process, log)

    def _script(self, commands: str) -> list[str]:
        return ["bash", "-euo", "pipefail", "-c", f". {shlex.quote(str(self._state))}\n{commands}"]


@dataclass(frozen=True)
class Endless:
    """A command that runs until Ctrl-C. Call `interrupt` in the end, whatever happened."""

    command: str
    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, condition: Callable[[], bool], *, seconds: float) -> float:
        """Wait until a condition holds, while it runs; returns after how many seconds."""
        began = time.monotonic()
        while not condition():
            assert self.process.poll() is None, f"{self.command} has ended:\n{self.said[-_TAIL:]}"
            passed = time.monotonic() - began
            assert passed < seconds, f"waited {seconds:.0f} s for {self.command}:\n{self.said[-_TAIL:]}"
            time.sleep(_POLL_SECONDS)
        return time.monotonic() - began

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def interrupt(self) -> None:
        """Ctrl-C, which a terminal gives to each of a command's processes. None may be left then; those that are get killed."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        deadline = time.monotonic() + _STOP_SECONDS
        while (self.process.poll() is None or self._left()) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        left = self._left()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(_STOP_SECONDS)
        assert left == [], f"{self.command} left processes {left}:\n{self.said[-_TAIL:]}"

    def _left(self) -> list[int]:
        return session_members(self.process.pid)
