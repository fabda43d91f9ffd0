"""How far a backfill is: part done, rate, time left. Counted in offsets, the one measure known before reading."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

PROGRESS_TAG = "kafka_ingest/progress"
"""Tag of a backfill's run: `Pace.tag`. A tag, because it is one small row that is overwritten, shows in the list of runs and
is read over GraphQL without parsing prose; an event would be kept for ever."""


@dataclass(frozen=True, slots=True)
class Pace:
    """One look. `messages_per_second` and `seconds_left` are None until something has been loaded."""

    done: int
    total: int
    messages_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def ratio(self) -> float:
        """Part of the offsets that is done, 0 to 1; 1 where there are none."""
        return self.done / self.total if self.total else 1.0

    @property
    def tag(self) -> str:
        """`1234/5000`: for programs; see `parse_tag`."""
        return f"{self.done}/{self.total}"

    def __str__(self) -> str:
        parts = [f"{self.ratio:.0%} of {self.total:,} messages"]
        if self.messages_per_second is not None:
            parts.append(f"{self.messages_per_second:,.0f} messages/s")
        if self.seconds_left is not None and self.done < self.total:
            parts.append(f"{duration_text(self.seconds_left)} left")
        return ", ".join(parts)


class PaceMeter:
    """Counts what is done of `total` offsets; `done` of them were before the clock started. Not thread-safe."""

    def __init__(self, total: int, *, done: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._started = clock()
        self._before = self._done = done

    def add(self, offsets: int) -> None:
        """Count what has been loaded since the last call."""
        self._done += offsets

    def look(self, *, elsewhere: int = 0) -> Pace:
        """How far it is now, at the average rate since the clock started. elsewhere: offsets that others have loaded of it since
        then."""
        seconds = self._clock() - self._started
        done = min(self._done + elsewhere, self._total)
        moved = done - self._before
        is_moving = moved > 0 and seconds > 0
        return Pace(
            done=done,
            total=self._total,
            messages_per_second=moved / seconds if is_moving else None,
            seconds_left=(self._total - done) * seconds / moved if is_moving else None,
        )


def parse_tag(text: str | None) -> tuple[int, int] | None:
    """(done, total) of `Pace.tag`; None for anything else."""
    done, slash, total = (text or "").partition("/")
    return (int(done), int(total)) if slash and done.isdecimal() and total.isdecimal() else None


def duration_text(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
