"""The job of a group: one op that gives its streams their turns, and says of each what a run of its own would."""

# No `from __future__ import annotations` here: Dagster reads the ops' annotations as they stand.
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import dagster as dg

from kafka_ingest.engine.backoff import Trouble, backoff_seconds_after
from kafka_ingest.engine.fingerprint import Fingerprint
from kafka_ingest.engine.group_run import GroupRun
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.check_rounds import LAST_SECONDS, CheckRounds
from kafka_ingest.orchestration.dagster_records import DagsterRecords
from kafka_ingest.orchestration.live_unit import LiveUnit
from kafka_ingest.orchestration.liveness import process_tag, run_pid
from kafka_ingest.orchestration.names import PROCESS_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.orchestration.run_ingestion import meet_database
from kafka_ingest.orchestration.run_report import EVENT_SECONDS, RunReport, asked_for, events, latency_from_ms
from kafka_ingest.orchestration.slots import RunSlots
from kafka_ingest.orchestration.topic_observations import TopicObserver
from kafka_ingest.orchestration.troubles import failed_tag, last_troubles, troubles_tag
from kafka_ingest.redaction import redact
from kafka_ingest.settings import Settings
from kafka_ingest.slices import LoadResult


def group_job(unit: LiveUnit) -> dg.JobDefinition:
    """Loads the streams of a group. They are assets of their own graphs, which backfill them."""
    names, group = unit.names, unit.group

    @dg.op(
        name=f"{names.of(group.name)}_turns",
        description="Loads each stream as a batch of it is due, a few at a time, while messages come; reports their tables.",
        required_resource_keys=names.connections,
        out=dg.Out(dg.Nothing, is_required=False),
    )
    def turns(context: dg.OpExecutionContext) -> Iterator[Any]:
        instance, run_id = context.instance, context.run_id
        process = {PROCESS_TAG: process_tag(run_id, run_pid(instance, run_id))}
        troubles = last_troubles(instance, unit.tag)
        instance.add_run_tags(run_id, unit.run_tags | process | troubles_tag(troubles))
        settings = settings_of(context.resources, names)
        with ExitStack() as stack, op_errors(context):
            run = GroupRun(
                group,
                settings,
                run_id,
                troubles=troubles,
                is_slot_wanted=RunSlots(instance, run_id).is_wanted,
                records=DagsterRecords(instance),
            )
            stack.enter_context(closing(run))
            meet_database(context, run.sink)
            reports = _Reports(context, unit, run, settings, stack)
            for loaded in run.turns(Fingerprint.from_tags(context.run.tags)):
                if loaded is not None:
                    reports.add(loaded.stream, loaded.result)
                    continue
                troubles = _tell_troubles(context, run, troubles)
                yield from reports.next()
            troubles = _tell_troubles(context, run, troubles)
            yield from reports.last()
            failures = run.failures
        if failures:
            instance.add_run_tags(run_id, failed_tag(failures))
            said = {name: redact(_said(error)) for name, error in sorted(failures.items())}
            raise dg.Failure(
                f"{len(said)} of {len(group.streams)} streams failed, and the others were loaded: "
                + "; ".join(f"{name}: {text}" for name, text in said.items()),
                metadata={name: dg.MetadataValue.text(text) for name, text in said.items()},
                allow_retries=False,
            )

    @dg.job(
        name=names.job(group),
        tags=unit.run_tags,
        description=f"Loads the streams of group {group.name} in turn: {', '.join(s.name for s in group.streams)}.",
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        turns()

    return job


def _tell_troubles(context: dg.OpExecutionContext, run: GroupRun, before: Mapping[str, Trouble]) -> dict[str, Trouble]:
    """Which streams fail now, in the log and, where that has changed, in the run's tag."""
    troubles, failures = run.troubles, run.failures
    for name, trouble in troubles.items():
        if trouble != before.get(name) and name in failures:
            error, wait = failures[name], backoff_seconds_after(trouble.failures)
            context.log.error(
                f"stream {name}: {redact(_said(error))} It is tried again in {wait:.0f} s; the others go on.",
                exc_info=None if isinstance(error, KafkaIngestError) else error,
            )
    for name in before.keys() - troubles.keys():
        context.log.info(f"stream {name} loads again")
    if troubles != before:
        context.instance.add_run_tags(context.run_id, troubles_tag(troubles))
    return troubles


def _said(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else f"{type(error).__name__}."


class _Reports:
    """What is said of each stream. At each look of the run one of them is told of at most, that of whom nothing was said for the
    longest: every event costs Dagster milliseconds."""

    def __init__(
        self, context: dg.OpExecutionContext, unit: LiveUnit, run: GroupRun, settings: Settings, stack: ExitStack
    ) -> None:
        self._context = context
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks")
        stack.callback(self._thread.shutdown, wait=False, cancel_futures=True)
        since = asked_for(context)
        self._of = {
            placed.stream.name: stack.enter_context(_StreamReport(context, placed, run, settings, self._thread, since))
            for placed in unit.placed
        }

    def add(self, stream: str, result: LoadResult) -> None:
        """Count one load."""
        self._of[stream].recent.add(result)

    def next(self) -> Iterator[Any]:
        """Events of one stream, where it is time."""
        oldest = min(self._of.values(), key=lambda each: each.told_at)
        if time.monotonic() - oldest.told_at >= EVENT_SECONDS:
            yield from oldest.events()

    def last(self) -> Iterator[Any]:
        """Of all streams what was not said yet; their checks are waited for LAST_SECONDS at most, all together."""
        for each in self._of.values():
            yield from each.events()
        deadline = time.monotonic() + LAST_SECONDS
        for each in self._of.values():
            left = deadline - time.monotonic()
            if left <= 0:
                self._context.log.info(
                    f"The checks of further streams keep their last results: {LAST_SECONDS:g} s are over"
                )
                break
            yield from each.checks.last(left)


class _StreamReport:
    """Of one stream; `with` it."""

    def __init__(
        self,
        context: dg.OpExecutionContext,
        placed: PlacedStream,
        run: GroupRun,
        settings: Settings,
        thread: Executor,
        since: float,
    ) -> None:
        self._context = context
        self._placed = placed
        self._ingestion = run.ingestion(placed.stream.name)
        self._latency_from_ms = latency_from_ms(since, placed.stream)
        self._topics = TopicObserver(placed)
        self.checks = CheckRounds(
            placed, settings, context.run_id, instance=context.instance, say=context.log.warning, thread=thread
        )
        self.recent = RunReport(latency_from_ms=self._latency_from_ms)
        self.told_at = self.recent.started

    def __enter__(self) -> "_StreamReport":
        self.checks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.checks.__exit__(*error)

    def events(self) -> Iterator[Any]:
        """What was loaded and found since the last call."""
        recent, self.told_at = self.recent, time.monotonic()
        yield from self.checks.collect(has_loaded=recent.slices > 0)
        if recent.slices:
            self.recent = RunReport(latency_from_ms=self._latency_from_ms)
            try:
                yield from events(self._context, self._placed, self._ingestion, recent, self._topics)
            except KafkaIngestError as error:  # its next turn meets it, too
                self._context.log.warning(f"stream {self._placed.stream.name}: {redact(str(error))}")
