"""What checks, compaction and run retention cost on a long history.

    python benchmarks/history.py [--entries 1000000] [--runs 2000] [--database mysql|mariadb] [--only ledger|checks|runs]

The ledger stands in a real server started for this; the runs are those of a Dagster instance in SQLite, each with the
files of a real run of the demo's size.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of an op as they stand.

import argparse
import datetime as dt
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import StepMaterializationData

from kafka_ingest.checks.dead_letter_ratio import check_dead_letter_ratio
from kafka_ingest.checks.run_ledger import check_accounting, check_tiling
from kafka_ingest.checks.table_rows import audit_rows, check_run_rows
from kafka_ingest.checks.whole_ledger import audit_accounting, audit_tiling
from kafka_ingest.engine.compaction import compact_ledger
from kafka_ingest.ledger.tables import BATCHES, OFFSETS
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.orchestration.names import STREAM_TAG
from kafka_ingest.orchestration.pruning import prune_runs
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.streams.information import STREAM, Information
from kafka_ingest.streams.target import TargetTable

PARTITIONS = 4
OFFSETS_AN_ENTRY = 10
# A run of ten minutes with two slices a second.
ENTRIES_A_RUN = 1_200 * PARTITIONS
START = dt.datetime(2026, 1, 1)  # noqa: DTZ001  a DATETIME of the ledger
TARGET = TargetTable.of(Information)


def timed(what: str, call: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    found = call()
    print(f"{what:<58} {1000 * (time.perf_counter() - started):>10,.1f} ms")
    return found


def fill(sink: Sink, entries: int) -> str:
    """The ledger of a stream with so many live entries; the last run's rows are in the table. Its run id."""
    rows, steps, last = [], entries // PARTITIONS, ""
    with sink.engine.begin() as connection:
        for number in range(steps):
            at = START + dt.timedelta(seconds=number / 2)
            last = f"run-{number // (ENTRIES_A_RUN // PARTITIONS)}"
            for partition in range(PARTITIONS):
                rows.append(
                    {
                        "stream": STREAM.name, "topic": "information", "kafka_partition": partition,
                        "start_offset": number * OFFSETS_AN_ENTRY, "end_offset": (number + 1) * OFFSETS_AN_ENTRY,
                        "kind": "live", "row_count": OFFSETS_AN_ENTRY, "delete_count": 0, "dead_letter_count": 0,
                        "ignored_count": 0, "absent_count": 0, "min_timestamp": at, "max_timestamp": at,
                        "window_key": at.strftime("%Y-%m-%d-%H:00"), "run_id": last, "loaded_at": at,
                        "rows_by_table": json.dumps({TARGET.name: OFFSETS_AN_ENTRY}),
                    }
                )  # fmt: skip
            if len(rows) >= 10_000:
                connection.execute(sa.insert(BATCHES), rows)
                rows = []
        if rows:
            connection.execute(sa.insert(BATCHES), rows)
        end = steps * OFFSETS_AN_ENTRY
        connection.execute(
            sa.insert(OFFSETS),
            [
                {"stream": STREAM.name, "topic": "information", "kafka_partition": p, "next_offset": end, "run_id": last,
                 "updated_at": START}
                for p in range(PARTITIONS)
            ],
        )  # fmt: skip
    mine = sa.select(sa.func.min(BATCHES.c.start_offset)).where(BATCHES.c.run_id == last)
    with sink.engine.begin() as connection:
        low = connection.execute(mine).scalar_one()
        for partition in range(PARTITIONS):
            for start in range(low, end, 5_000):
                connection.execute(
                    sa.insert(TARGET.table),
                    [
                        {"id": str(o), "title": "t" * 80, "content": "c" * 300, "publish_time": START,
                         "_kafka_topic": "information", "_kafka_partition": partition, "_kafka_offset": o}
                        for o in range(start, min(end, start + 5_000))
                    ],
                )  # fmt: skip
    with sink.engine.begin() as connection:
        connection.exec_driver_sql(f"ANALYZE TABLE {BATCHES.name}, {TARGET.name}")
    return last


