"""Tables of one name in two schemas, and names that Dagster takes for no output: what is built, run, checked and reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.checks.trace import stream_of_table, trace
from kafka_ingest.cli.doctor.database import check_database
from kafka_ingest.orchestration.audit_schedule import audit_checks
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import ranges_config
from kafka_ingest.orchestration.names import LIVE_TAG, table_key
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import UpsertModel
from kafka_ingest.streams.stream import BatchPolicy, RouteByTopic, Stream
from kafka_ingest_tests.orchestration.test_job import window
from kafka_ingest_tests.support.cluster import FakeMessage, Log
from kafka_ingest_tests.support.made import Make
from kafka_ingest_tests.support.placed import NAMES, placed
from kafka_ingest_tests.support.world import World

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

SCHEMA = "old-news"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """SQLite with a second schema."""

    def attach(connection: Any, _record: Any) -> None:
        connection.execute(f"ATTACH DATABASE '{tmp_path}/other.db' AS \"{SCHEMA}\"")

    sa.event.listen(sa.Engine, "connect", attach)
    found = World(tmp_path, monkeypatch)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", found.url)
    yield found
    sa.event.remove(sa.Engine, "connect", attach)


def stream_of(made: Make, name: str) -> Stream:
    """Topics a and b are tables of this name in two schemas, deleted by tombstones; c and d are append tables."""
    return Stream(
        name="names",
        topics=("a", "b", "c", "d"),
        route_by=RouteByTopic(),
        routes={
            "a": made(name, UpsertModel, delete_on_tombstone=True),
            "b": made(name, UpsertModel, schema=SCHEMA, delete_on_tombstone=True),
            "c": made(f"{name} rows"),
            "d": made(f"{name} rows", schema=SCHEMA),
        },
        batch=BatchPolicy(max_wait_seconds=0, linger_seconds=0),
    )


def topic(name: str, *messages: tuple[str, bool]) -> tuple[TopicPartition, Log]:
    """A topic of (id, is a tombstone)."""
    at = TopicPartition(name, 0)
    found = {
        n: FakeMessage(
            at,
            n,
            None if is_tombstone else json.dumps({"id": id_}).encode(),
            1_767_250_800_000 + n,
            name=json.dumps(id_).encode(),
        )
        for n, (id_, is_tombstone) in enumerate(messages)
    }
    return at, Log(found, len(found))


@pytest.mark.parametrize("name", ["news", "dash-ed", "dot.ted", "100%", "tick`", "1st", "ü"])
def test_a_run_loads_each_table_and_says_its_own_numbers(world: World, made: Make, name: str) -> None:
    stream = stream_of(made, name)
    world.logs.clear()
    world.logs.update(
        [
            topic("a", ("k", False), ("l", False), ("k", True)),
            topic("b", ("k", False)),
            topic("c", ("x", False)),
            topic("d", ("x", False), ("y", False)),
        ]
    )
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = build_definitions([stream])
        dg.Definitions.validate_loadable(definitions)
        result = definitions.resolve_job_def("ingest_names").execute_in_process(
            run_config=ranges_config(NAMES, stream, (), "live"),
            partition_key=window(),
            instance=instance,
            tags={LIVE_TAG: "names"},
        )
        checks = result.get_asset_check_evaluations()
        materialized = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]

    rows = {t.label: [id_ for (id_,) in select(world, t.table)] for t in stream.targets}
    assert rows == {
        name: ["l"],
        f"{SCHEMA}.{name}": ["k"],  # the other table's tombstone is no tombstone of this one
        f"{name} rows": ["x"],
        f"{SCHEMA}.{name} rows": ["x", "y"],
    }
    said = {m.asset_key: m.metadata["rows"].value for m in materialized if m.partition == window()}
    assert {t.label: said[table_key(stream, t)] for t in stream.targets} == {
        name: 2, f"{SCHEMA}.{name}": 1, f"{name} rows": 1, f"{SCHEMA}.{name} rows": 2,
    }  # fmt: skip
    assert set(said) == {*(table_key(stream, t) for t in stream.targets), placed(stream).dead_letters.key}
    assert all(check.passed for check in checks)
    assert len({c.check_name for c in checks if c.check_name.startswith("run_rows_")}) == 2
    assert len({check.key for check in audit_checks(placed(stream))}) == 4
    ledger = [json.loads(text) for (text,) in world.target.all("SELECT rows_by_table FROM kafka_ingest_batches")]
    assert {label: n for entry in ledger for label, n in entry.items()} == {
        name: 2, f"{SCHEMA}.{name}": 1, f"{name} rows": 1, f"{SCHEMA}.{name} rows": 2,
    }  # fmt: skip

    for label, fate in ((name, "tombstone"), (f"{SCHEMA}.{name}", "row")):
        _, target = stream_of_table({"names": stream}, label)
        assert [t.fate for t in trace(world.target.sink, stream, target, "k")] == [fate]
    findings = {f.check: f.detail for f in check_database(world.settings, [stream])}
    assert [findings[f"table {t.label}"] for t in stream.targets] == [
        f"its {len(t.columns)} columns hold what the model declares" for t in stream.targets
    ]


def select(world: World, table: sa.Table) -> list[Any]:
    with world.target.sink.engine.connect() as connection:
        return list(connection.execute(sa.select(table.c.id).order_by(table.c.id)))


def test_the_schema_is_a_part_of_the_assets_key(made: Make) -> None:
    stream = Stream(name="names", topics="t", routes={"a": made("news"), "b": made("news", schema="archive")})
    keys = {key.to_user_string() for key in build_definitions([stream]).resolve_asset_graph().get_all_asset_keys()}
    assert {"names/news", "names/archive/news"} <= keys
