"""What a trickle costs: runs that wait for more, against a run per batch, against an idle stream.

    python -m benchmarks.trickle [--quick] [--json FILE]    (70 minutes; quick: 5)

Real: Kafka, MySQL, `dagster dev`. One message a second, which is a batch of 10 every 10 seconds.

drained    the default policy: a run waits for the next batch (`linger_seconds`), for up to `max_run_seconds`; an hour.
per batch  the same stream with `linger_seconds=0`, where each batch is a run of its own; a tenth as long.
idle       nothing arrives; the daemon's ticks, the code server, the webserver.

CPU seconds are of the processes' own accounts (benchmarks/usage.py); bytes are what DAGSTER_HOME grew, ticks and logs included.
All are told per hour.
"""

import time

from benchmarks.command import Figures, run, table
from benchmarks.loading import Dagster, started
from benchmarks.one_stream import settings
from benchmarks.servers import servers
from benchmarks.usage import RUNS, cpu_seconds, difference, home_bytes

HOUR = 3_600.0
SECONDS, QUICK_SECONDS = HOUR, 120.0
IDLE_SECONDS, QUICK_IDLE_SECONDS = 60.0, 10.0
PER_BATCH_SHARE = 0.1


class Account:
    """What is used between its making and `close`."""

    def __init__(self, dagster: Dagster) -> None:
        self._dagster = dagster
        self._cpu, self._bytes = cpu_seconds(dagster.dev), home_bytes(dagster.dev)
        self._runs, self._started = dagster.run_count(), time.monotonic()

    def close(self) -> Figures:
        """Seconds that passed; runs, processor seconds and bytes, per hour."""
        seconds = time.monotonic() - self._started
        cpu = difference(cpu_seconds(self._dagster.dev), self._cpu)
        runs = self._dagster.run_count() - self._runs
        return {
            "seconds": round(seconds, 1),
            "runs_seen": runs,
            "runs": round(runs * HOUR / seconds, 1),
            "cpu_seconds": {role: round(used * HOUR / seconds, 1) for role, used in cpu.items()},
            "home_bytes": round((home_bytes(self._dagster.dev) - self._bytes) * HOUR / seconds),
        }


def idle(dagster: Dagster, seconds: float) -> Figures:
    account = Account(dagster)
    time.sleep(seconds)
    return account.close()


def trickle(dagster: Dagster, seconds: float) -> Figures:
    """One message a second, until the last is visible and its run has ended."""
    before, account = dagster.topic.sent_counts(), Account(dagster)
    dagster.topic.send_at(1, seconds)
    dagster.topic.wait_visible()
    dagster.wait_idle()
    used = account.close()
    latencies = dagster.topic.latencies(before)
    return {**used, "messages": len(latencies.seconds), "latency_seconds": latencies.percentiles()}


def measure(quick: bool) -> Figures:
    """Plain figures; seconds, bytes."""
    seconds = QUICK_SECONDS if quick else SECONDS
    figures: Figures = {}

    def keep(name: str, found: Figures) -> None:
        figures[name] = found
        print(f"{name}: {found}", flush=True)

    with servers() as servers_:
        with started(servers_, "per_batch", settings("per_batch", linger_seconds=0)) as dagster:
            keep("per batch", trickle(dagster, seconds * PER_BATCH_SHARE))
        with started(servers_, "drained", settings("drained")) as dagster:
            keep("idle", idle(dagster, QUICK_IDLE_SECONDS if quick else IDLE_SECONDS))
            keep("drained", trickle(dagster, seconds))
    return figures


def report(figures: Figures) -> str:
    heads = ["per hour", "measured", "runs", "CPU of runs", "CPU of all", "DAGSTER_HOME", "p50", "p99"]
    rows = []
    for name, one in figures.items():
        latency = one.get("latency_seconds")
        rows.append(
            [
                name,
                f"{one['seconds']:,.0f} s",
                f"{one['runs']:,.0f}",
                f"{one['cpu_seconds'][RUNS]:,.0f} s",
                f"{sum(one['cpu_seconds'].values()):,.0f} s",
                f"{one['home_bytes'] / 1e6:,.1f} MB",
                *([f"{latency[p]:.1f} s" for p in ("p50", "p99")] if latency else ["", ""]),
            ]
        )
    return table(heads, rows)


if __name__ == "__main__":
    run(__doc__, measure, report)
