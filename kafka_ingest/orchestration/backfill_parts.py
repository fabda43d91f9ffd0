"""A backfill in parts: the run that was asked for it launches a run for each part but its own, and answers for the whole.

It never waits for what may never begin. A run that still stands in the queue when this one has loaded its own part is taken out
of it, and its part is loaded here; so is that of a run which failed, was ended or does not answer. Where there are no slots, or
no queue, this run loads everything, one part after the other. That two load the same part at the same moment cannot be ruled
out, and does no harm: a backfill converges.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import sleep
from types import TracebackType
from typing import Any, Literal, TypeAlias

import dagster as dg

from kafka_ingest.backfill.division import Ranges, divide, size_of
from kafka_ingest.backfill.progress import PROGRESS_TAG, parse_tag
from kafka_ingest.engine.ended_runs import revoke_ended
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import RetryableError
from kafka_ingest.ledger.entries import is_loaded_by
from kafka_ingest.orchestration.boundary import MAX_RETRIES
from kafka_ingest.orchestration.dagster_records import DagsterRecords, report_failed
from kafka_ingest.orchestration.lease_watch import LeaseWatch, Standing, why_dead
from kafka_ingest.orchestration.names import PROCESS_TAG, Metadata
from kafka_ingest.orchestration.part_runs import PartRuns
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.run_report import BackfillProgress, RunReport
from kafka_ingest.slices import Batch, LoadResult

# How often the runs are looked at that this one waits for: two reads of Dagster's storage and one of the ledger.
LOOK_SECONDS = 2.0

_REPORT = "loaded"
_IN_QUEUE = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)

State: TypeAlias = Literal["whole", "free", "in queue", "running"]
"""Of a part: loaded and told; nobody loads it; a run waits for its slot; a run loads it."""


class BackfillParts:
    """`with BackfillParts(…) as parts:` around a drain of `parts.own`; then `rest`, after which all is loaded, and `reports`.

    What is left of the batch is divided into as many parts as the stream has shards, of `max_rows` offsets at least. An op that
    is tried again finds the parts as they were divided. Where it fails for good, or is interrupted, the runs are ended.
    """

    def __init__(
        self,
        context: dg.OpExecutionContext,
        placed: PlacedStream,
        ingestion: Ingestion,
        batch: Batch,
    ) -> None:
        self._context = context
        self._placed = placed
        self._ingestion = ingestion
        self._runs = PartRuns(context, placed, ingestion)
        self._leases = LeaseWatch(placed.stream.name)
        self._others: dict[int, Ranges] = {}
        self._left: dict[int, Ranges] = {}
        """Of those, the ones that are not known to be loaded."""
        self._here: set[int] = set()
        """Those that this run loads, or has loaded."""
        self.own = batch
        self.reports: list[Mapping[str, Any]] = []
        """What the runs have loaded whose parts are whole, for `RunReport.add_part`."""
        if batch.kind != "live" and placed.stream.batch.shards > 1:
            self._divide(batch)

    def _divide(self, batch: Batch) -> None:
        policy = self._placed.stream.batch
        left = self._ingestion.left_of(batch)
        known = self._runs.ranges()
        if known:
            theirs = {r.topic_partition for ranges in known.values() for r in ranges}
            own, self._others = tuple(r for r in left if r.topic_partition not in theirs), known
        elif self._runs.can_be_launched:
            own, *others = divide(left, policy.shards, least_offsets=policy.max_rows)
            self._others = dict(enumerate(others, 1))
        else:
            return
        self.own = Batch(batch.stream, batch.kind, own)
        self._left = dict(self._others)

    def __enter__(self) -> BackfillParts:
        known = self._runs.ranges() if self._others else {}
        for number, ranges in self._others.items():
            if number not in known:
                self._runs.launch(number, len(self._others) + 1, ranges)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_tried_again = isinstance(error, RetryableError) and self._context.retry_number < MAX_RETRIES
        if error is not None and self._left and not is_tried_again:
            self._runs.end()

    def done(self) -> int:
        """Offsets that other runs have loaded, as they say."""
        return sum(self._done_of(n, record) for n, record in self._records().items() if n not in self._here)

    def _done_of(self, number: int, record: dg.RunRecord) -> int:
        if number not in self._left:
            return size_of(self._others[number])
        progress = parse_tag(record.dagster_run.tags.get(PROGRESS_TAG))
        return 0 if progress is None else progress[0]

    def rest(self, tell: Callable[[], object]) -> Iterator[LoadResult]:
        """Until every part is loaded: what this run itself loads of them, and `tell()` while it waits.

        1. a part is whole when its run has ended well and the ledger has every offset of it by that run
        2. one that nobody loads is loaded here; where there is none, the first one whose run is still in the queue
        3. while others are loaded by their runs, this one waits
        """
        while self._left:
            records = self._records()
            states = {n: self._state(n, record) for n, record in self._with_standings(records)}
            for number in [n for n, state in states.items() if state == "whole"]:
                del self._left[number]
            free = [n for n in self._left if states[n] == "free"] or [n for n in self._left if states[n] == "in queue"]
            if free:
                yield from self._load_here(free[0], records.get(free[0]))
            elif self._left:
                tell()
                sleep(LOOK_SECONDS)

    def _load_here(self, number: int, record: dg.RunRecord | None) -> Iterator[LoadResult]:
        stream, ranges = self._placed.stream, self._left[number]
        if record is None:
            why = "no run was launched for it"
        elif record.dagster_run.status in _IN_QUEUE:
            self._runs.cancel(record.dagster_run)
            why = f"its run {record.dagster_run.run_id} was still in the queue"
        else:
            why = f"its run {record.dagster_run.run_id} has not loaded all of it"
        self._context.log.info(f"Part {number}/{len(self._others) + 1} is loaded by this run: {why}.")
        self._here.add(number)
        records = DagsterRecords(self._context.instance)
        revoke_ended(self._ingestion.sink, records, [stream.name])  # before anything of the part is loaded here
        yield from self._ingestion.drain(Batch(stream.name, "backfill", ranges))
        del self._left[number]

    def _records(self) -> Mapping[int, dg.RunRecord]:
        return self._runs.records() if self._others else {}

    def _with_standings(
        self, records: Mapping[int, dg.RunRecord]
    ) -> Sequence[tuple[int, tuple[dg.RunRecord, Standing] | None]]:
        """Of each part that is left its run, and what is known of that one's lease."""
        ids = [r.dagster_run.run_id for r in records.values() if PROCESS_TAG in r.dagster_run.tags]
        standings = self._leases.standings(lambda: self._ingestion.sink, ids)
        return [
            (n, (records[n], standings.get(records[n].dagster_run.run_id, Standing())) if n in records else None)
            for n in self._left
        ]

    def _state(self, number: int, found: tuple[dg.RunRecord, Standing] | None) -> State:
        if found is None:
            return "free"
        record, standing = found
        run, instance = record.dagster_run, self._context.instance
        if run.status is dg.DagsterRunStatus.SUCCESS:
            report = _report_of(instance, run.run_id)
            if report is None or not self._is_loaded_by(run.run_id, self._left[number]):
                return "free"
            self.reports.append(report)
            return "whole"
        if run.is_finished:
            return "free"
        if run.status in _IN_QUEUE:
            return "in queue"
        reason = why_dead(record, standing, dt.datetime.now(dt.timezone.utc))
        if reason is None:
            return "running"
        trouble = report_failed(instance, run, f"{reason}; run {self._context.run_id} loads its part.")
        if trouble is not None:
            self._context.log.warning(trouble)
        return "free"

    def _is_loaded_by(self, run_id: str, ranges: Ranges) -> bool:
        name, sink = self._placed.stream.name, self._ingestion.sink
        with sink.errors(f"reading the ledger of stream {name}"), sink.engine.connect() as connection:
            return is_loaded_by(connection, name, run_id, ranges)


def drain_backfill(
    context: dg.OpExecutionContext, placed: PlacedStream, ingestion: Ingestion, batch: Batch, report: RunReport
) -> Iterator[LoadResult]:
    """What this run loads of a backfill after its first slice. report: gets what other runs have loaded of it, once all is."""
    with BackfillParts(context, placed, ingestion, batch) as parts:
        first = batch.size - size_of(ingestion.left_of(batch))
        progress = BackfillProgress(context, batch.size, done=first, elsewhere=parts.done)
        for drained in (ingestion.drain(parts.own), parts.rest(progress.tell)):
            for result in drained:
                progress.add(result)
                yield result
        for each in parts.reports:
            report.add_part(each)
        progress.end()


def reported(report: RunReport) -> Metadata:
    """The report as metadata of a part's run, for the run that answers for the whole."""
    return {_REPORT: dg.MetadataValue.json(report.as_dict())}


def _report_of(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, Any] | None:
    for entry in reversed(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_OUTPUT)):
        value = entry.get_dagster_event().step_output_data.metadata.get(_REPORT)
        if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, Mapping):
            return value.data
    return None
