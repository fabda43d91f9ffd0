"""What a year of 100 busy streams is in Dagster's PostgreSQL: rows, bytes, times of its pages and of the daily retention.

    pip install -e '.[hosts]'
    python -m benchmarks.dagster_year [--quick] [--json FILE]    (half an hour; quick: 10 minutes)

Real: Kafka, MySQL, PostgreSQL with its defaults, Dagster's services, one run of ten minutes of a busy stream, the ticks of all
sensors, the requests of the pages (recorded from a browser), the retention. Made: the history, as copies of the real run
(`postgresql_past`), as the retention leaves it: 14 days in full, and of the 46 before them the runs that stay. Runs and their
tags are those of all streams; events those of `DEEP`, and of all in the last hour; ticks those of `TICKING`. What a year has is
computed from rows of a run and measured bytes of a row. Needs dagster-postgres and Chromium.
"""

import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import sqlalchemy as sa
import yaml
from confluent_kafka import Producer

from benchmarks.command import Figures, run, table
from benchmarks.many_streams import RUN_VARIABLE, stream, topic_names, write_package
from benchmarks.postgresql_past import SLOTS_A_DAY, SLOTS_AN_HOUR, Past, Template, run_id_of
from benchmarks.servers import servers
from benchmarks.slots import send
from benchmarks.ui_requests import record, replay
from kafka_ingest.local.ports import LOOPBACK
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.names import STREAM_TAG, Names
from kafka_ingest.orchestration.pruning import prune_runs
from kafka_ingest.orchestration.run_metrics import RunMetrics
from kafka_ingest.orchestration.sensors import TICK_SECONDS
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.streams.stream import Stream
from kafka_ingest_tests.e2e.dagster_services import DAEMON, WEBSERVER, DagsterServices

NAME = "year"
STREAMS = 100
DEEP = range(1)
TICKING = range(10)
REPEATS, QUICK_REPEATS = 5, 3
RETENTION_DAYS = 14
YEAR_DAYS = 365
MADE_DAYS = 60
QUICK_RUN_SECONDS = 60
RUN_STARTS_SECONDS = 300
_ASSET = f"/assets/{NAME}_0/{NAME}_0"
PAGES = {
    "runs": "/runs",
    "a run": f"/runs/{run_id_of(0, SLOTS_A_DAY // 2)}",
    "table, overview": f"{_ASSET}?view=overview",
    "table, events": f"{_ASSET}?view=events",
    "table, partitions": f"{_ASSET}?view=partitions",
    "table, checks": f"{_ASSET}?view=checks",
    "all assets": "/assets",
    "asset graph": "/asset-groups",
    "sensor": f"/locations/kafka_ingest/sensors/{NAME}_0_sensor",
    "automation": "/automation",
}
TABLES = ("event_logs", "asset_check_executions", "runs", "run_tags", "job_ticks")


@dataclass(frozen=True)
class History:
    """So many days before now: the last `full` with everything, those before with what the retention leaves."""

    days: int
    full: int

    def by_day(self) -> Iterator[tuple[list[int], bool]]:
        """Oldest first: how many slots ago the runs of a day were, and whether only what the retention leaves of them is there.
        It keeps the run that was the last in its window."""
        for day in reversed(range(self.days)):
            is_left = day >= self.full
            slots = range(max(1, day * SLOTS_A_DAY), (day + 1) * SLOTS_A_DAY)
            yield [slot for slot in slots if not is_left or slot % SLOTS_AN_HOUR == 0], is_left


def measure(quick: bool) -> Figures:
    history = History(3, 1) if quick else History(MADE_DAYS, RETENTION_DAYS)
    with servers() as servers_:
        store = LocalPostgreSQL.start("postgresql", servers_.folder / "postgresql", progress=print)
        try:
            store.create_database("dagster")
            written = write_package(servers_.folder, NAME, STREAMS, 1)
            environ = servers_.environment(NAME, written["KAFKA_INGEST_STREAMS"]) | written
            environ |= {RUN_VARIABLE: str(QUICK_RUN_SECONDS)} if quick else {}
            servers_.create_topics({topic_names(NAME, number, 1)[0]: 1 for number in range(STREAMS)})
            producer = Producer({"bootstrap.servers": servers_.bootstrap})
            url = store.url("dagster")
            template = real_run(servers_.folder / "real", environ, url, producer)
            return of_history(history, servers_.folder / "history", environ, url, template, quick)
        finally:
            store.stop()


def dagster_settings(url: str) -> str:
    """For dagster.yaml: storage in this database, as docs/deployment.md has it."""
    at = sa.make_url(url)
    storage = {"scheme": "postgresql+psycopg2", "hostname": at.host, "port": at.port, "db_name": at.database}
    storage |= {"username": at.username, "password": at.password}
    return str(yaml.safe_dump({"storage": {"postgres": {"postgres_db": storage}}}))


