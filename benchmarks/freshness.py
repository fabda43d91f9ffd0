"""Freshness: from produced to a visible row, over the hand-over from one run to the next, from idle, and by the trickle.

    python -m benchmarks.freshness [--quick] [--json FILE] [--plot FILE.png]    (20 minutes; quick: 6)

Real: Kafka, MySQL, `dagster dev`. A message's latency runs from just before `produce` until a watcher, which asks the ledger
every 20 ms, sees its offset passed (rows and ledger commit together).

steady   100 and 5,000 messages/s for 150 s on 4 partitions, runs of 60 s so that they hand over (by default: 600 s). The
         quick version's runs of 20 s are too short to: their successors are launched 5 s before the end, not 15.
idle     no run is alive, then 1 or 10 messages at a random moment between two ticks; the latency of the last of them.
trickle  1 message/s with the default policy: what it costs, and what idling as long costs.
alone    one run that loads 10 messages and ends. From it is *computed*, not measured, what a run per batch of 10 would cost.

CPU seconds are of the processes' own accounts (benchmarks/usage.py); bytes are what DAGSTER_HOME grew, ticks and logs included.
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
from benchmarks.usage import RUNS, cpu_seconds, difference, home_bytes

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
    trickle_seconds: float = 600
    rest_seconds: float = 30
    alone_times: int = 5


QUICK = Size(steady_seconds=40, run_seconds=20, idle_times=2, trickle_seconds=60, rest_seconds=10, alone_times=2)


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


def trickle(dagster: Dagster, size: Size) -> Figures:
    """One message a second, and an idle while before it."""
    rest = Account(dagster)
    time.sleep(size.rest_seconds)
    idle = rest.close()
    before, account = dagster.topic.sent_counts(), Account(dagster)
    dagster.topic.send_at(1, size.trickle_seconds)
    dagster.topic.wait_visible()
    dagster.wait_idle()
    used = account.close()
    factor = used["wall_seconds"] / idle["wall_seconds"]
    return {
        **used,
        "messages": sum(dagster.topic.sent_counts().values()) - sum(before.values()),
        "latency_seconds": dagster.topic.latencies(before).percentiles(),
        "idle_as_long": {
            "cpu_seconds": {role: round(cpu * factor, 1) for role, cpu in idle["cpu_seconds"].items()},
            "home_bytes": round(idle["home_bytes"] * factor),
        },
    }


def alone(dagster: Dagster, times: int) -> Figures:
    """One run that loads a batch and ends: medians."""
    found = []
    for _ in range(times):
        runs, account = dagster.run_count(), Account(dagster)
        dagster.topic.send(BATCH)
        dagster.topic.wait_visible()
        dagster.wait_runs(runs + 1)
        found.append(account.close())
    return {
        "cpu_seconds_of_run": round(statistics.median(each["cpu_seconds"][RUNS] for each in found), 2),
        "cpu_seconds_of_all": round(statistics.median(sum(each["cpu_seconds"].values()) for each in found), 2),
        "home_bytes": round(statistics.median(each["home_bytes"] for each in found)),
        "wall_seconds": round(statistics.median(each["wall_seconds"] for each in found), 1),
    }


class Account:
    """What is used between its making and `close`."""

    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._cpu, self._bytes = cpu_seconds(dagster.dev), home_bytes(dagster.dev)
        self._runs, self._started = dagster.run_count(), time.monotonic()

    def close(self) -> Figures:
        cpu = difference(cpu_seconds(self._dagster.dev), self._cpu)
        return {
            "wall_seconds": round(time.monotonic() - self._started, 1),
            "runs": self._dagster.run_count() - self._runs,
            "cpu_seconds": {role: round(seconds, 2) for role, seconds in cpu.items()},
            "home_bytes": home_bytes(self._dagster.dev) - self._bytes,
        }


def measure(quick: bool, plot: Path | None = None) -> Figures:
    """Plain figures; seconds, bytes. `plot` gets a picture of the steady rates, where matplotlib is installed."""
    size = QUICK if quick else Size()
    figures: Figures = {"steady": {}, "idle": {}}
    series: list[Steady] = []
    draw_ = random.Random(7)
    with servers() as servers_:
        with started(servers_, "steady", settings("steady", run_seconds=size.run_seconds)) as dagster:
            for rate in RATES:
                dagster.wait_idle()
                figures["steady"][str(rate)], one = steady(dagster, rate, size.steady_seconds)
                series.append(one)
                _tell(f"{rate:,} messages/s", figures["steady"][str(rate)])
            for count in AT_ONCE:
                found = [from_idle(dagster, count, draw_) for _ in range(size.idle_times)]
                figures["idle"][str(count)] = {"median": statistics.median(found), "max": max(found), "all": found}
                _tell(f"{count} from idle", figures["idle"][str(count)])
            dagster.wait_idle()
        with started(servers_, "trickle", settings("trickle")) as dagster:
            figures["trickle"] = trickle(dagster, size)
            _tell("trickle", figures["trickle"])
        with started(servers_, "alone", settings("alone", linger_seconds=0)) as dagster:
            figures["alone"] = alone(dagster, size.alone_times)
            _tell("alone", figures["alone"])
    figures["computed_run_per_batch"] = run_per_batch(figures["trickle"], figures["alone"])
    if plot is not None:
        draw(series, plot)
    return figures


def run_per_batch(trickled: Figures, one: Figures) -> Figures:
    """The trickle's messages by a run for each ten: computed from what one run costs."""
    runs = -(-trickled["messages"] // BATCH)
    cpu, size = one["cpu_seconds_of_run"], one["home_bytes"]
    return {"runs": runs, "cpu_seconds_of_runs": round(runs * cpu, 1), "home_bytes": runs * size}


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
    trickled = figures["trickle"]
    rows.append(["1 message/s", *_seconds(trickled["latency_seconds"]), str(trickled["runs"]), ""])
    for count, one in figures["idle"].items():
        rows.append(
            [f"{count} from idle ({len(one['all'])} times)", f"{one['median']:.2f} s", "", "", f"{one['max']:.2f} s"]
        )
        rows[-1] += ["", ""]
    idle, one, computed = trickled["idle_as_long"], figures["alone"], figures["computed_run_per_batch"]
    cost = ["cost", "runs", "CPU of runs", "CPU of all", "DAGSTER_HOME"]
    costs = [
        [f"1 message/s for {trickled['wall_seconds']:.0f} s", str(trickled["runs"]), *_cost(trickled)],
        ["idle as long", "0", *_cost(idle)],
        [
            "one run of 10 messages alone",
            "1",
            f"{one['cpu_seconds_of_run']:.2f} s",
            f"{one['cpu_seconds_of_all']:.2f} s",
            f"{one['home_bytes'] / 1000:,.0f} kB",
        ],
        [
            f"a run per {BATCH} messages (computed: {computed['runs']} times the line above)",
            str(computed["runs"]),
            f"{computed['cpu_seconds_of_runs']:.1f} s",
            "",
            f"{computed['home_bytes'] / 1000:,.0f} kB",
        ],
    ]
    return f"{table(heads, rows)}\n\n{table(cost, costs)}"


def _seconds(percentiles: dict[str, float]) -> list[str]:
    return [f"{percentiles[name]:.2f} s" for name in ("p50", "p95", "p99", "max")]


def _cost(used: Figures) -> list[str]:
    cpu = used["cpu_seconds"]
    return [f"{cpu[RUNS]:.1f} s", f"{sum(cpu.values()):.1f} s", f"{used['home_bytes'] / 1000:,.0f} kB"]


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
