"""How long a stream is left alone after it failed."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_BACKOFF_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 300.0


def backoff_seconds_after(failures: int) -> float:
    """5, 10, 20 … 300 after the last of so many failures in a row; 0 after none."""
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1), MAX_BACKOFF_SECONDS) if failures else 0.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A stream's failures in a row, and the last one's time in seconds since the epoch."""

    failures: int
    at: float

    def wait_seconds(self, now: float) -> float:
        """How long, from `now` on, until it is tried again; 0 where it may be."""
        return max(0.0, backoff_seconds_after(self.failures) - max(0.0, now - self.at))
