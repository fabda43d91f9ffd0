"""What a measurement of one peer says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class NotMeasured(Exception):
    """The peer could not be measured here; the text says why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One peer's load of one topic."""

    peer: str
    rows: int
    """Visible in MySQL at the end, counted."""
    messages: int
    """Asked for; `rows` is less where the time was up first."""
    seconds: float
    """From the start of the peer's process to the sight of the last row."""
    steady_rows: int
    """Rows that came after the first sight of any."""
    steady_seconds: float
    """From the first sight of any row to the sight of the last: without the start of interpreter, JVM and group."""
    cpu_seconds: float
    """User and system time of the peer's process tree, start included: says more than the clock on a busy machine."""
    steady_cpu_seconds: float
    """Of that, what was used after the first sight of any row."""
    peak_rss_bytes: int
    """Most resident memory of the peer's process tree at one instant; pages shared between its processes count twice."""
    note: str
    """What was chosen, and what the peer does less than the others."""

    @property
    def rate(self) -> float:
        """Rows a second, start included."""
        return self.rows / self.seconds if self.seconds else 0.0

    @property
    def steady_rate(self) -> float | None:
        """Rows a second once running; None where all rows came into sight at once."""
        return self.steady_rows / self.steady_seconds if self.steady_rows and self.steady_seconds else None

    @property
    def best_rate(self) -> float:
        """The steady rate where there is one, as it is the higher one: what the peer is compared by."""
        return max(self.rate, self.steady_rate or 0.0)

    @property
    def cpu_us_per_row(self) -> float:
        """Microseconds of processor time, start included."""
        return 1e6 * self.cpu_seconds / self.rows

    @property
    def steady_cpu_us_per_row(self) -> float | None:
        """Once running; None where all rows came into sight at once."""
        return 1e6 * self.steady_cpu_seconds / self.steady_rows if self.steady_rows else None

    @property
    def complete(self) -> bool:
        return self.rows >= self.messages

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "rate": self.rate,
            "steady_rate": self.steady_rate,
            "cpu_us_per_row": self.cpu_us_per_row,
            "steady_cpu_us_per_row": self.steady_cpu_us_per_row,
            "complete": self.complete,
        }
