"""Freshness: from produced to a visible row, over the hand-over from one run to the next, and from idle.

    python -m benchmarks.freshness [--quick] [--json FILE] [--plot FILE.png]    (8 minutes; quick: 3)

Real: Kafka, MySQL, `dagster dev`. A message's latency runs from just before `produce` until a watcher, which asks the ledger
every 20 ms, sees its offset passed (rows and ledger commit together).

steady   100 and 5,000 messages/s for 150 s on 4 partitions, runs of 60 s so that they hand over (by default: 600 s). The
         quick version's runs of 20 s are too short to: their successors are launched 5 s before the end, not 15.
idle     no run is alive, then 1 or 10 messages at a random moment between two ticks; the latency of the last of them.
"""

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.command import Figures, parser, table, write_json
from benchmarks.latency_plot import Steady, draw
from benchmarks.loading import Dagster, started
from benchmarks.one_stream import settings
from benchmarks.servers import servers

RATES = (100, 5_000)
AT_ONCE = (1, 10)
HANDOVER_MARGIN_SECONDS = 10.0
BATCH = 10
TICK_SECONDS = 5.0


@dataclass(frozen=True)
class Size:
    """How long each part takes."""

    steady_seconds: float = 150
    run_seconds: float = 60
    idle_times: int = 5


QUICK = Size(steady_seconds=40, run_seconds=20, idle_times=2)


def steady(dagster: Dagster, rate: int, seconds: float) -> tuple[Figures, Steady]:
    """A rate kept up. It begins while a run waits for more, so that what is measured is no start from idle."""
    dagster.topic.send(BATCH)
    dagster.topic.wait_visible()
    before, known = dagster.topic.sent_counts(), dict(dagster.topic.runs)
    dagster.topic.send_at(rate, seconds)
    dagster.topic.wait_visible()
    latencies = dagster.topic.latencies(before)
    handovers = [first for run, first in dagster.topic.runs.items() if run not in known]
    margin = HANDOVER_MARGIN_SECONDS
    figures: Figures = {
        "messages": len(latencies.seconds),
        "seconds": latencies.percentiles(),
        "runs": 1 + len(handovers),
        "handovers": [
            {
                "seconds_without_commit": round(one.pause, 2),
                "seconds_around": latencies.percentiles((one.seen - one.pause - margin, one.seen + margin)),
            }
            for one in handovers
        ],
    }
    return figures, Steady(rate, latencies, [one.seen for one in handovers])


def from_idle(dagster: Dagster, count: int, draw_: random.Random) -> float:
    """Seconds until the last of so many messages is visible, when no run was alive."""
    dagster.wait_idle()
    time.sleep(draw_.uniform(0, TICK_SECONDS))
    before = dagster.topic.sent_counts()
    dagster.topic.send(count)
    dagster.topic.wait_visible()
    return round(float(dagster.topic.latencies(before).seconds[-1]), 2)


def measure(quick: bool, plot: Path | None = None) -> Figures:
    """Plain figures; seconds, bytes. `plot` gets a picture of the steady rates, where matplotlib is installed."""
    size = QUICK if quick else Size()
    figures: Figures = {"steady": {}, "idle": {}}
    series: list[Steady] = []
    draw_ = random.Random(7)
    with (
        servers() as servers_,
        started(servers_, "steady", settings("steady", run_seconds=size.run_seconds)) as dagster,
    ):
        for rate in RATES:
            dagster.wait_idle()
            figures["steady"][str(rate)], one = steady(dagster, rate, size.steady_seconds)
            series.append(one)
            _tell(f"{rate:,} messages/s", figures["steady"][str(rate)])
        for count in AT_ONCE:
            found = [from_idle(dagster, count, draw_) for _ in range(size.idle_times)]
            figures["idle"][str(count)] = {"median": statistics.median(found), "max": max(found), "all": found}
            _tell(f"{count} from idle", figures["idle"][str(count)])
    if plot is not None:
        draw(series, plot)
    return figures


def report(figures: Figures) -> str:
    heads = [
        "from produced to visible",
        "p50",
        "p95",
        "p99",
        "max",
        "runs",
        f"p99 within {HANDOVER_MARGIN_SECONDS:.0f} s of each hand-over",
    ]
    rows = []
    for rate, one in figures["steady"].items():
        near = ", ".join(f"{each['seconds_around']['p99']:.2f} s" for each in one["handovers"])
        rows.append([f"{int(rate):,} messages/s", *_seconds(one["seconds"]), str(one["runs"]), near or "none seen"])
    for count, one in figures["idle"].items():
        rows.append(
            [f"{count} from idle ({len(one['all'])} times)", f"{one['median']:.2f} s", "", "", f"{one['max']:.2f} s"]
        )
        rows[-1] += ["", ""]
    return table(heads, rows)


def _seconds(percentiles: dict[str, float]) -> list[str]:
    return [f"{percentiles[name]:.2f} s" for name in ("p50", "p95", "p99", "max")]


def _tell(what: str, figures: Figures) -> None:
    print(f"{what}: {figures}", flush=True)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--plot", type=Path, metavar="FILE", help="a picture of the steady rates (needs matplotlib)")
    given = options.parse_args()
    figures = measure(given.quick, given.plot)
    print(f"\n{report(figures)}")
    write_json(given.json, figures)


if __name__ == "__main__":
    main()
