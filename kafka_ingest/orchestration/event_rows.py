"""Rows of Dagster's event log for which it has no call: what a retention deletes beside whole runs.

All storages that come with Dagster are SQL and have one set of tables; in another nothing is done.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence

import dagster as dg
import sqlalchemy as sa
from dagster._core.events import PIPELINE_EVENTS
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable

_IDS_A_QUERY = 500
_OF_ASSETS = (dg.DagsterEventType.ASSET_MATERIALIZATION.value, dg.DagsterEventType.ASSET_OBSERVATION.value)
# How a run went, and why a step of it failed.
_STORY = (*sorted(kind.value for kind in PIPELINE_EVENTS), dg.DagsterEventType.STEP_FAILURE.value)


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete these finished runs and their events, in a few statements where the storage has one table for the events of all:
    Dagster's own call takes one run, and signs in to PostgreSQL anew for each of its steps. Safe to interrupt and to repeat."""
    runs, events = instance.run_storage, instance.event_log_storage
    if (
        not isinstance(runs, SqlRunStorage)
        or not isinstance(events, SqlEventLogStorage)
        or _has_file_for_each_run(events)
    ):
        for run_id in run_ids:
            instance.delete_run(run_id)
        return
    # The runs last: whoever is interrupted finds them again, and events without a run are found by nobody.
    c = SqlEventLogStorageTable.c
    with events.index_connection() as connection:
        of_assets = sa.select(c.id).where(c.run_id.in_(run_ids), c.dagster_event_type.in_(_OF_ASSETS))
        connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(of_assets)))
        connection.execute(SqlEventLogStorageTable.delete().where(c.run_id.in_(run_ids)))
    with runs.connect() as connection:
        connection.execute(RunsTable.delete().where(RunsTable.c.run_id.in_(run_ids)))


def prune_observations(instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], *, before: dt.datetime) -> int:
    """Delete observations of these assets that were made before `before` and by no run, as a sensor's are: they would stay for
    ever, as nothing else deletes them. The latest of each asset stays. Safe to interrupt and to repeat. Returns how many were
    deleted.
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


def prune_evaluations(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey], *, before: dt.datetime) -> int:
    """Delete results of these checks from before `before`: Dagster keeps the last one of each run in a table of its own, and they
    are still there when the run is deleted. The latest of each check stays. Safe to interrupt and to repeat. Returns how many
    were deleted.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    deleted, c = 0, AssetCheckExecutionsTable.c
    for key, latest in storage.get_latest_asset_check_execution_by_key(list(checks)).items():
        old = AssetCheckExecutionsTable.delete().where(
            c.asset_key == key.asset_key.to_string(),
            c.check_name == key.name,
            c.id < latest.id,
            c.evaluation_event_timestamp < before.astimezone(dt.timezone.utc).replace(tzinfo=None),
        )
        with storage.index_connection() as connection:
            deleted += connection.execute(old).rowcount
    return deleted


def cut_log(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete of the run's events all but how it went, why a step failed, and its last materialization and observation of each
    asset and partition. Safe to interrupt and to repeat."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return
    if _has_file_for_each_run(storage):  # with ids of its own
        with storage.run_connection(run_id) as connection:
            _cut(connection, run_id)
    with storage.index_connection() as connection:
        gone = _cut(connection, run_id)
        for ids in _pages(gone):
            connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids)))


def runs_of(instance: dg.DagsterInstance, event_ids: Collection[int]) -> set[str]:
    """Which runs these materializations are of. The events themselves are not read: a year of hourly windows has thousands of
    them for each table."""
    storage, c = instance.event_log_storage, SqlEventLogStorageTable.c
    found: set[str] = set()
    for ids in _pages(sorted(event_ids)):
        if isinstance(storage, SqlEventLogStorage):
            with storage.index_connection() as connection:
                found.update(connection.execute(sa.select(c.run_id).distinct().where(c.id.in_(ids))).scalars())
        else:
            kind = dg.DagsterEventType.ASSET_MATERIALIZATION
            records = storage.get_event_records(dg.EventRecordsFilter(kind, storage_ids=ids), limit=len(ids))
            found.update(each.event_log_entry.run_id for each in records)
    return found


def _has_file_for_each_run(storage: SqlEventLogStorage) -> bool:
    """As Dagster's SQLite has it."""
    return hasattr(storage, "path_for_shard")


def _cut(connection: sa.Connection, run_id: str) -> list[int]:
    """Ids of what was deleted."""
    c = SqlEventLogStorageTable.c
    last = (
        sa.select(sa.func.max(c.id))
        .where(c.run_id == run_id, c.dagster_event_type.in_(_OF_ASSETS))
        .group_by(c.dagster_event_type, c.asset_key, c.partition)
    )
    kept = set(connection.execute(last).scalars())
    others = sa.select(c.id).where(
        c.run_id == run_id, sa.or_(c.dagster_event_type.is_(None), c.dagster_event_type.not_in(_STORY))
    )
    gone = [each for each in connection.execute(others).scalars() if each not in kept]
    for ids in _pages(gone):
        connection.execute(SqlEventLogStorageTable.delete().where(c.id.in_(ids)))
    return gone


def _pages(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _IDS_A_QUERY):
        yield list(ids[start : start + _IDS_A_QUERY])
