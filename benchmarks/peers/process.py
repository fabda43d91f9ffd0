"""A peer's program, run as a process group of its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from benchmarks.processes import Use, tree, use_of_all

POLL_SECONDS = 0.02
TERMINATE_SECONDS = 10.0
LOG_TAIL_LINES = 30
_LOOK = os.WEXITED | os.WNOWAIT | os.WNOHANG
_LIBC = ctypes.CDLL(None)


class PeerProcess:
    """A peer's program, started as a process group of its own. At the end of `with` it is ended with all its children."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed by __exit__
        self._process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**_own_environment(), **environment},
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self.pid = self._process.pid

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._log.close()

    def has_ended(self) -> bool:
        """Whether its leader is gone, by itself or by `end`."""
        return self._process.returncode is not None or os.waitid(os.P_PID, self.pid, _LOOK) is not None

    def use(self) -> Use:
        """Of it and everything below it, now."""
        return use_of_all(tree(self.pid))

    def tail(self) -> str:
        """The last LOG_TAIL_LINES lines that it has written."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def end(self) -> None:
        """SIGTERM to the process group, SIGKILL to what is left of it after TERMINATE_SECONDS; returns when its leader is gone.

        The leader is collected last: until then its id, which is the group's, is not given to another process.
        """
        if self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + TERMINATE_SECONDS
        while time.monotonic() < deadline and not self.has_ended():
            time.sleep(POLL_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def _own_environment() -> dict[str, str]:
    """This process's without what would bring our packages into the peer's interpreter."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    }


def die_with_parent() -> None:
    """In the child, before its program: SIGTERM when this process ends, however it ends (prctl(2), PR_SET_PDEATHSIG).

    Not SIGKILL: only the child itself gets it, and `dagster dev` ends its own children when it is told to.
    """
    _LIBC.prctl(1, signal.SIGTERM)
