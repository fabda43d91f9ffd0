"""The sensor of a stream: looks at metadata, decides by `readiness`, says why. It never consumes and never commits."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import dagster as dg

from kafka_ingest.engine.readiness import Due, NotDue, readiness
from kafka_ingest.engine.stream_state import observe, oldest_wait_seconds, oldest_window, partition_states
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.orchestration.clients import Clients, instance_of, shared_clients
from kafka_ingest.orchestration.launching import ranges_config, ranges_tags
from kafka_ingest.orchestration.liveness import is_alive, process_of
from kafka_ingest.orchestration.names import LIVE_TAG, PROCESS_TAG, REASON_TAG, job_name, sensor_name
from kafka_ingest.streams.stream import Stream

if TYPE_CHECKING:
    from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

# Dagster's sensor loop looks every five seconds, whatever a sensor asks for.
TICK_SECONDS = 5
FIRST_BACKOFF_SECONDS = 5.0
MAX_BACKOFF_SECONDS = 300.0
# Dagster ends a tick after 60 s (DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS) without its reason, and its thread goes on. The look at
# the ledger takes at most a ping, a sign-in and one statement that is not answered; then Kafka has what is left of this.
LOOK_SECONDS = 40.0
# A launched run whose process has not said who it is by then never started.
START_SECONDS = 180.0
# A run on another host is given up when it has outlived its own limit by this much.
OVERTIME_SECONDS = 900.0

_IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def stream_sensor(stream: Stream, job: UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """Launches a run when a batch is due."""

    @dg.sensor(
        name=sensor_name(stream),
        job=job,
        # Dagster's loop comes every five seconds and leaves out a sensor whose last tick is younger than its interval: one
        # that had to wait for other streams' ticks would lose the next round to it.
        minimum_interval_seconds=1,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Launches {job_name(stream)} at {stream.batch.min_messages} messages or "
        f"{stream.batch.max_wait_seconds:g} s, whichever is first. Turn it off to pause the stream.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        now = dt.datetime.now(dt.timezone.utc)
        instance = instance_of(context)
        in_flight = _in_flight(instance, stream, now)
        loading = f"run {', '.join(r.dagster_run.run_id[:8] for r in in_flight)} is loading this stream"
        if in_flight and not _is_ending(in_flight, stream, now):
            return dg.SkipReason(loading)
        try:
            with kafka_deadline(LOOK_SECONDS):
                decision = _decide(instance, stream, shared_clients(), now)
            return dg.SkipReason(loading) if in_flight and isinstance(decision, dg.SkipReason) else decision
        except KafkaIngestError as error:
            # The tick's reason is where a person looks; the error page of a failed tick says no more than this.
            return dg.SkipReason(f"{type(error).__name__}: {error}")

    return sense


def _decide(
    instance: dg.DagsterInstance, stream: Stream, clients: Clients, now: dt.datetime
) -> dg.RunRequest | dg.SkipReason:
    metadata = clients.metadata
    state = observe(stream, metadata, clients.sink, clients.settings)
    if not state.topics.partitions:
        return dg.SkipReason(f"topic {', '.join(state.topics.missing)} does not exist yet")
    states = partition_states(state, stream, metadata, now=now, next_tick_seconds=TICK_SECONDS)
    loaded_at = max((position.updated_at for position in state.ledger.values()), default=None)
    backoff = backoff_seconds(instance, stream, now, loaded_at)
    limit = stream.batch.max_wait_seconds
    decision = readiness(
        states,
        stream.batch,
        backoff_seconds=backoff,
        oldest_wait_seconds=lambda: oldest_wait_seconds(states, metadata, now=now, limit_seconds=limit),
    )
    if isinstance(decision, NotDue):
        return dg.SkipReason(decision.reason)
    window = oldest_window(states, stream, metadata, now=now)
    return _run_request(stream, decision, window, now)


def _run_request(stream: Stream, due: Due, window: str, now: dt.datetime) -> dg.RunRequest:
    return dg.RunRequest(
        # A key that was used is never launched again, also when its run failed, so no two attempts share one.
        run_key=f"{stream.name}:{now.timestamp():.3f}",
        run_config=ranges_config(stream, due.ranges, "live"),
        partition_key=window,
        tags={
            **ranges_tags(stream, due.ranges, "live"),
            REASON_TAG: due.reason,
            "dagster/max_runtime": str(int(stream.batch.max_run_seconds + OVERTIME_SECONDS)),
        },
    )


def _is_ending(in_flight: list[dg.RunRecord], stream: Stream, now: dt.datetime) -> bool:
    """Whether the only live run is one of ours whose time is nearly up: the next one may start, and take over."""
    if len(in_flight) != 1 or REASON_TAG not in in_flight[0].dagster_run.tags:
        return False
    started = in_flight[0].start_time
    age = 0.0 if started is None else now.timestamp() - started
    return age >= stream.batch.max_run_seconds - stream.batch.handover_seconds


def _in_flight(instance: dg.DagsterInstance, stream: Stream, now: dt.datetime) -> list[dg.RunRecord]:
    """Live runs of the stream whose process is there. A run that stands as started without one is reported as failed:
    otherwise it would keep its place in the queue's limit for ever."""
    records = instance.get_run_records(dg.RunsFilter(tags={LIVE_TAG: stream.name}, statuses=_IN_FLIGHT))
    alive = []
    for record in records:
        reason = _why_dead(record, stream, now)
        if reason is None:
            alive.append(record)
        else:
            instance.report_run_failed(record.dagster_run, f"{reason}; the stream's sensor has given it up.")
    return alive


def _why_dead(record: dg.RunRecord, stream: Stream, now: dt.datetime) -> str | None:
    run = record.dagster_run
    if run.status in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
        return None
    process = process_of(run.tags.get(PROCESS_TAG), run.run_id)
    age = now.timestamp() - record.create_timestamp.replace(tzinfo=dt.timezone.utc).timestamp()
    if process is None:
        started_age = age if record.start_time is None else now.timestamp() - record.start_time
        return f"Its process did not start within {START_SECONDS:.0f} s" if started_age > START_SECONDS else None
    alive = is_alive(process)
    if alive is False:
        return "Its process is gone"
    limit = stream.batch.max_run_seconds + OVERTIME_SECONDS
    if alive is None and age > limit:
        return f"It runs on another host and has not ended within {limit:.0f} s"
    return None


def backoff_seconds(
    instance: dg.DagsterInstance, stream: Stream, now: dt.datetime, loaded_at: dt.datetime | None
) -> float:
    """Seconds still to wait: 5, 10, 20 … 300 after the last of that many failed live runs in a row, less the time since.

    loaded_at: when something was loaded last. A run that has loaded before it failed was killed, or met trouble that is new:
    the row begins with it.
    """
    records = instance.get_run_records(dg.RunsFilter(tags={LIVE_TAG: stream.name}), limit=10)
    failures = 0
    last_end: float | None = None
    for record in records:
        if record.dagster_run.status != dg.DagsterRunStatus.FAILURE:
            break
        failures += 1
        if last_end is None:
            last_end = record.end_time or record.update_timestamp.replace(tzinfo=dt.timezone.utc).timestamp()
        if loaded_at is not None and record.create_timestamp.replace(tzinfo=dt.timezone.utc) < loaded_at:
            break
    if not failures or last_end is None:
        return 0.0
    wait = min(FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1), MAX_BACKOFF_SECONDS)
    return max(0.0, wait - (now.timestamp() - last_end))
