"""A long past for a Dagster instance in SQLite: copies of one real run and of real ticks, row by row.

Every copy has the rows, the files and the captured output of the real one, under its own id, window and time. What is made up
is that they are all alike, and that Dagster did not run.
"""

import datetime as dt
import re
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIME_COLUMNS = {"timestamp", "create_timestamp", "update_timestamp", "start_time", "end_time"}
_TIME_COLUMNS |= {"evaluation_event_timestamp", "event_timestamp"}
# Instants inside Dagster's JSON bodies: seconds, under these names.
_TIME_IN_BODY = re.compile(r'"(timestamp|end_timestamp)": (\d+\.\d+)')

Row = dict[str, Any]


@dataclass(frozen=True)
class Copy:
    """How one copy differs from the real one."""

    run_id: str
    new_run_id: str
    window: str
    new_window: str
    seconds: float
    """How much later (negative: earlier) it was."""

    def of(self, row: Row) -> Row:
        return {name: self._value(name, value) for name, value in row.items() if name != "id"}

    def text(self, text: str) -> str:
        text = text.replace(self.run_id, self.new_run_id).replace(self.window, self.new_window)
        return _TIME_IN_BODY.sub(lambda m: f'"{m[1]}": {float(m[2]) + self.seconds:.6f}', text)

    def _value(self, name: str, value: Any) -> Any:
        if name in _TIME_COLUMNS and isinstance(value, float):
            return value + self.seconds
        if name in _TIME_COLUMNS and isinstance(value, str):
            return str(dt.datetime.fromisoformat(value) + dt.timedelta(seconds=self.seconds))
        return self.text(value) if isinstance(value, str) else value


@dataclass(frozen=True)
class PastRun:
    """A run to make: when it was, and the windows it loaded; its own window is the last of them."""

    at: dt.datetime
    windows: Sequence[str]


def add_runs(home: Path, run_id: str, window: str, at: dt.datetime, runs: Sequence[PastRun]) -> None:
    """Copy the finished run `run_id`, which loaded `window` at `at`, once for each of these. Dagster must not be running."""
    history = home / "history"
    copies = [Copy(run_id, str(uuid.uuid4()), window, run.windows[-1], (run.at - at).total_seconds()) for run in runs]
    with closing(sqlite3.connect(history / "runs.db")) as runs_db:
        _multiply(runs_db, "runs", "run_id", run_id, copies)
        _multiply(runs_db, "run_tags", "run_id", run_id, copies)
        runs_db.commit()
    with closing(sqlite3.connect(history / "runs" / "index.db")) as index:
        _multiply_index(index, run_id, copies, runs)
        index.commit()
    for copy in copies:
        _copy_files(home, copy)


def add_ticks(home: Path, sensor: str, counts: dict[str, int], every_seconds: float) -> None:
    """Copy the last real tick of each of these statuses so many times, one per `every_seconds` before it."""
    with closing(sqlite3.connect(home / "schedules" / "schedules.db")) as schedules:
        for status, count in counts.items():
            real = _rows(
                schedules,
                "SELECT * FROM job_ticks WHERE status = ? AND tick_body LIKE ? ORDER BY id DESC LIMIT 1",
                (status, f'%"{sensor}"%'),
            )[0]
            copies = (Copy("\0", "", "\0", "", -every_seconds * (number + 1)) for number in range(count))
            _insert(schedules, "job_ticks", (copy.of(real) for copy in copies))
        schedules.commit()


def _multiply(connection: sqlite3.Connection, table: str, column: str, value: str, copies: Sequence[Copy]) -> None:
    real = _rows(connection, f"SELECT * FROM {table} WHERE {column} = ?", (value,))
    _insert(connection, table, (copy.of(row) for copy in copies for row in real))


def _multiply_index(index: sqlite3.Connection, run_id: str, copies: Sequence[Copy], runs: Sequence[PastRun]) -> None:
    """The events that Dagster keeps for all runs together. A run of many windows has a materialization of each."""
    events = _rows(index, "SELECT * FROM event_logs WHERE run_id = ? ORDER BY id", (run_id,))
    checks = _rows(index, "SELECT * FROM asset_check_executions WHERE run_id = ? ORDER BY id", (run_id,))
    next_id = _rows(index, "SELECT MAX(id) AS id FROM event_logs", ())[0]["id"] + 1
    for copy, run in zip(copies, runs, strict=True):
        ids: dict[int, int] = {}
        made: list[Row] = []
        for event in events:
            loaded = event["dagster_event_type"] == "ASSET_MATERIALIZATION"
            for window in run.windows if loaded else run.windows[-1:]:
                one = Copy(copy.run_id, copy.new_run_id, copy.window, window, copy.seconds)
                made.append({"id": next_id, **one.of(event)})
                ids[event["id"]], next_id = next_id, next_id + 1
        _insert(index, "event_logs", made)
        links = ("evaluation_event_storage_id", "materialization_event_storage_id")
        _insert(
            index,
            "asset_check_executions",
            ({**copy.of(row), **{link: ids.get(row[link], row[link]) for link in links}} for row in checks),
        )


def _copy_files(home: Path, copy: Copy) -> None:
    """The run's own events, which the UI shows on its page, and what its steps printed."""
    folder = home / "history" / "runs"
    target = folder / f"{copy.new_run_id}.db"
    shutil.copy(folder / f"{copy.run_id}.db", target)
    with closing(sqlite3.connect(target)) as events:
        events.create_function("renamed", 1, copy.text)
        events.execute("UPDATE event_logs SET run_id = ?, event = renamed(event)", (copy.new_run_id,))
        events.commit()
    shutil.copytree(home / "storage" / copy.run_id, home / "storage" / copy.new_run_id)


def _rows(connection: sqlite3.Connection, sql: str, values: tuple[Any, ...]) -> list[Row]:
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    batch = list(rows)
    if batch:
        columns = ", ".join(f'"{name}"' for name in batch[0])
        values = ", ".join(f":{name}" for name in batch[0])
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({values})", batch)
