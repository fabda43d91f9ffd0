"""Alerts to a webhook: failed runs, failed checks, lag, dead letters. One when it begins, one when it ends.

Defined only where `KAFKA_INGEST_ALERT_WEBHOOK` is set. A sensor of our own and not Dagster's run-failure sensor: that one
moves on past a run whose alert could not be sent.
"""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import dagster as dg

from kafka_ingest.checks.alerting import Reading, over_limit, tell_changes
from kafka_ingest.checks.webhook import post
from kafka_ingest.engine.stream_state import observe
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.ledger.dead_letters import count_waiting, has_dead_letters_table
from kafka_ingest.orchestration.audit_schedule import AUDIT_JOB, audit_checks
from kafka_ingest.orchestration.checks import run_checks
from kafka_ingest.orchestration.clients import Clients, clients_for, instance_of
from kafka_ingest.orchestration.names import GROUP_TAG, KIND_TAG, STREAM_TAG, Names
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.retention import RETENTION_JOB
from kafka_ingest.redaction import redact
from kafka_ingest.settings import MonitoringSettings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.streams.group import groups_of
from kafka_ingest.streams.stream import Stream

TICK_SECONDS = 30
# A tick has 60 s: no stream is looked at after this long, and the last look takes no more than that either, and a statement.
LOOK_SECONDS = 20.0
# Runs that ended this long before the last one seen are looked at again: they may have been stored out of order.
OVERLAP_SECONDS = 60.0
# A sensor that is new, or was off, does not tell of what failed days ago.
FIRST_LOOK_SECONDS = 600.0
_ERROR_CHARACTERS = 500
_RUNS_A_TICK = 200