def real_run(home: Path, environ: dict[str, str], url: str, producer: Producer) -> Template:
    """Load one stream for as long as a run lasts, under Dagster's services; what its first run was."""
    topics = list(topic_names(NAME, 0, 1))
    with DagsterServices(home, environ, settings=dagster_settings(url)) as services:

        def ended() -> list[dg.DagsterRun]:
            send(producer, topics, 5.0)
            return [each for each in services.runs() if each.is_finished]

        seconds = float(environ.get(RUN_VARIABLE, 600)) + RUN_STARTS_SECONDS
        services.wait_for(ended, seconds, "the real run")
        services.wait_for(lambda: not services.is_busy(), seconds, "the run that took over")
        services.kill(DAEMON)
        first = services.runs()[-1]
    assert first.status == dg.DagsterRunStatus.SUCCESS, first
    window = first.tags["dagster/partition"]
    after = dt.datetime.strptime(window, "%Y-%m-%d-%H:%M") + dt.timedelta(hours=1)  # noqa: DTZ007  a window's name
    return Template(first.run_id, NAME, window, after.strftime("%Y-%m-%d-%H:%M"))


def of_history(
    history: History, home: Path, environ: dict[str, str], url: str, template: Template, quick: bool
) -> Figures:
    """Make it, and measure it."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg2"))
    began = time.perf_counter()
    past = Past(engine, template)
    per_run = _rows_of(engine, template)
    print(f"rows of the real run {per_run}", flush=True)
    everyone = range(STREAMS)
    past.add_keys(range(1, STREAMS))
    for number, (slots, is_left) in enumerate(history.by_day()):
        past.add([slot for slot in slots if slot >= SLOTS_AN_HOUR], everyone, deep=DEEP, is_left=is_left)
        if number % 14 == 0:
            print(f"  {number} days, {time.perf_counter() - began:.0f} s", flush=True)
    past.add(range(1, SLOTS_AN_HOUR), everyone, deep=everyone)
    past.add_ticks("SKIPPED", 86_400 // TICK_SECONDS, TICK_SECONDS, TICKING)
    past.add_ticks("SUCCESS", history.full * SLOTS_A_DAY, 86_400 / SLOTS_A_DAY, TICKING)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    made = time.perf_counter() - began
    figures: Figures = {"made in s": round(made), "rows of a run": per_run, "tables": _sizes(engine)}
    figures["year"] = _year(per_run, figures["tables"])
    print(figures, flush=True)
    with _webserver(home, environ, url) as services:
        figures["pages"] = _pages(services, QUICK_REPEATS if quick else REPEATS)
        with patch.dict(os.environ, environ | {"DAGSTER_HOME": str(home)}):
            figures["metrics ms"] = _metrics()
            figures["retention"] = _retention(history.full)
        print(f"  metrics: {figures['metrics ms']}, retention: {figures['retention']}", flush=True)
    figures["tables after"] = _sizes(engine)
    engine.dispose()
    return figures


def _pages(services: DagsterServices, repeats: int) -> Figures:
    """By page; the load is that of the machine as it was asked for."""
    address = f"http://{LOOPBACK}:{services.web_port}"
    bodies = record(address, PAGES) | {"a run's log": [_log_request(run_id_of(0, SLOTS_A_DAY // 2))]}
    figures: Figures = {}
    for name, each in bodies.items():
        times = replay(address, each, repeats)
        figures[name] = {
            "requests": times.requests, "together ms": round(times.together), "slowest ms": round(times.slowest),
            "slowest": times.name, "kB": round(times.kilobytes), "load": round(os.getloadavg()[0], 1),
        }  # fmt: skip
        print(f"  {name}: {figures[name]}", flush=True)
    return figures


@contextmanager
def _webserver(home: Path, environ: dict[str, str], url: str) -> Iterator[DagsterServices]:
    """On this storage; nothing ticks."""
    with DagsterServices(home, environ, settings=dagster_settings(url)) as services:
        services.kill(DAEMON)
        services.start(WEBSERVER)
        yield services


def _log_request(run_id: str) -> bytes:
    """The first thousand lines of a run's log: the UI gets them over a socket, by the same query."""
    event = "__typename ... on MessageEvent { timestamp level message stepKey eventType }"
    events = f"... on EventConnection {{ events {{ {event} }} }}"
    query = f"query RunLog($id: ID!) {{ logsForRun(runId: $id, limit: 1000) {{ {events} }} }}"
    return json.dumps({"operationName": "RunLog", "query": query, "variables": {"id": run_id}}).encode()


@cache
def _streams() -> list[Stream]:
    """Their models can be made once in a process."""
    return [stream(NAME, number, 1) for number in range(STREAMS)]


def _metrics() -> list[int]:
    """Milliseconds that `kafka-ingest metrics` takes for runs and ticks of all streams, the first time and again."""
    look = RunMetrics(_streams(), Names())
    times = []
    for _ in range(3):
        began = time.perf_counter()
        look.look()
        times.append(round((time.perf_counter() - began) * 1000))
    return times


