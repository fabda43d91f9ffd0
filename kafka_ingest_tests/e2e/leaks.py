"""What a process holds: to see that it does not grow."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Resources:
    """Open file descriptors and threads of one process."""

    descriptors: int
    threads: int
    pid: int

    @classmethod
    def now(cls, pid: int | None = None) -> Resources:
        own = os.getpid() if pid is None else pid
        folder = PROC / str(own)
        return cls(len(list((folder / "fd").iterdir())), len(list((folder / "task").iterdir())), own)

    def assert_no_more_than(self, before: Resources, *, slack: int = 3, seconds: float = 10.0) -> None:
        """Sockets and threads that are just ending are given `seconds`; `slack`: what comes and goes in any process."""
        deadline = time.monotonic() + seconds
        found = self
        while found._exceeds(before, slack) and time.monotonic() < deadline:
            time.sleep(0.2)
            found = Resources.now(self.pid)
        assert not found._exceeds(before, slack), f"{before} became {found}"

    def _exceeds(self, before: Resources, slack: int) -> bool:
        return self.descriptors > before.descriptors + slack or self.threads > before.threads + slack
