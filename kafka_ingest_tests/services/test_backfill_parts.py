"""A backfill in three parts on two slots, on real servers: what its runs do not come to, and one that is killed."""

from __future__ import annotations

import datetime as dt
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.conftest import fresh_database, make_topic
from kafka_ingest_tests.e2e.backfills import A_WINDOW, HOURS, World, damage, fill, load_all, subprocess_environ
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.streams import GATE_VARIABLE, environment

pytestmark = pytest.mark.services
SLOTS, SHARDS = 2, 3
MESSAGES = (HOURS - 1) * A_WINDOW


@pytest.fixture(scope="module")
def world(kafka: LocalKafka, mysql: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    topic, url = make_topic(kafka, partitions=4), fresh_database(mysql)
    folder = tmp_path_factory.mktemp("parts")
    environ = environment(kafka.bootstrap_servers, url, topic, max_rows=500, shards=SHARDS)
    truth = Truth()
    start = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=HOURS)
    fill(kafka.bootstrap_servers, topic, start, truth)
    load_all(environ)
    environ |= {GATE_VARIABLE: str(folder / "gate")}
    with DagsterDev(folder / "dagster", environ, slots=SLOTS) as dagster:
        whole = {**subprocess_environ(), **environ}
        made = World(whole, url, topic, kafka.bootstrap_servers, dagster, start, truth)
        made.sensors(on=False)
        yield made


def parts(world: World, run: str) -> list[dict[str, str]]:
    """The runs of a backfill's parts: their tags, status and id."""
    return [
        {**found["tags"], "status": found["status"], "id": found["runId"]}
        for found in world.dagster.runs()
        if found["tags"].get("kafka_ingest/part_of") == run
    ]


def statuses(world: World, run: str) -> set[str]:
    return {each["status"] for each in parts(world, run)}


def launch(world: World) -> tuple[str, dict[str, str]]:
    """A backfill whose own run waits until the run of one of its parts has begun; its id, and that part's run."""
    gate = Path(world.environ[GATE_VARIABLE])
    tags = {
        "dagster/asset_partition_range_start": world.window(1),
        "dagster/asset_partition_range_end": world.window(HOURS - 1),
    }
    run = world.api.launch("ingest_information", {}, tags)
    world.dagster.wait_for(lambda: parts(world, run), 90, "the parts' runs")
    gate.touch()
    try:
        world.dagster.wait_for(lambda: begun(parts(world, run)), 80, "a part's run to begin")
    finally:
        gate.unlink()
    return run, begun(parts(world, run))[0]


def begun(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those that have said which process they run in."""
    return [each for each in found if each.get("kafka_ingest/process", "").startswith(each["id"])]


def assert_told_as_one(world: World, run: str) -> None:
    look = world.api.follow(run, lambda _look: None)
    assert look.status == "SUCCESS", world.api.failure(run)
    assert look.tags["kafka_ingest/progress"] == f"{MESSAGES}/{MESSAGES}"
    loaded = world.api.loaded(run)
    assert loaded.numbers["information"]["messages"] == MESSAGES
    assert sum(loaded.numbers[name]["rows"] for name in ("information", "announcement", "dead_letters")) == MESSAGES
    assert loaded.windows == tuple(world.window(n) for n in range(1, HOURS))
    world.assert_true()


def test_a_backfill_with_fewer_slots_than_parts_is_loaded_wholly_and_told_as_one(world: World) -> None:
    damage(world, 1, HOURS - 1)
    run, part = launch(world)
    assert_told_as_one(world, run)
    found = {each["id"]: each for each in parts(world, run)}
    assert sorted(each["kafka_ingest/part"] for each in found.values()) == ["1/3", "2/3"]
    assert found[part["id"]]["status"] == "SUCCESS"
    # A part that leaves the queue as the backfill ends finds nothing to do, and ends by itself.
    world.dagster.wait_for(lambda: statuses(world, run) <= {"SUCCESS", "CANCELED"}, 90, "the parts' runs to end")


def test_the_part_of_a_run_that_is_killed_is_loaded_by_the_run_that_launched_it(world: World) -> None:
    damage(world, 1, HOURS - 1)
    run, part = launch(world)
    os.kill(int(part["kafka_ingest/process"].rsplit(":", 2)[1]), signal.SIGKILL)
    assert_told_as_one(world, run)
    assert {each["id"]: each["status"] for each in parts(world, run)}[part["id"]] == "FAILURE"
