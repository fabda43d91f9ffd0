"""A picture of latency over time at steady rates, the hand-overs marked. Needs matplotlib (`pip install -e '.[bench]'`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.live import Latencies

_STEP_SECONDS = 1.0


@dataclass(frozen=True)
class Steady:
    """What a steady rate gave."""

    rate: int
    latencies: Latencies
    handovers: Sequence[float]
    """Instants at which a commit of the next run was first seen."""


def draw(series: Sequence[Steady], file: Path) -> None:
    """One panel per rate: median and maximum of each second's messages. Says so where matplotlib is missing."""
    if find_spec("matplotlib") is None:
        print(f"{file} not drawn: matplotlib is not installed")
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(len(series), 1, sharex=True, squeeze=False, figsize=(8, 2.4 * len(series)))
    for one, axes in zip(series, panels[:, 0], strict=True):
        first = one.latencies.produced[0]
        second = ((one.latencies.produced - first) // _STEP_SECONDS).astype(int)
        groups = np.split(one.latencies.seconds, np.flatnonzero(np.diff(second)) + 1)
        at = np.unique(second) * _STEP_SECONDS
        axes.fill_between(at, [g.max() for g in groups], color="#9ec5e8", linewidth=0, label="slowest of the second")
        axes.plot(at, [np.median(g) for g in groups], color="#1f4e79", linewidth=1.2, label="median of the second")
        for number, handover in enumerate(one.handovers):
            label = "hand-over to the next run" if number == 0 else None
            axes.axvline(handover - first, color="#c0392b", linewidth=1, linestyle="--", label=label)
        axes.set_title(f"{one.rate:,} messages/s", fontsize=10, loc="left")
        axes.set_ylabel("seconds to a visible row", fontsize=8)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    panels[0, 0].legend(fontsize=8, loc="upper right", framealpha=0.9)
    panels[-1, 0].set_xlabel("seconds since the first message", fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=100)
    pyplot.close(figure)
