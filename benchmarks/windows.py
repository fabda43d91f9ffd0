"""What a sensor tick and Dagster's pages cost with ten thousand windows and thousands of runs, before and after retention.

    python -m benchmarks.windows [--runs 3000] [--runs-a-window 6]    (half an hour)

Real: Kafka, MySQL, `dagster dev`, one run that loaded messages, the requests (recorded from a browser that opens the pages),
the ticks (read from Dagster's storage). Made: the history, as copies of the real run; a first one has caught up with all
windows but the last, then so many a window have followed. Medians of `REPEATS`. Needs Chromium.
"""

import argparse
import datetime as dt
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.many_windows import STREAM, WINDOWS
from benchmarks.past_runs import PastRun, add_runs, add_ticks
from benchmarks.ui_requests import PageTimes, record, replay
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.names import STREAM_TAG, Names
from kafka_ingest.orchestration.pruning import prune_runs
from kafka_ingest.orchestration.sensors import TICK_SECONDS
from kafka_ingest.streams.windows import first_window_start, window_format
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce

REPEATS = 9
MESSAGES = 500
SENSORS = (Names().sensor(STREAM), "alerts")
# Dagster deletes skipped ticks after a day (dagster.yaml), the others later.
SKIPPED_TICKS = 86_400 // TICK_SECONDS
TABLE = f"/assets/{STREAM.name}/information"
PAGES = {
    "partitions page": f"{TABLE}?view=partitions",
    "events page": f"{TABLE}?view=events",
    "overview page": f"{TABLE}?view=overview",
    "runs page": "/runs",
    "sensor page": f"/locations/kafka_ingest.definitions/sensors/{SENSORS[0]}",
}


@dataclass(frozen=True)
class Measured:
    """One state of the instance."""

    pages: dict[str, PageTimes]
    ticks: dict[str, float]
    """Milliseconds of a sensor's tick, median."""
    databases: float
    """MB of the three databases of all runs and ticks."""
    run_files: float
    """MB of the files each run has of its own."""
    runs: int
    windows: int
    """Materialized ones of the table."""


def measure(home: Path, environ: dict[str, str]) -> Measured:
    """Start Dagster on what is there; nothing waits in Kafka."""
    with DagsterDev(home, environ) as dagster:
        address = f"http://127.0.0.1:{dagster.port}"
        pages = {name: replay(address, bodies, REPEATS) for name, bodies in record(address, PAGES).items()}
        with dg.DagsterInstance.from_config(str(home)) as instance:
            # Not over GraphQL: below `repositoriesOrError` it finds no ticks of a sensor that an earlier Dagster has known
            # (1.13 looks them up by an id that changes with each start).
            def seconds(sensor: str) -> list[float]:
                """Of each tick that has ended since the pages were asked for."""
                states = [s for s in instance.all_instigator_state() if s.instigator_name == sensor]
                ticks = [
                    tick
                    for state in states
                    for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, after=started)
                ]
                return [tick.end_timestamp - tick.timestamp for tick in ticks if tick.end_timestamp]

            started = time.time()
            dagster.wait_for(lambda: all(len(seconds(s)) >= REPEATS for s in SENSORS), 600, f"{REPEATS} ticks")
            found = {sensor: statistics.median(seconds(sensor)) * 1000 for sensor in SENSORS}
            runs = instance.get_runs_count()
            windows = len(instance.get_materialized_partitions(dg.AssetKey([STREAM.name, "information"])))
    state = Measured(pages, found, _megabytes(home, own=False), _megabytes(home, own=True), runs, windows)
    print(state, flush=True)
    return state


def _megabytes(home: Path, *, own: bool) -> float:
    shared = {"runs.db", "index.db", "schedules.db"}
    folders = ("history", "schedules", "storage") if own else ("history", "schedules")
    files = [path for folder in folders for path in (home / folder).rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if (path.name.split("-")[0] in shared) != own) / 1e6


def first_run(home: Path, environ: dict[str, str], servers: str) -> tuple[str, str, dt.datetime]:
    """Have the sensor load something: id, window and start of the run that all others are copies of."""
    produce(servers, "information", news(seed=1, count=MESSAGES), Truth())
    with DagsterDev(home, environ) as dagster:
        dagster.wait_for(lambda: [r["status"] for r in dagster.runs()] == ["SUCCESS"], 180, "the real run")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            (record_,) = instance.get_run_records()
            assert record_.start_time
            at = dt.datetime.fromtimestamp(record_.start_time, dt.timezone.utc)
            return record_.dagster_run.run_id, record_.dagster_run.tags["dagster/partition"], at