def alerts_sensor(streams: Sequence[PlacedStream], names: Names, wanted: MonitoringSettings) -> dg.SensorDefinition:
    """Looks twice a minute. The cursor holds what fires, so nothing is told twice; what could not be sent is tried again."""

    @dg.sensor(
        name=names.of("alerts"),
        required_resource_keys=names.connections,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="POSTs to KAFKA_INGEST_ALERT_WEBHOOK when runs or checks fail, or lag or dead letters exceed their limit.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now = dt.datetime.now(dt.timezone.utc)
        url = wanted.alert_webhook
        if url is None:
            return dg.SensorResult(skip_reason="KAFKA_INGEST_ALERT_WEBHOOK is not set", cursor=context.cursor)
        state = json.loads(context.cursor or "{}")
        firing: set[str] = set(state.get("firing", ()))
        ends: dict[str, float] = dict(state.get("ends", {}))
        since = max(ends.values(), default=now.timestamp() - FIRST_LOOK_SECONDS + OVERLAP_SECONDS) - OVERLAP_SECONDS
        instance = instance_of(context)
        runs = list(run_readings(instance, streams, wanted, ends, since))
        notes = []
        # Runs first, one by one: how far they were told decides where the next look begins.
        told, error = tell_changes(firing, (reading for reading, _ in runs), lambda d: post(url, _stamped(d, now)))
        for reading, end in runs[:told]:
            ends[reading.name] = end
        if error is None:
            others, trouble = _limits_and_checks(
                instance, streams, wanted, firing, clients_for(settings_of(context.resources, names))
            )
            notes += trouble
            _, error = tell_changes(firing, others, lambda d: post(url, _stamped(d, now)))
        if error is not None:
            notes.append(str(error))
        fires = f"firing: {', '.join(sorted(firing))}" if firing else "nothing is wrong"
        cursor = json.dumps({"firing": sorted(firing), "ends": ends}, sort_keys=True)
        return dg.SensorResult(skip_reason="; ".join([fires, *notes]), cursor=cursor)

    return sense


def _stamped(document: Mapping[str, object], now: dt.datetime) -> dict[str, object]:
    return {**document, "at": now.isoformat(timespec="seconds")}


def run_readings(
    instance: dg.DagsterInstance,
    streams: Sequence[PlacedStream],
    wanted: MonitoringSettings,
    ends: Mapping[str, float],
    since: float,
) -> Iterator[tuple[Reading, float]]:
    """Runs of this code location that have ended since the last one told of each kind, in the order they ended."""
    tags = {s.tag for s in streams}
    jobs = {n for s in streams for n in (s.names.job(s.stream), s.names.of(AUDIT_JOB), s.names.of(RETENTION_JOB))}
    jobs |= {s.names.job(group) for s in streams for group in groups_of([s.stream])}
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
            updated_after=dt.datetime.fromtimestamp(since, dt.timezone.utc),
        ),
        order_by="update_timestamp",
        ascending=True,
        limit=_RUNS_A_TICK,
    )
    for record in sorted(records, key=lambda r: r.end_time or 0.0):
        run, end = record.dagster_run, record.end_time or 0.0
        if run.job_name not in jobs and run.tags.get(STREAM_TAG) not in tags:
            continue
        kind = run.tags.get(KIND_TAG, "live")
        name = f"run:{run.job_name}" + ("" if kind == "live" else f":{kind}")
        if end <= ends.get(name, 0.0):
            continue
        failed = run.status is dg.DagsterRunStatus.FAILURE
        error = _why(instance, run.run_id) if failed else None
        said = f"run {run.run_id[:8]} of {run.job_name} failed: {error}" if failed else f"{run.job_name} succeeds again"
        details = {"job": run.job_name, "stream": run.tags.get(STREAM_TAG), "run_id": run.run_id, "error": error}
        details |= {"group": group} if (group := run.tags.get(GROUP_TAG)) is not None else {}
        yield Reading(name, failed, said, details | {"url": wanted.run_link(run.run_id)}), end


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    """The failed step's own error, or what ended the run; no secret in it."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=kinds):
        event = entry.dagster_event
        if event is None:
            continue
        data: object = event.event_specific_data
        failure = getattr(data, "user_failure_data", None)
        text = getattr(failure, "description", None) or getattr(getattr(data, "error", None), "message", None)
        return redact(str(text or event.message or "no reason given").strip())[:_ERROR_CHARACTERS]
    return "no reason given"


def _limits_and_checks(
    instance: dg.DagsterInstance,
    streams: Iterable[PlacedStream],
    wanted: MonitoringSettings,
    firing: set[str],
    clients: Clients,
) -> tuple[list[Reading], list[str]]:
    """The readings, and what could not be looked at: that state stays as it was."""
    readings, trouble = [], []
    begun = time.monotonic()
    for placed in streams:
        stream = placed.stream
        if time.monotonic() - begun > LOOK_SECONDS:
            trouble.append(f"no time was left to look at stream {stream.name}")
            continue
        try:
            if wanted.alert_lag is not None:
                with kafka_deadline(LOOK_SECONDS):
                    lag = observe(stream, clients.metadata, clients.sink, clients.settings).lag
                readings.append(_limit_reading(stream, "lag", lag, wanted.alert_lag, firing, "messages wait"))
            if wanted.alert_dead_letters is not None:
                limit = wanted.alert_dead_letters
                kept = _dead_letters(clients.sink, stream, limit)
                readings.append(_limit_reading(stream, "dead_letters", kept, limit, firing, "dead letters wait"))
        except KafkaIngestError as error:
            trouble.append(redact(f"{type(error).__name__}: {error}"))
        readings += _check_readings(instance, placed)
    return readings, trouble


def _limit_reading(stream: Stream, what: str, value: int, limit: int, firing: set[str], words: str) -> Reading:
    name = f"{what}:{stream.name}"
    is_bad = over_limit(value, limit, was_over=name in firing)
    counted = f"more than {value - 1}" if what == "dead_letters" and value > limit else str(value)
    text = f"stream {stream.name}: {counted} {words} (limit {limit})"
    return Reading(name, is_bad, text, {"stream": stream.name, "value": value, "limit": limit})


def _dead_letters(sink: Sink, stream: Stream, limit: int) -> int:
    """Dead letters that wait for somebody, counted to one more than the limit at most."""
    with sink.errors("counting dead letters"), sink.engine.connect() as connection:
        if not has_dead_letters_table(connection):
            return 0
        return count_waiting(connection, stream.name, at_most=limit + 1)


def _check_readings(instance: dg.DagsterInstance, placed: PlacedStream) -> Iterator[Reading]:
    """Checks whose last evaluation failed; those that only warn are for the UI."""
    checks = {c.key: c for c in [*run_checks(placed), *audit_checks(placed)]}
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    for key, record in records.items():
        evaluation = record.evaluation if record.status.value in ("SUCCEEDED", "FAILED") else None
        if evaluation is None:
            continue
        failed = not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
        where = key.to_user_string()
        text = f"check {where} failed. {checks[key].advice}" if failed else f"check {where} passes again"
        yield Reading(
            f"check:{where}", failed, text, {"stream": placed.stream.name, "check": where, "run_id": record.run_id}
        )
