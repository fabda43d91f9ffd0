"""The runs that load parts of a backfill: launched by a run, through Dagster's queue, found by their tags."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import dagster as dg

from kafka_ingest.backfill.division import Ranges
from kafka_ingest.engine.fingerprint import look
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.orchestration.launching import ranges_tags
from kafka_ingest.orchestration.names import PART_OF_TAG, PART_TAG
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.slices import OffsetRange

# Dagster's own.
BACKFILL_TAG = "dagster/backfill"
PRIORITY_TAG = "dagster/priority"
MAX_RETRIES_TAG = "dagster/max_retries"
_NOT_HANDED_ON = ("dagster/", ".dagster/", "kafka_ingest/")


def part_op(placed: PlacedStream) -> str:
    """The op of the job that loads a part."""
    return f"{placed.graph}_load_part"


class PartRuns:
    """Those of one run, which is the context's."""

    def __init__(self, context: dg.OpExecutionContext, placed: PlacedStream, ingestion: Ingestion) -> None:
        self._context = context
        self._instance = context.instance
        self._placed = placed
        self._ingestion = ingestion

    @property
    def can_be_launched(self) -> bool:
        """Whether Dagster takes runs from here: its queue does, with which a daemon launches them. A run that was not itself
        launched so knows no code location that they could be of."""
        return self._context.run.remote_job_origin is not None and isinstance(
            self._instance.run_coordinator, dg.QueuedRunCoordinator
        )

    def records(self) -> dict[int, dg.RunRecord]:
        """By number of the part. Of several that ended well, else one that has not ended, else the latest."""
        found: dict[int, dg.RunRecord] = {}
        filters = dg.RunsFilter(tags={PART_OF_TAG: self._context.run_id})
        for record in self._instance.get_run_records(filters, ascending=True):
            number = int(record.dagster_run.tags[PART_TAG].partition("/")[0])
            if number not in found or _rank(record) >= _rank(found[number]):
                found[number] = record
        return found

    def ranges(self) -> dict[int, Ranges]:
        """What each of them was launched to load."""
        configs = {n: cast("dict[str, Any]", record.dagster_run.run_config) for n, record in self.records().items()}
        op = part_op(self._placed)
        return {n: tuple(OffsetRange(**r) for r in c["ops"][op]["config"]["ranges"]) for n, c in configs.items()}

    def launch(self, number: int, count: int, ranges: Ranges) -> None:
        """Put a run for part `number` of `count` into the queue."""
        run, names, stream = self._context.run, self._placed.names, self._placed.stream
        repository = self._context.repository_def
        job = repository.get_job(names.part_job(stream))
        assert run.remote_job_origin is not None  # noqa: S101  `can_be_launched`
        assert run.job_code_origin is not None  # noqa: S101  where the other is
        made = self._instance.create_run_for_job(
            job_def=job,
            run_config=self._config(ranges),
            tags=self._tags(f"{number}/{count}", ranges),
            remote_job_origin=run.remote_job_origin._replace(job_name=job.name),
            job_code_origin=run.job_code_origin._replace(job_name=job.name),
            repository_load_data=repository.repository_load_data,
        )
        self._instance.run_coordinator.submit_run(dg.SubmitRunContext(made, workspace=None))  # type: ignore[arg-type]
        self._context.log.info(f"Part {number}/{count} is loaded by run {made.run_id}.")

    def cancel(self, run: dg.DagsterRun) -> None:
        """Take a run out of the queue."""
        self._instance.report_run_canceling(run, message=f"Run {self._context.run_id} loads its part.")
        self._instance.report_run_canceled(run)

    def end(self) -> None:
        """End those that have not ended, as far as Dagster can."""
        for record in self.records().values():
            if not record.dagster_run.is_finished:
                try:
                    self._instance.run_coordinator.cancel_run(record.dagster_run.run_id)
                except Exception as error:  # noqa: BLE001  a launcher's; this run is ending with an error of its own
                    self._context.log.warning(f"Run {record.dagster_run.run_id} was not ended: {error}")

    def _config(self, ranges: Ranges) -> dict[str, Any]:
        names = self._placed.names
        known = {*names.connections, names.ingestion}
        given = cast("dict[str, Any]", self._context.run.run_config).get("resources", {})
        return {
            "ops": {part_op(self._placed): {"config": {"ranges": [dataclasses.asdict(r) for r in ranges]}}},
            "resources": {key: value for key, value in given.items() if key in known},
        }

    def _tags(self, part: str, ranges: Ranges) -> dict[str, str]:
        """What a person or Dagster's backfill has given this run, and what the part's own are."""
        given = self._context.run.tags
        handed_on = {key: value for key, value in given.items() if not key.startswith(_NOT_HANDED_ON)}
        handed_on |= {key: given[key] for key in (BACKFILL_TAG, PRIORITY_TAG) if key in given}
        own = ranges_tags(self._placed.names, self._placed.stream, ranges, "backfill")
        own |= {PART_OF_TAG: self._context.run_id, PART_TAG: part, MAX_RETRIES_TAG: "0"}
        return handed_on | own | look(self._ingestion.metadata, self._ingestion.sink).as_tags()


def _rank(record: dg.RunRecord) -> int:
    run = record.dagster_run
    return 2 if run.is_success else 0 if run.is_finished else 1