def past(runs: int, runs_a_window: int) -> list[PastRun]:
    """One run that caught up, then so many in each window up to the last one; the present window is the real run's."""
    hours = [first_window_start(STREAM) + dt.timedelta(hours=n) for n in range(WINDOWS - 1)]
    keys = [hour.strftime(window_format(STREAM)) for hour in hours]
    first = max(0, len(hours) - (runs - 1) // runs_a_window)
    made = [PastRun(hours[first], keys[: first + 1])]
    for number in range(runs - 1):
        window, turn = divmod(number, runs_a_window)
        place = min(first + window, len(hours) - 1)
        made.append(PastRun(hours[place] + turn * dt.timedelta(hours=1) / runs_a_window, [keys[place]]))
    return made


def retain(home: Path) -> str:
    """What the daily job does to runs, as if all were too old."""
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
    checks = build_definitions([STREAM]).resolve_asset_graph().asset_check_keys
    started = time.perf_counter()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        done = prune_runs(instance, [{STREAM_TAG: [STREAM.name]}], checks, before=later, most=100_000, seconds=3_600)
    return f"retention: {done.deleted:,} runs deleted in {time.perf_counter() - started:.0f} s, kept {done.kept}"


def report(states: dict[str, Measured]) -> None:
    print(f"\n| {WINDOWS:,} windows | {' | '.join(states)} |\n|---|{'---:|' * len(states)}")
    all_ = list(states.values())
    for sensor in SENSORS:
        print(f"| tick of `{sensor}` | {' | '.join(f'{m.ticks[sensor]:,.0f} ms' for m in all_)} |")
    for page in PAGES:
        found = [m.pages[page] for m in all_]
        cells = [f"{p.together:,.0f} ms ({p.name} {p.slowest:,.0f})" for p in found]
        print(f"| {page}, {found[0].requests} requests | {' | '.join(cells)} |")
    values: dict[str, Callable[[Measured], str]] = {
        "runs": lambda m: f"{m.runs:,}",
        "materialized windows": lambda m: f"{m.windows:,}",
        "databases": lambda m: f"{m.databases:,.1f} MB",
        "files of runs": lambda m: f"{m.run_files:,.1f} MB",
    }
    for what, value in values.items():
        print(f"| {what} | {' | '.join(value(m) for m in all_)} |")


def run(folder: Path, runs: int, runs_a_window: int) -> dict[str, Measured]:
    """The three states, in a folder of their own."""
    home = folder / "dagster"
    with ExitStack() as servers:
        kafka = LocalKafka.start(folder / "kafka")
        servers.callback(kafka.stop)
        database = LocalDatabase.start("mysql", folder / "mysql")
        servers.callback(database.stop)
        database.create_database("bench")
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic("information", 4, 1)])["information"].result(30)
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_INGEST_DATABASE_URL": database.url("bench"),
            "KAFKA_INGEST_STREAMS": "benchmarks.many_windows",
            # Nothing listens there: the sensor of alerts looks, and has nothing to tell.
            "KAFKA_INGEST_ALERT_WEBHOOK": "http://127.0.0.1:9/",
        }
        real = first_run(home, environ, kafka.bootstrap_servers)
        states = {"one run": measure(home, environ)}
        started = time.perf_counter()
        add_runs(home, *real, past(runs, runs_a_window))
        for sensor in SENSORS:
            add_ticks(home, sensor, {"SKIPPED": SKIPPED_TICKS}, TICK_SECONDS)
        add_ticks(home, SENSORS[0], {"SUCCESS": runs}, 3_600 / runs_a_window)
        print(f"history made in {time.perf_counter() - started:.0f} s", flush=True)
        states[f"{runs:,} more"] = measure(home, environ)
        print(retain(home), flush=True)
        states["after retention"] = measure(home, environ)
    return states


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3_000)
    parser.add_argument("--runs-a-window", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report(run(Path(folder), options.runs, options.runs_a_window))


if __name__ == "__main__":
    main()
