"""Old runs out of Dagster's storage, without taking from an asset what is known of it."""

from __future__ import annotations

import datetime as dt
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from kafka_ingest.orchestration.event_rows import cut_log, delete_runs, runs_of
from kafka_ingest.orchestration.names import CUT_TAG

# Dagster's own: the first run, and the last one before, that a run was re-executed from.
_ROOT_TAG = "dagster/root_run_id"
_PARENT_TAG = "dagster/parent_run_id"
_PAGE_RUNS = 200
# Of a busy stream these have fifteen thousand events.
_RUNS_AT_ONCE = 50
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(slots=True)
class Pruned:
    """What was done. `kept` counts old runs by the reason they stay."""

    deleted: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    finished: bool = True
    """False where the time or the number allowed was up; the next call goes on."""
    cut: int = 0
    """Of those that stay, how many logs were cut to what is known of assets."""


def prune_runs(
    instance: dg.DagsterInstance,
    tags: Sequence[Mapping[str, Sequence[str]]],
    checks: Iterable[dg.AssetCheckKey],
    *,
    before: dt.datetime,
    most: int,
    seconds: float,
    say: Callable[[str], None] = lambda _text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Pruned:
    """Delete finished runs created before `before` that carry one of these tags, oldest first.

    1. find the runs that something known of an asset hangs on: the latest materialization of each partition, the latest
       observation, the latest evaluation of each check
    2. go through the old runs page by page
    3. keep those of 1, those a re-execution that stays was made from, and those that are not finished (these are never
       candidates)
    4. of those of 1, cut the log to what the assets show of it, once: a stream has such a run in every window
    5. delete the others: run, events, captured output and, in SQLite, the run's own file

    Materializations that a later one of the same partition has replaced go with their runs, and so does their point in
    the plots. Safe to interrupt and to repeat. The ledger keeps what was loaded by which run. most: how many are cut or deleted.
    """
    deadline = clock() + seconds
    known = _runs_known(instance, checks)
    done = Pruned()
    for records in _old_runs(instance, tags, before):
        runs = [r.dagster_run for r in records]
        parents = _parents_of_kept(instance, [run.run_id for run in runs], known, before)
        gone: list[str] = []
        for run in runs:
            reason = known.get(run.run_id) or ("re-executed" if run.run_id in parents else None)
            if reason is not None:
                done.kept[reason] = done.kept.get(reason, 0) + 1
                if run.run_id not in known or CUT_TAG in run.tags:
                    continue
            if done.deleted + done.cut + len(gone) >= most or clock() > deadline:
                done.finished = False
                break
            if reason is None:
                gone.append(run.run_id)
            else:
                _cut(instance, run.run_id)
                done.cut += 1
            if len(gone) == _RUNS_AT_ONCE:
                done.deleted += _delete(instance, gone)
                gone = []
        done.deleted += _delete(instance, gone)
        say(f"{done.deleted} runs deleted, {sum(done.kept.values())} old ones kept")
        if not done.finished:
            break
    return done


def _runs_known(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey]) -> dict[str, str]:
    """Run id → why it stays."""
    known: dict[str, str] = {}
    storage = instance.event_log_storage
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for key in storage.all_asset_keys():
        for event in (
            instance.get_latest_materialization_event(key),
            *(r.event_log_entry for r in instance.fetch_observations(key, limit=1).records),
        ):
            if event is not None:
                known[event.run_id] = "latest of an asset"
        latest = instance.get_latest_storage_id_by_partition(key, kind).values()
        known |= dict.fromkeys(runs_of(instance, latest), "latest of a partition")
    evaluations = storage.get_latest_asset_check_execution_by_key(list(checks))
    return known | {r.run_id: "latest of a check" for r in evaluations.values()}


def _old_runs(
    instance: dg.DagsterInstance, tags: Sequence[Mapping[str, Sequence[str]]], before: dt.datetime
) -> Iterator[Sequence[dg.RunRecord]]:
    """Pages of finished runs, oldest first. Each is asked for after the last was dealt with."""
    for wanted in tags:
        cursor: str | None = None
        while True:
            filters = dg.RunsFilter(tags=dict(wanted), statuses=_FINISHED, created_before=before)
            page = instance.get_run_records(filters, limit=_PAGE_RUNS, ascending=True, cursor=cursor)
            if not page:
                break
            following = instance.get_run_records(filters, limit=1, ascending=True, cursor=page[-1].dagster_run.run_id)
            yield page
            if not following:
                break
            # A cursor has to be a run that is still there: the last one this page left, else the page starts anew.
            left = {
                r.dagster_run.run_id
                for r in instance.get_run_records(dg.RunsFilter([r.dagster_run.run_id for r in page]))
            }
            kept = [r.dagster_run.run_id for r in page if r.dagster_run.run_id in left]
            cursor = kept[-1] if kept else cursor


def _parents_of_kept(
    instance: dg.DagsterInstance, ids: Sequence[str], known: Mapping[str, str], before: dt.datetime
) -> set[str]:
    """Those of these runs that a run which stays was re-executed from."""
    found = set()
    for tag in (_ROOT_TAG, _PARENT_TAG):
        for record in instance.get_run_records(dg.RunsFilter(tags={tag: list(ids)})):
            run = record.dagster_run
            created = record.create_timestamp.replace(tzinfo=dt.timezone.utc)
            if run.run_id in known or created >= before or not run.is_finished:
                found.add(run.tags[tag])
    return found


def _delete(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> int:
    """How many they are."""
    for run_id in run_ids:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    delete_runs(instance, run_ids)
    for path in (_file_of(instance, run_id) for run_id in run_ids):
        if path is not None:  # it was emptied, and left at its size
            for each in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
                with suppress(FileNotFoundError):
                    Path(each).unlink()
    return len(run_ids)


def _cut(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    cut_log(instance, run_id)
    path = _file_of(instance, run_id)
    if path is not None and Path(path).exists():
        # Somebody may have the run's page open: then its file keeps its size.
        with closing(sqlite3.connect(path)) as file, suppress(sqlite3.OperationalError):
            file.execute("VACUUM")
    instance.add_run_tags(run_id, {CUT_TAG: "by the retention"})


def _file_of(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """In SQLite each run has a file for its events."""
    path_of_run = getattr(instance.event_log_storage, "path_for_shard", None)
    return None if path_of_run is None else str(path_of_run(run_id))
