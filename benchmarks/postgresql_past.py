"""A long past for a Dagster instance in PostgreSQL: copies of one real run and of real ticks, made by the server itself.

Every copy has the rows of the real one, under its own id, stream, window and time, in the order in which streams that run side by
side write them. What is made up is that they are all alike; and instants inside Dagster's JSON bodies are still the real run's.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

# A busy stream has one run after the other, each as long as this (`max_run_seconds`).
SLOT_SECONDS = 600
SLOTS_AN_HOUR = 3600 // SLOT_SECONDS
SLOTS_A_DAY = 24 * SLOTS_AN_HOUR

# Of a copy: `r.run_id`, `r.stream`, and `r.slot`, how many slots ago it was.
# Of the window and, where the run went on into it, of the next one: earlier windows never read as the one replaced after them.
_LATER = (
    "to_char(to_timestamp('{0}', 'YYYY-MM-DD-HH24:MI') + make_interval(hours => -(r.slot / 6)), 'YYYY-MM-DD-HH24:MI')"
)
_TEXT = (
    "replace(replace(replace(replace({0}, '{run_id}', r.run_id), '{name}_0', '{name}_' || r.stream), "
    f"'{{window}}', {_LATER.format('{window}')}), '{{following}}', {_LATER.format('{following}')})"
)
_TIME = "{0} - make_interval(secs => r.slot * 600)"
_FLOAT = "{0} - r.slot * 600"
# As `run_id_of`.
_RUNS = (
    "(SELECT stream, slot, md5(stream || '/' || slot)::uuid::text AS run_id "
    "FROM generate_series(:first, :last) AS stream, unnest(CAST(:slots AS integer[])) AS slot) AS r"
)


@dataclass(frozen=True)
class Template:
    """The real run that all others are copies of: that of stream 0 of the case `name`, which began in this hourly window."""

    run_id: str
    name: str
    window: str
    following: str
    """The window after it."""


# How columns of a copy come to be, by table; those that are not named are copied, and `id` is the server's.
_EVENTS: Mapping[str, str] = {
    "run_id": "r.run_id", "event": _TEXT, "dagster_event_type": "{0}", "timestamp": _TIME, "step_key": _TEXT,
    "asset_key": _TEXT, "partition": _TEXT,
}  # fmt: skip
_CHECKS: Mapping[str, str] = {
    "asset_key": _TEXT, "check_name": "{0}", "partition": "{0}", "run_id": "r.run_id", "execution_status": "{0}",
    "evaluation_event": _TEXT, "evaluation_event_timestamp": _TIME, "evaluation_event_storage_id": "{0}",
    "materialization_event_storage_id": "{0}", "create_timestamp": _TIME,
}  # fmt: skip
_RUN: Mapping[str, str] = {
    "run_id": "r.run_id", "snapshot_id": "{0}", "pipeline_name": _TEXT, "status": "{0}", "run_body": _TEXT, "partition": _TEXT,
    "partition_set": _TEXT, "create_timestamp": _TIME, "update_timestamp": _TIME, "start_time": _FLOAT, "end_time": _FLOAT,
}  # fmt: skip
_TAGS: Mapping[str, str] = {"run_id": "r.run_id", "key": "{0}", "value": _TEXT}
_KEYS: Mapping[str, str] = {
    "asset_key": _TEXT, "last_materialization": _TEXT, "last_run_id": "r.run_id", "asset_details": "{0}",
    "last_materialization_timestamp": _TIME,
}  # fmt: skip


def run_id_of(stream: int, slot: int) -> str:
    """Of a copy."""
    return str(uuid.UUID(hashlib.md5(f"{stream}/{slot}".encode(), usedforsecurity=False).hexdigest()))


class Past:
    """Copies of the template's rows. Dagster must not be running."""

    def __init__(self, engine: sa.Engine, template: Template) -> None:
        self._engine = engine
        self._template = template
        self._keep("event_logs", "template_events", "run_id = :run_id")
        self._keep("asset_check_executions", "template_checks", "run_id = :run_id")
        self._keep("runs", "template_runs", "run_id = :run_id")
        self._keep("run_tags", "template_tags", "run_id = :run_id")
        self._keep("asset_keys", "template_keys", "last_run_id IS NOT NULL AND asset_key LIKE :asset")
        # What the retention leaves of the run that was the last in its window: see `pruning`.
        self._keep("event_logs", "template_left", f"run_id = :run_id AND id IN ({_LEFT})")

    def _keep(self, table: str, name: str, where: str) -> None:
        values = {"run_id": self._template.run_id, "asset": f'["{self._template.name}_0"%'}
        with self._engine.begin() as connection:
            connection.execute(sa.text(f"CREATE TABLE {name} AS SELECT * FROM {table} WHERE {where}"), values)

    def add(self, slots: Sequence[int], streams: range, *, deep: range, is_left: bool = False) -> None:
        """Runs of these streams that ended so many slots before the real one; of `deep` their events and checks as well.

        is_left: only what the retention leaves of them.
        """
        self._copy("runs", "template_runs", _RUN, slots, streams)
        self._copy("run_tags", "template_tags", _TAGS, slots, streams)
        self._copy("event_logs", "template_left" if is_left else "template_events", _EVENTS, slots, deep)
        if not is_left:
            self._copy("asset_check_executions", "template_checks", _CHECKS, slots, deep)

    def add_keys(self, streams: range) -> None:
        """The assets of these streams, as if loaded by the real run."""
        with self._engine.begin() as connection:
            names = [f'["{self._template.name}_{number}"%' for number in streams]
            connection.execute(sa.text("DELETE FROM asset_keys WHERE asset_key LIKE ANY(:names)"), {"names": names})
        self._copy("asset_keys", "template_keys", _KEYS, [1], streams)

    def add_ticks(self, status: str, count: int, every_seconds: float, streams: range) -> None:
        """Before the last real tick of this status, one per `every_seconds`, for the sensors of these streams."""
        sensors = [f'%"{self._template.name}_{number}_sensor"%' for number in streams]
        with self._engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            connection.execute(
                sa.text(_COPY_TICKS), {"status": status, "count": count, "every": every_seconds, "sensors": sensors}
            )

    def _copy(self, target: str, source: str, columns: Mapping[str, str], slots: Sequence[int], streams: range) -> None:
        one = self._template
        names = {"run_id": one.run_id, "name": one.name, "window": one.window, "following": one.following}
        made = ", ".join(how.format(f"e.{column}", **names) for column, how in columns.items())
        statement = sa.text(
            f"INSERT INTO {target} ({', '.join(columns)}) SELECT {made} FROM {source} AS e CROSS JOIN {_RUNS} "
            "ORDER BY r.slot DESC, e.id, r.stream"
        )
        values = {"first": streams.start, "last": streams.stop - 1, "slots": list(slots)}
        with self._engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
            connection.execute(statement, values)


_LEFT = """
    SELECT max(id) FROM event_logs WHERE run_id = :run_id AND dagster_event_type IN ('ASSET_MATERIALIZATION', 'ASSET_OBSERVATION')
    GROUP BY dagster_event_type, asset_key, partition
    UNION ALL SELECT id FROM event_logs WHERE run_id = :run_id AND dagster_event_type LIKE 'PIPELINE_%'
"""
_COPY_TICKS = """
    INSERT INTO job_ticks (job_origin_id, selector_id, status, type, timestamp, tick_body, create_timestamp, update_timestamp)
    SELECT s.job_origin_id, s.selector_id, t.status, t.type, t.timestamp - make_interval(secs => :every * n),
           t.tick_body, t.create_timestamp, t.update_timestamp
    FROM (SELECT DISTINCT job_origin_id, selector_id FROM job_ticks WHERE type = 'SENSOR' AND tick_body LIKE ANY(:sensors)) AS s
    CROSS JOIN (SELECT * FROM job_ticks WHERE type = 'SENSOR' AND status = :status ORDER BY length(tick_body) DESC LIMIT 1) AS t
    CROSS JOIN generate_series(1, :count) AS n
    ORDER BY n DESC, s.selector_id
"""
