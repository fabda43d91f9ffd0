"""A stream's sensor over a fake cluster and a real ledger: ticked by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from kafka_ingest.ledger.tables import OFFSETS, naive_utc
from kafka_ingest.orchestration import sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.names import LIVE_TAG
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import SETTINGS, FakeMessage, FakeMetadata, Log
from kafka_ingest_tests.support.placed import environment_resources

P0 = TopicPartition("mixed", 0)


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A live run of the stream."""
    job = build_definitions([MIXED]).resolve_job_def("ingest_mixed")
    run = instance.create_run_for_job(
        job,
        remote_job_origin=origin_of(job.name),
        tags={LIVE_TAG: "mixed"} | {name.replace("__", "/"): value for name, value in tags.items()},
    )
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run)
    elif status == dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    elif status == dg.DagsterRunStatus.SUCCESS:
        instance.report_dagster_event(_event(run, "PIPELINE_SUCCESS"), run.run_id)
    elif status == dg.DagsterRunStatus.QUEUED:
        instance.report_dagster_event(_event(run, "PIPELINE_ENQUEUED"), run.run_id)
    elif status == dg.DagsterRunStatus.STARTED:
        instance.report_dagster_event(_event(run, "PIPELINE_START"), run.run_id)
    return run


def leave_queue(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """The run gets its slot, and is launched."""
    instance.report_dagster_event(_event(run, "PIPELINE_STARTING"), run.run_id)


def origin_of(job_name: str) -> RemoteJobOrigin:
    """Without one Dagster queues no run."""
    location = RegisteredCodeLocationOrigin("here")
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, "__repository__"), job_name)


def _event(run: dg.DagsterRun, kind: str) -> Any:
    return dg.DagsterEvent(event_type_value=kind, job_name=run.job_name)


class SensorWorld:
    """A cluster and a ledger for the sensor to look at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stream: Stream = MIXED) -> None:
        self.target = Target(stream)
        self.metadata = FakeMetadata({})
        clients = Clients(SETTINGS, self.metadata, self.target.sink)
        monkeypatch.setattr(sensors, "clients_for", lambda _resource: clients)
        defs = build_definitions([stream])
        self.sensor = defs.resolve_sensor_def("mixed_sensor")
        self.repository = defs.get_repository_def()
        self.cursor: str | None = None

    def waiting(self, count: int, age_seconds: float = 1.0, start: int = 0) -> None:
        """So many messages of this age, in the first partition."""
        stamp = int((now().timestamp() - age_seconds) * 1000)
        self.metadata.logs[P0] = Log({n: FakeMessage(P0, n, stamp=stamp) for n in range(start, count)}, count, start)

    def messages(self, *instants: dt.datetime) -> None:
        """Those the first partition holds."""
        held = {n: FakeMessage(P0, n, stamp=int(at.timestamp() * 1000)) for n, at in enumerate(instants)}
        self.metadata.logs[P0] = Log(held, len(held))

    def load(self, instants: Sequence[dt.datetime], start: int = 0, *, seconds_ago: float = 0.0) -> None:
        """As a run does, or did so long ago."""
        messages = [Msg({"type": "event", "name": "n"}, timestamp_ms=int(at.timestamp() * 1000)) for at in instants]
        self.target.pin({P0: start})
        self.target.load(raw_slice(Part(messages, start=start)))
        loaded_at = naive_utc(now() - dt.timedelta(seconds=seconds_ago))
        with self.target.sink.engine.begin() as connection:
            connection.execute(sa.update(OFFSETS).values(updated_at=loaded_at))

    def evaluate(self, instance: dg.DagsterInstance) -> Any:
        """One tick, with the cursor of the last; its events are stored, as the daemon does."""
        with dg.build_sensor_context(
            instance=instance, cursor=self.cursor, repository_def=self.repository, resources=environment_resources()
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        for event in found.asset_events:
            instance.report_runless_asset_event(event)
        return found

    def tick(self, instance: dg.DagsterInstance) -> Any:
        """The sensor's decision: a run request, or the reason for none."""
        found = self.evaluate(instance)
        return found.run_requests[0] if found.run_requests else found.skip_message
