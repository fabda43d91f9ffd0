"""Rows over time: the median round of each case beside LOAD DATA alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def draw(found: dict[str, Any], path: Path) -> None:
    """found: what `benchmarks.throughput.run` returns."""
    from matplotlib.figure import Figure  # of the extra `bench`; only pictures need it

    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.add_subplot()
    for case in found["cases"]:
        rounds = sorted(case["rounds"], key=lambda r: r["ours"])
        middle = rounds[len(rounds) // 2]
        points = [(0.0, 0), *middle["progress"]]
        axes.plot([at for at, _ in points], [n / 1e6 for _, n in points], label=f"{case['case']} ({case['ratio']:.2f})")
    seconds = found["messages"] / found["cases"][0]["limit_rows_per_second"]
    axes.plot([0, seconds], [0, found["messages"] / 1e6], "k--", label="LOAD DATA, prepared files (1)")
    axes.set_xlabel("seconds since Dagster recorded the run")
    axes.set_ylabel("million rows that can be read")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=80)