def ledger(kind: str, entries: int, only_checks: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = LocalDatabase.start(kind, Path(folder))
        try:
            server.create_database("bench")
            sink = open_sink(sa.make_url(server.url("bench")))
            prepare_tables(sink, STREAM)
            print(f"\n{kind}, {entries:,} ledger entries")
            run = timed("(filling)", lambda: fill(sink, entries))
            for attempt in ("first", "again"):
                for check in (check_accounting, check_tiling, check_dead_letter_ratio):
                    found = timed(f"{check.__name__}, {attempt}", partial(check, sink, STREAM, run))
                    assert found.passed, found.faults[:3]
                found = timed(f"check_run_rows, {attempt}", lambda: check_run_rows(sink, STREAM, run, TARGET))
                assert found.passed, found.faults[:3]
            small = "small"
            with sink.engine.begin() as connection:  # what most runs are: a few slices
                newest = connection.execute(sa.select(sa.func.max(BATCHES.c.id))).scalar_one()
                connection.execute(sa.update(BATCHES).where(BATCHES.c.id > newest - 40).values(run_id=small))
            for check in (check_accounting, check_tiling, check_dead_letter_ratio):
                timed(f"{check.__name__}, run of 40 entries", partial(check, sink, STREAM, small))
            timed(
                "check_run_rows, run of 40 entries",
                lambda: check_run_rows(sink, STREAM, small, TARGET),
            )
            if only_checks:
                return
            assert timed("audit_accounting", lambda: audit_accounting(sink, STREAM)).passed
            assert timed("audit_tiling", lambda: audit_tiling(sink, STREAM)).passed
            timed(
                "audit_rows (one run's rows in the table)",
                lambda: audit_rows(sink, STREAM, TARGET, seconds=600),
            )
            before = dt.datetime(2100, 1, 1, tzinfo=dt.timezone.utc)
            done = timed("compact_ledger", lambda: compact_ledger(sink, STREAM, before=before, seconds=3_600))
            with sink.engine.connect() as connection:
                left = connection.execute(sa.select(sa.func.count()).select_from(BATCHES)).scalar_one()
            print(f"  {done}: {entries:,} entries → {left:,}")
            assert audit_accounting(sink, STREAM).passed
            assert audit_tiling(sink, STREAM).passed
            sink.close()
        finally:
            server.stop()


@dg.op
def talks(context: dg.OpExecutionContext) -> None:
    for number in range(40):
        context.log.info(f"line {number} " + "x" * 80)


@dg.job(executor_def=dg.in_process_executor)
def ingest() -> None:
    for number in range(6):
        talks.alias(f"op_{number}")()


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def runs(count: int) -> None:
    """Runs of 13 days ago, one per 10 minutes, each materializing three assets in the window of its hour."""
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        storage: Any = instance.event_log_storage
        template = ingest.execute_in_process(instance=instance).run_id
        shard = Path(storage.path_for_shard(template))
        with sa.create_engine(f"sqlite:///{shard}").connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        keys = [dg.AssetKey(["information", n]) for n in ("information", "announcement", "dead_letters")]
        started = time.perf_counter()
        for number in range(count):
            run = instance.create_run_for_job(ingest, tags={STREAM_TAG: "information"})
            shutil.copy(shard, storage.path_for_shard(run.run_id))
            window = (START + dt.timedelta(minutes=10 * number)).strftime("%Y-%m-%d-%H:00")
            for key in keys:
                made = dg.AssetMaterialization(key, partition=window, metadata={f"n{i}": i for i in range(16)})
                event = dg.DagsterEvent(
                    "ASSET_MATERIALIZATION", ingest.name, event_specific_data=StepMaterializationData(made)
                )
                instance.report_dagster_event(event, run.run_id)
            instance.report_dagster_event(dg.DagsterEvent("PIPELINE_SUCCESS", ingest.name), run.run_id)
        print(f"\n{count:,} runs made in {time.perf_counter() - started:.0f} s")
        root = Path(folder)
        before, windows = size_of(root), {k: instance.get_materialized_partitions(k) for k in keys}
        later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=1)
        done = timed(
            "prune_runs",
            lambda: prune_runs(
                instance, [{STREAM_TAG: ["information"]}], [], before=later, most=100_000, seconds=3_600
            ),
        )
        after = size_of(root)
        print(
            f"  {done.deleted:,} deleted, kept {done.kept}; {before / 1e6:,.1f} MB → {after / 1e6:,.1f} MB of storage"
        )
        assert {k: instance.get_materialized_partitions(k) for k in keys} == windows
        timed(
            "prune_runs, nothing to do",
            lambda: prune_runs(
                instance, [{STREAM_TAG: ["information"]}], [], before=later, most=100_000, seconds=3_600
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--database", choices=["mysql", "mariadb"], default="mysql")
    parser.add_argument("--only", choices=["ledger", "checks", "runs"])
    options = parser.parse_args()
    if options.only != "runs":
        ledger(options.database, options.entries, options.only == "checks")
    if options.only in (None, "runs"):
        runs(options.runs)


if __name__ == "__main__":
    main()
