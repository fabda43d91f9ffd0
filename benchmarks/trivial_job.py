"""A job of one step that does nothing, launched by a sensor: what benchmarks/start.py compares a stream's job with."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a sensor as they stand.

import os

import dagster as dg

RUNS_VARIABLE = "KAFKA_INGEST_BENCH_TRIVIAL_RUNS"
STEP = "nothing"
_ENDED = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}


@dg.op(name=STEP)
def nothing() -> None:
    """Does nothing."""


@dg.job(executor_def=dg.in_process_executor)
def trivial() -> None:
    """One step."""
    nothing()


@dg.sensor(job=trivial, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
def trivial_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run after the other, as many as the environment says."""
    runs = context.instance.get_runs()
    if len(runs) >= int(os.environ[RUNS_VARIABLE]):
        return dg.SkipReason("enough")
    if any(run.status not in _ENDED for run in runs):
        return dg.SkipReason("one is running")
    return dg.RunRequest(run_key=str(len(runs)))


defs = dg.Definitions(jobs=[trivial], sensors=[trivial_sensor])
