"""What a sensor tick and an asset's page cost with ten thousand windows and thousands of runs, before and after retention.

    python benchmarks/windows.py [--runs 3000]

A real `dagster dev`, a real broker; pages are the GraphQL requests the UI makes for them, ticks are read from Dagster's own
records. Medians of `REPEATS`.
"""

import argparse
import datetime as dt
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
from confluent_kafka.admin import AdminClient, NewTopic
from dagster._core.events import AssetMaterialization, DagsterEvent, StepMaterializationData

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.many_windows import STREAM, WINDOWS
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest.orchestration.names import LIVE_TAG, STREAM_TAG
from kafka_ingest.orchestration.pruning import prune_runs
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

REPEATS = 7
KEYS = [dg.AssetKey([STREAM.name, n]) for n in ("information", "announcement", "dead_letters")]

_PARTITIONS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    partitionStats { numMaterialized numPartitions } partitionKeyConnection(limit: 20000, ascending: false) { results }
    assetPartitionStatuses { ... on TimePartitionStatuses { ranges { startKey endKey status } } } } } }"""
_EVENTS = """query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 100) { runId partition timestamp metadataEntries { label } } } } }"""
_RUNS = "{ runsOrError(limit: 50) { ... on Runs { results { runId status tags { key value } } } } }"
_TICKS = """{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name sensorState {
    ticks(limit: 20) { timestamp endTimestamp } } } } } } }"""


@dg.op
def nothing() -> None:
    """Does nothing."""


@dg.job
def ingest() -> None:
    """Stands for past runs."""
    nothing()


def fill(home: Path, count: int) -> None:
    """Finished runs, spread evenly over the windows, each with a materialization of three assets."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for number in range(count):
            run = instance.create_run_for_job(ingest, tags={STREAM_TAG: STREAM.name, LIVE_TAG: STREAM.name})
            hours = number * WINDOWS // count
            window = (STREAM.window_start + dt.timedelta(hours=hours)).strftime("%Y-%m-%d-%H:00")
            for key in KEYS:
                made = AssetMaterialization(key, partition=window, metadata={f"n{i}": i for i in range(16)})
                data = StepMaterializationData(made)
                instance.report_dagster_event(
                    DagsterEvent("ASSET_MATERIALIZATION", ingest.name, event_specific_data=data), run.run_id
                )
            instance.report_dagster_event(DagsterEvent("PIPELINE_SUCCESS", ingest.name), run.run_id)


def median_ms(call: Callable[[], Any]) -> float:
    call()  # warm
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def measure(home: Path, environ: dict[str, str]) -> dict[str, float]:
    """Milliseconds of each page and of a tick."""
    key = {"path": [STREAM.name, "information"]}
    with DagsterDev(home, environ) as dagster:
        found = {
            "partitions page": median_ms(lambda: dagster.graphql(_PARTITIONS, key=key)),
            "events page": median_ms(lambda: dagster.graphql(_EVENTS, key=key)),
            "runs page": median_ms(lambda: dagster.graphql(_RUNS)),
        }
        started = time.time()

        def ticks() -> list[float]:
            """Seconds of each tick since the start of this Dagster."""
            nodes = dagster.graphql(_TICKS)["repositoriesOrError"]["nodes"]
            sensors = {s["name"]: s["sensorState"]["ticks"] for node in nodes for s in node["sensors"]}
            new = [t for t in sensors[f"{STREAM.name}_sensor"] if t["endTimestamp"] and t["timestamp"] > started]
            return [t["endTimestamp"] - t["timestamp"] for t in new]

        dagster.wait_for(lambda: len(ticks()) >= REPEATS, 180, f"{REPEATS} ticks")
        found["sensor tick"] = statistics.median(ticks()) * 1000
    print({what: round(ms) for what, ms in found.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=3_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "dagster"
        kafka = LocalKafka.start(Path(folder) / "kafka")
        try:
            admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
            admin.create_topics([NewTopic("information", 4, 1)])["information"].result(30)
            environ = {
                "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                "KAFKA_INGEST_DATABASE_URL": f"sqlite:///{folder}/target.db",
                "KAFKA_INGEST_STREAMS": "benchmarks.many_windows",
            }
            os.environ["DAGSTER_HOME"] = str(home)
            empty = measure(home, environ)
            fill(home, options.runs)
            full = measure(home, environ)
            later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
            with dg.DagsterInstance.from_config(str(home)) as instance:
                done = prune_runs(
                    instance, [{STREAM_TAG: [STREAM.name]}], [], before=later, most=100_000, seconds=3_600
                )
            pruned = measure(home, environ)
        finally:
            kafka.stop()
    print(f"{WINDOWS:,} windows, {options.runs:,} runs; retention deleted {done.deleted:,}\n")
    print(f"| ms | no history | {options.runs:,} runs | after retention |\n|---|---:|---:|---:|")
    for what, before in empty.items():
        print(f"| {what} | {before:,.0f} | {full[what]:,.0f} | {pruned[what]:,.0f} |")


if __name__ == "__main__":
    main()
