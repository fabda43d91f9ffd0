"""Dagster's records of runs, as the engine and the metrics ask them; and what to do where they cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable


class DagsterRecords:
    """Of one instance. `engine.ended_runs.RunRecords`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    @property
    def dagster(self) -> str | None:
        """As `RunRecords`."""
        storage = self._instance.run_storage
        return str(storage.get_run_storage_id()) if isinstance(storage, SqlRunStorage) else None

    def ended(self, runs: Mapping[str, str | None]) -> set[str]:
        """As `RunRecords`. A run that was ended before it had started, and starts then, stands as started again; the time of its
        end stays."""
        found = self._instance.get_run_records(dg.RunsFilter(run_ids=list(runs)))
        is_ended = {r.dagster_run.run_id: r.dagster_run.is_finished or r.end_time is not None for r in found}
        own = self.dagster if runs.keys() - is_ended.keys() else None
        return {run_id for run_id, dagster in runs.items() if is_ended.get(run_id, own is not None and dagster == own)}


def run_counts(instance: dg.DagsterInstance, tag: str) -> dict[str, dict[dg.DagsterRunStatus, int]]:
    """How many runs have each value of this tag, by status. One question, where Dagster's own call counts one value and status:
    five hundred for a hundred streams. Nothing is known in a storage that is not SQL, as all that come with Dagster are."""
    storage = instance.run_storage
    found: dict[str, dict[dg.DagsterRunStatus, int]] = {}
    if isinstance(storage, SqlRunStorage):
        runs, tags = RunsTable.c, RunTagsTable.c
        asked = (
            sa.select(tags.value, runs.status, sa.func.count())
            .join_from(RunsTable, RunTagsTable, runs.run_id == tags.run_id)
            .where(tags.key == tag)
            .group_by(tags.value, runs.status)
        )
        with storage.connect() as connection:
            for value, status, count in connection.execute(asked):
                found.setdefault(value, {})[dg.DagsterRunStatus(status)] = count
    return found


def report_failed(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> str | None:
    """Have the run stand as failed. Why that cannot be: a process that stands still in the middle of a write to Dagster's SQLite
    keeps others from writing to the same file, for as long as it does; None where it could."""
    try:
        instance.report_run_failed(run, message)
    except sa.exc.OperationalError as error:
        if not _is_locked(error):
            raise
        return (
            f"run {run.run_id[:8]} cannot be marked as failed yet ({message}): Dagster's SQLite storage is locked, maybe by that "
            "very run, whose process stands still. It loads nothing more. It is tried again at the next look; end its process"
        )
    return None


def _is_locked(error: sa.exc.OperationalError) -> bool:
    original = error.orig
    if not isinstance(original, sqlite3.OperationalError):
        return False
    # Python 3.10 gives no error code, only the text.
    name = getattr(original, "sqlite_errorname", None)
    return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) if name else str(original).endswith("is locked")
