"""Old runs, and old observations of no run, out of Dagster's storage, without taking from an asset what is known of it."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable

# Dagster's own: the first run, and the last one before, that a run was re-executed from.
_ROOT_TAG = "dagster/root_run_id"
_PARENT_TAG = "dagster/parent_run_id"
_PAGE_RUNS = 200
_IDS_A_QUERY = 500
_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


@dataclass(slots=True)
class Pruned:
    """What was done. `kept` counts old runs by the reason they stay."""

    deleted: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    finished: bool = True
    """False where the time or the number allowed was up; the next call goes on."""


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
    4. delete the others: run, events, captured output and, in SQLite, the run's own file

    Materializations that a later one of the same partition has replaced go with their runs, and so does their point in
    the plots. Safe to interrupt and to repeat. The ledger keeps what was loaded by which run.
    """
    deadline = clock() + seconds
    known = _runs_known(instance, checks)
    done = Pruned()
    for records in _old_runs(instance, tags, before):
        ids = [r.dagster_run.run_id for r in records]
        parents = _parents_of_kept(instance, ids, known, before)
        for run_id in ids:
            reason = known.get(run_id) or ("re-executed" if run_id in parents else None)
            if reason is not None:
                done.kept[reason] = done.kept.get(reason, 0) + 1
                continue
            if done.deleted >= most or clock() > deadline:
                done.finished = False
                return done
            _delete(instance, run_id)
            done.deleted += 1
            if done.deleted % 100 == 0:
                say(f"{done.deleted} runs deleted, {sum(done.kept.values())} old ones kept")
    return done


def prune_observations(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], *, before: dt.datetime) -> int:
    """Delete observations of these assets that were made before `before` and by no run, as a sensor's are: they would stay for
    ever, as nothing else deletes them. The latest of each asset stays. Safe to interrupt and to repeat.

    Dagster has no call for it. All storages that come with it are SQL and have one table; in another nothing is done. Returns how
    many were deleted.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    deleted, c = 0, SqlEventLogStorageTable.c
    for key in assets:
        latest = instance.fetch_observations(key, limit=1).records
        if not latest:
            continue
        until = min(before, dt.datetime.fromtimestamp(latest[0].timestamp, dt.timezone.utc))
        old = SqlEventLogStorageTable.delete().where(
            c.run_id == RUNLESS_RUN_ID,
            c.dagster_event_type == dg.DagsterEventType.ASSET_OBSERVATION.value,
            c.asset_key == key.to_string(),
            c.timestamp < until.replace(tzinfo=None),
        )
        # SQLite keeps them twice; elsewhere both are one table.
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            twice = connection.execute(old).rowcount
        with storage.index_connection() as connection:
            deleted += max(twice, connection.execute(old).rowcount)
    return deleted


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
        latest = list(instance.get_latest_storage_id_by_partition(key, kind).values())
        for start in range(0, len(latest), _IDS_A_QUERY):
            ids = latest[start : start + _IDS_A_QUERY]
            found = storage.get_event_records(dg.EventRecordsFilter(kind, storage_ids=ids), limit=len(ids))
            known |= {r.event_log_entry.run_id: "latest of a partition" for r in found}
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


def _delete(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    path_of_run = getattr(instance.event_log_storage, "path_for_shard", None)
    if path_of_run is not None:  # SQLite with a file for each run: it has emptied the file and leaves it at its size
        path = path_of_run(run_id)
        for each in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
            with suppress(FileNotFoundError):
                Path(each).unlink()
