"""What Dagster's storage says of a stream's runs and of its sensor, as samples of the exported metrics. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import dagster as dg
import sqlalchemy as sa

from kafka_ingest.checks import metric_families as families
from kafka_ingest.checks.metric_families import Sample
from kafka_ingest.errors import RetryableError
from kafka_ingest.orchestration.dagster_records import run_counts
from kafka_ingest.orchestration.names import GROUP_TAG, LIVE_TAG, STREAM_TAG, Names
from kafka_ingest.orchestration.troubles import fails_for_others
from kafka_ingest.streams.stream import Stream

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick

_STATUSES = {
    "queued": [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED],
    "started": [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING],
    "success": [dg.DagsterRunStatus.SUCCESS],
    "failure": [dg.DagsterRunStatus.FAILURE],
    "canceled": [dg.DagsterRunStatus.CANCELED],
}
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
# The last tick may be under way; the one before it has ended.
_TICKS = 2


class DagsterStorageUnavailable(RetryableError):
    """Dagster's storage could not be read."""


class RunMetrics:
    """Looks at the storage of this process's Dagster (DAGSTER_HOME). One look at a time."""

    def __init__(self, streams: Iterable[Stream], names: Names) -> None:
        """Raises DagsterStorageUnavailable where there is no storage to read."""
        self._streams = tuple(streams)
        self._names = names
        self._steps: dict[str, tuple[str, list[Sample]]] = {}
        """By stream the run that ended last, and its steps: they do not change any more."""
        try:
            self._instance = dg.DagsterInstance.get()
        except (dg.DagsterError, sa.exc.SQLAlchemyError, OSError) as error:
            raise _unavailable(error) from error

    def look(self) -> list[Sample]:
        """All but `kafka_ingest_dagster_up`. Raises DagsterStorageUnavailable."""
        try:
            return list(self._look())
        except (dg.DagsterError, sa.exc.SQLAlchemyError, OSError) as error:
            raise _unavailable(error) from error

    def _look(self) -> Iterator[Sample]:
        states = self._instance.all_instigator_state()
        groups = {stream.group: self._names.tag(stream.group) for stream in self._streams if stream.group is not None}
        own, shared = (run_counts(self._instance, key) for key in (STREAM_TAG, GROUP_TAG))
        failed = {name: self._failed(name) for name, tag in groups.items() if _counts(shared, tag)["failure"]}
        for stream in self._streams:
            counts = _counts(own, self._names.tag(stream.name))
            if stream.group is not None:
                counts += _counts(shared, groups[stream.group])
                for_others = sum(fails_for_others(run, stream.name) for run in failed.get(stream.group, ()))
                counts["failure"] -= for_others
                counts["success"] += for_others  # of this stream nothing failed in them
            for status in _STATUSES:
                yield families.RUNS.sample(stream.name, status, value=counts[status])
            yield from self._last_run(stream)
            sensor = self._names.of_sensor(stream.group or stream.name)
            yield from self._last_tick(stream, [s for s in states if s.instigator_name == sensor])

    def _failed(self, group: str) -> Sequence[dg.DagsterRun]:
        """The failed runs of a group."""
        tags = {GROUP_TAG: self._names.tag(group)}
        return self._instance.get_runs(dg.RunsFilter(tags=tags, statuses=_STATUSES["failure"]))

    def _last_run(self, stream: Stream) -> Iterator[Sample]:
        ended = dg.RunsFilter(tags={LIVE_TAG: self._names.live_tags(stream)}, statuses=_ENDED)
        records = self._instance.get_run_records(ended, limit=1, order_by="end_time")
        for record in records:
            if record.start_time is None or record.end_time is None:  # it ended before it began
                continue
            yield families.LAST_RUN_SECONDS.sample(stream.name, value=record.end_time - record.start_time)
            run_id = record.dagster_run.run_id
            if self._steps.get(stream.name, ("",))[0] != run_id:
                self._steps[stream.name] = (run_id, list(self._step_samples(stream, run_id)))
            yield from self._steps[stream.name][1]

    def _step_samples(self, stream: Stream, run_id: str) -> Iterator[Sample]:
        for step in self._instance.get_run_step_stats(run_id):
            if step.start_time is not None and step.end_time is not None:
                label = step.step_key.rpartition(".")[2]
                for name in (stream.name, stream.group):
                    label = label if name is None else label.removeprefix(f"{self._names.of(name)}_")
                yield families.LAST_RUN_STEP_SECONDS.sample(stream.name, label, value=step.end_time - step.start_time)

    def _last_tick(self, stream: Stream, sensors: Collection[InstigatorState]) -> Iterator[Sample]:
        """Of the code location that ticked last, where several have a sensor of this name."""
        ended: list[InstigatorTick] = []
        for sensor in sensors:
            ticks = self._instance.get_ticks(sensor.instigator_origin_id, sensor.selector_id, limit=_TICKS)
            ended += [tick for tick in ticks if tick.end_timestamp is not None]
        if ended:
            last = max(ended, key=lambda tick: tick.timestamp)
            yield families.LAST_TICK.sample(stream.name, value=last.timestamp)
            yield families.LAST_TICK_SECONDS.sample(stream.name, value=(last.end_timestamp or 0.0) - last.timestamp)


def _counts(found: Mapping[str, Mapping[dg.DagsterRunStatus, int]], tag: str) -> Counter[str]:
    """Runs of the stream or group with this tag, by what is exported as their status."""
    of_tag = found.get(tag, {})
    return Counter({name: sum(of_tag.get(each, 0) for each in statuses) for name, statuses in _STATUSES.items()})


def _unavailable(error: Exception) -> DagsterStorageUnavailable:
    return DagsterStorageUnavailable(
        f"cannot read Dagster's storage in DAGSTER_HOME ({type(error).__name__}: {error}). Correct DAGSTER_HOME, or unset it: "
        "runs and ticks are left out then."
    )
