"""How long a run takes from its RunRequest to its first step, ours against a trivial job's, and what a run imports.

    python -m benchmarks.start [--quick] [--json FILE]    (5 minutes; quick: 3)

Real: Kafka, MySQL, `dagster dev`, runs launched by sensors through the queue. A run is created when the daemon takes the
sensor's RunRequest; the instants after that are those of Dagster's own events. Medians. Imports are timed apart, by
`python -X importtime`, which makes them slower than they are: shares, not seconds, are the point.
"""

import os
import statistics

import dagster as dg

from benchmarks.command import Figures, run, table
from benchmarks.imports import median_imports
from benchmarks.live import until
from benchmarks.loading import started
from benchmarks.one_stream import settings
from benchmarks.servers import Servers, servers
from benchmarks.trivial_job import RUNS_VARIABLE
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

TIMES, QUICK_TIMES = 7, 3
BATCH = 10
IMPORTED = "kafka_ingest.definitions"
NAMED = ("dagster", "pandas", "pyarrow", "sqlalchemy", "confluent_kafka")
TOP = 12
FIRST_STEP = "plan"
# Each stage ends with the first event of this kind.
STAGES = {
    "created, with what it is to load": dg.DagsterEventType.PIPELINE_ENQUEUED,
    "queued": dg.DagsterEventType.PIPELINE_STARTING,
    # Dagster's launcher has one before the run starts: "Started process for run".
    "process started, Dagster imported": dg.DagsterEventType.ENGINE_EVENT,
    "code location imported": dg.DagsterEventType.PIPELINE_START,
    "first step": dg.DagsterEventType.STEP_START,
}
TOTAL = "from created to first step"


def stages(instance: dg.DagsterInstance, record: dg.RunRecord) -> dict[str, float]:
    """Seconds of each stage of a run's start."""
    entries = [entry for entry in instance.all_logs(record.dagster_run.run_id) if entry.dagster_event]
    first = {event: next(e for e in entries if e.get_dagster_event().event_type == event) for event in STAGES.values()}
    created = record.create_timestamp.timestamp()
    instants = [created, *(first[event].timestamp for event in STAGES.values())]
    found = {name: after - before for name, before, after in zip(STAGES, instants, instants[1:], strict=False)}
    return {**found, TOTAL: instants[-1] - created}


def medians(instance: dg.DagsterInstance, times: int) -> dict[str, float]:
    """Of the last runs, which have ended well."""
    records = instance.get_run_records(limit=times)
    assert [r.dagster_run.status for r in records] == [dg.DagsterRunStatus.SUCCESS] * times
    found = [stages(instance, record) for record in records]
    return {name: round(statistics.median(one[name] for one in found), 2) for name in found[0]}


def ours(servers_: Servers, times: int) -> dict[str, float]:
    """Runs of a stream, each for a batch that came when none was alive."""
    with started(servers_, "start", settings("start", linger_seconds=0)) as dagster:
        for _ in range(times):
            runs = dagster.run_count()
            dagster.topic.send(BATCH)
            dagster.topic.wait_visible()
            dagster.wait_runs(runs + 1)
        entries = dagster.instance.all_logs(dagster.instance.get_runs(limit=1)[0].run_id)
        steps = [e.step_key for e in entries if e.dagster_event and e.dagster_event.is_step_start]
        assert FIRST_STEP in str(steps[0]), f"the first step is {steps[0]}"
        return medians(dagster.instance, times)


def trivial(servers_: Servers, times: int) -> dict[str, float]:
    """Runs of a job that does nothing; one more than are counted, as ours have their warm-up too."""
    home = servers_.folder / "dagster-trivial"
    with (
        DagsterDev(home, {RUNS_VARIABLE: str(times + 1)}, "benchmarks.trivial_job"),
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        done = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
        until(lambda: instance.get_runs_count(done) > times, 300, f"{times + 1} trivial runs")
        return medians(instance, times)


def imports(servers_: Servers, times: int) -> Figures:
    """What the process of a run imports before it does anything."""
    environ = {**os.environ, **servers_.environment("start", "benchmarks.one_stream")}
    found, bare = median_imports(IMPORTED, environ, times), median_imports("dagster", environ, times)
    return {
        "module": IMPORTED,
        "seconds": round(found.total, 2),
        "seconds_of_dagster_alone": round(bare.total, 2),
        "named": {
            name: {"own": round(found.own.get(name, 0), 3), "with_others": round(found.with_others.get(name, 0), 3)}
            for name in NAMED
        },
        "top_own": {name: round(seconds, 3) for name, seconds in list(found.own.items())[:TOP]},
    }


def measure(quick: bool) -> Figures:
    """Plain figures, seconds."""
    times = QUICK_TIMES if quick else TIMES
    with servers() as servers_:
        figures: Figures = {"times": times, "ours": ours(servers_, times)}
        print(figures, flush=True)
        figures["trivial"] = trivial(servers_, times)
        print(figures["trivial"], flush=True)
        figures["imports"] = imports(servers_, times)
    return figures


def report(figures: Figures) -> str:
    heads = [f"seconds, medians of {figures['times']} runs", "a stream's run", "a trivial run"]
    starts = [[name, f"{figures['ours'][name]:.2f}", f"{figures['trivial'][name]:.2f}"] for name in [*STAGES, TOTAL]]
    found = figures["imports"]
    named = [[name, f"{one['own']:.2f}", f"{one['with_others']:.2f}"] for name, one in found["named"].items()]
    others = [[name, f"{own:.2f}", ""] for name, own in found["top_own"].items() if name not in found["named"]]
    total = [found["module"], "", f"{found['seconds']:.2f}"]
    bare = ["`import dagster` in a process of its own", "", f"{found['seconds_of_dagster_alone']:.2f}"]
    rows = [total, bare, *named, *others]
    return f"{table(heads, starts)}\n\n{table(['import seconds', 'own modules', 'with what they import first'], rows)}"


if __name__ == "__main__":
    run(__doc__, measure, report)
