"""The peers side by side, as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.command import table
from benchmarks.peers.freshness import Freshness
from benchmarks.peers.result import Result


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one peer; what was not measured has its reason instead."""

    result: Result | str
    freshness: Sequence[Freshness] | str
    """Rising rates, without those after one that the peer could not keep up with."""
    load: tuple[float, float]
    """The machine's load average of a minute, before and after: the second is the peer's and its servers' too."""

    def to_json(self, limit: float) -> dict[str, Any]:
        """limit: LOAD DATA's rows a second."""
        result, freshness = self.result, self.freshness
        figures = (
            {"not_measured": result}
            if isinstance(result, str)
            else result.to_json() | {"of_limit": result.best_rate / limit}
        )
        ages = (
            {"not_measured": freshness} if isinstance(freshness, str) else {str(f.rate): f.to_json() for f in freshness}
        )
        return figures | {"freshness": ages, "load": self.load}


def report(found: Mapping[str, Figures], limit: float, rates: Sequence[int]) -> str:
    """limit: LOAD DATA's rows a second. rates: the messages a second of the freshness columns."""
    heads = ["peer", "rows/s", "steady", "of limit", "CPU µs a row", "without start", "peak MB"]
    heads += [f"age at {rate:,}/s, p50 / p99" for rate in rates] + ["load"]
    rows = []
    for peer, figures in found.items():
        ages = [_age(figures.freshness, number) for number in range(len(rates))]
        rows.append([f"`{peer}`", *_throughput(figures.result, limit), *ages, "{:.0f} → {:.0f}".format(*figures.load)])
    return table(heads, rows)


def _throughput(result: Result | str, limit: float) -> list[str]:
    if isinstance(result, str):
        return ["not measured", *[""] * 5]
    return [
        f"{result.rate:,.0f}",
        "–" if result.steady_rate is None else f"{result.steady_rate:,.0f}",
        f"{result.best_rate / limit:.4f}",
        f"{result.cpu_us_per_row:,.0f}",
        "–" if result.steady_cpu_us_per_row is None else f"{result.steady_cpu_us_per_row:,.0f}",
        f"{result.peak_rss_bytes / 1e6:,.0f}",
    ]


def _age(freshness: Sequence[Freshness] | str, number: int) -> str:
    if isinstance(freshness, str):
        return "not measured"
    if number >= len(freshness):
        return "too slow"
    one = freshness[number]
    least = "> " if one.unseen else ""
    return f"{least}{one.p50_seconds:.2f} / {least}{one.p99_seconds:.2f} s"