def _retention(full: int) -> Figures:
    """What the daily job does to runs of a day, of those streams that have events; and what a look costs that finds nothing."""
    streams = _streams()[DEEP.start : DEEP.stop]
    checks = build_definitions(streams).resolve_asset_graph().asset_check_keys
    figures: Figures = {}
    with dg.DagsterInstance.get() as instance:
        for what in ("a day", "nothing"):
            before = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=full - 1)
            began = time.perf_counter()
            done = prune_runs(
                instance,
                [{STREAM_TAG: [each.name for each in streams]}],
                checks,
                before=before,
                most=10**6,
                seconds=3_600,
            )
            figures[what] = {
                "s": round(time.perf_counter() - began, 1),
                "deleted": done.deleted,
                "cut": done.cut,
                "kept": done.kept,
            }
    return figures


def _rows_of(engine: sa.Engine, template: Template) -> dict[str, int]:
    """Of the real run: rows by table, events by type."""
    counts = {name: f"SELECT count(*) FROM {name} WHERE run_id = :run" for name in TABLES[:-1]}
    by_type = "SELECT coalesce(dagster_event_type, 'LOG'), count(*) FROM event_logs WHERE run_id = :run GROUP BY 1"
    values = {"run": template.run_id}
    with engine.connect() as connection:
        found = {name: connection.execute(sa.text(sql), values).scalar_one() for name, sql in counts.items()}
        types = connection.execute(sa.text(by_type), values).all()
        left = connection.exec_driver_sql("SELECT count(*) FROM template_left").scalar_one()
    return found | {"left": left} | {f"event {kind}": count for kind, count in types}


def _year(per_run: dict[str, int], tables: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """Rows and bytes, indexes included, of a year of all streams: with the retention; with one that neither cuts the logs of runs
    that stay nor deletes results of checks; with none."""
    a_day = STREAMS * SLOTS_A_DAY
    in_full, all_, staying = RETENTION_DAYS * a_day, YEAR_DAYS * a_day, (YEAR_DAYS - RETENTION_DAYS) * STREAMS * 24
    ticks = STREAMS * (86_400 // TICK_SECONDS + RETENTION_DAYS * SLOTS_A_DAY)
    rows = {
        "retention": {
            "event_logs": in_full * per_run["event_logs"] + staying * per_run["left"],
            "asset_check_executions": in_full * per_run["asset_check_executions"],
        },
        "retention, logs whole": {
            "event_logs": (in_full + staying) * per_run["event_logs"],
            "asset_check_executions": all_ * per_run["asset_check_executions"],
        },
        "no retention": {name: all_ * per_run[name] for name in TABLES[:2]},
    }
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, of_runs in rows.items():
        runs = all_ if name == "no retention" else in_full + staying
        counts = of_runs | {"runs": runs, "run_tags": runs * per_run["run_tags"], "job_ticks": ticks}
        found[name] = {
            each: {"rows": count, "bytes": round(count * (size["bytes"] + size["index bytes"]) / size["rows"])}
            for each, count in counts.items()
            for size in [tables[each]]
        }
    return found


def _sizes(engine: sa.Engine) -> dict[str, dict[str, int]]:
    """Rows and bytes by table: of its rows with what is kept beside them, and of its indexes, each."""
    found: dict[str, dict[str, int]] = {}
    with engine.connect() as connection:
        for name in TABLES:
            of_table = sa.text(
                f"SELECT (SELECT count(*) FROM {name}), pg_table_size('{name}'), pg_indexes_size('{name}')"
            )
            rows, size, indexes = connection.execute(of_table).one()
            found[name] = {"rows": rows, "bytes": size, "index bytes": indexes}
        each = (
            "SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes WHERE relname = ANY(:tables)"
        )
        by_index = connection.execute(sa.text(each), {"tables": list(TABLES)}).all()
    return found | {"indexes": dict(sorted(map(tuple, by_index), key=lambda one: -one[1])[:12])}


def report(figures: Figures) -> str:
    of_tables = [
        [name, f"{one['rows']:,}", f"{one['bytes'] / 1e6:,.0f} MB", f"{one['index bytes'] / 1e6:,.0f} MB",
         f"{(one['bytes'] + one['index bytes']) / one['rows']:,.0f}"]
        for name, one in figures["tables"].items() if name != "indexes"
    ]  # fmt: skip
    of_year = [
        [name, *(f"{one[each]['rows'] / 1e6:,.1f} M, {one[each]['bytes'] / 1e9:,.0f} GB" for each in TABLES),
         f"{sum(each['bytes'] for each in one.values()) / 1e9:,.0f} GB"]
        for name, one in figures["year"].items()
    ]  # fmt: skip
    of_pages = [
        [name, str(one["requests"]), f"{one['together ms']:,} ms", f"{one['slowest ms']:,} ms", str(one["load"])]
        for name, one in figures["pages"].items()
    ]
    return "\n\n".join(
        [
            table(["made", "rows", "table", "indexes", "bytes a row"], of_tables),
            table(["a year", *TABLES, "together"], of_year),
            table(["page", "requests", "together", "the slowest", "load"], of_pages),
            f"metrics, ms: {figures['metrics ms']}\n\nretention: {figures['retention']}",
        ]
    )


if __name__ == "__main__":
    run(__doc__, measure, report)
