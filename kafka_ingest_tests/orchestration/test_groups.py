"""A group in Dagster: one sensor and one job, and of each stream what a run of its own says."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_ingest.checks import consumer_group
from kafka_ingest.engine.backoff import Trouble
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import ConfigError, DatabaseUnavailable
from kafka_ingest.orchestration import checks, sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.names import FAILED_TAG, GROUP_TAG, LIVE_TAG, REASON_TAG, TROUBLES_TAG
from kafka_ingest.orchestration.troubles import last_troubles
from kafka_ingest_tests.support.grouped import GroupWorld, small_stream
from kafka_ingest_tests.support.placed import environment_resources

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

NAMES = ("a", "b")
ALL = list(range(7))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GroupWorld:
    found = GroupWorld(tmp_path, monkeypatch, *map(small_stream, NAMES))
    monkeypatch.setattr(checks, "KafkaMetadata", lambda _settings: found.metadata)
    monkeypatch.setattr(consumer_group, "LOOK_SECONDS", 0.0)
    clients = Clients(found.settings, found.metadata, found.sink)
    monkeypatch.setattr(sensors, "clients_for", lambda _resource: clients)
    return found


@pytest.fixture
def definitions(world: GroupWorld) -> dg.Definitions:
    return build_definitions(world.streams)


class Ticking:
    """The group's sensor, ticked by hand."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.sensor = definitions.resolve_sensor_def("small_sensor")
        self.repository = definitions.get_repository_def()
        self.instance = instance
        self.cursor: str | None = None

    def tick(self) -> Any:
        """The run request, or the reason for none."""
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.repository,
            resources=environment_resources(),
        ) as context:
            found = self.sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return found.run_requests[0] if found.run_requests else found.skip_message


@pytest.fixture
def ticking(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Ticking:
    return Ticking(definitions, instance)


def execute(definitions: dg.Definitions, instance: dg.DagsterInstance, **tags: str) -> dg.ExecuteInProcessResult:
    job = definitions.resolve_job_def("ingest_small")
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)


def broken(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    load = Ingestion.load

    def fails(self: Ingestion, *arguments: Any) -> Any:
        if self.stream.name in names:
            raise DatabaseUnavailable(f"{self.stream.name}: its table is gone")
        return load(self, *arguments)

    monkeypatch.setattr(Ingestion, "load", fails)


def test_a_group_has_one_sensor_and_its_streams_keep_their_own_jobs(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {s.name for s in repository.sensor_defs} == {"small_sensor"}
    jobs = set(repository.job_names)
    assert {"ingest_small", *(f"{kind}_{n}" for n in NAMES for kind in ("ingest", "preview", "find_message"))} <= jobs


def test_names_that_clash_are_refused() -> None:
    with pytest.raises(ConfigError, match="group 'a' is the name of a stream"):
        build_definitions([small_stream("a"), small_stream("b", "a")])


def test_a_run_materializes_the_tables_of_each_stream_and_says_lag_and_checks(
    world: GroupWorld, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = execute(definitions, instance)
    assert result.success
    assert {name: world.rows(name) for name in NAMES} == dict.fromkeys(NAMES, ALL)
    found: dict[str, dg.AssetMaterialization] = {}
    for event in result.get_asset_materialization_events():
        assert event.asset_key is not None
        found[event.asset_key.to_user_string()] = event.step_materialization_data.materialization
    assert set(found) == {f"{n}/{table}" for n in NAMES for table in (f"g_{n}", "dead_letters")}
    assert found["a/g_a"].metadata["rows"].value == 7
    assert found["a/g_a"].metadata["lag"].value == 0
    assert found["a/g_a"].partition is not None
    observed = {e.asset_key.to_user_string() for e in result.get_asset_observation_events() if e.asset_key}
    assert observed == {f"kafka/{n}" for n in NAMES}
    checked = {(e.asset_key.to_user_string(), e.passed) for e in result.get_asset_check_evaluations()}
    assert checked == {("a/ledger", True), ("b/ledger", True)}
    assert json.loads(_tags(instance, result)[TROUBLES_TAG]) == {}


def _tags(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> dict[str, str]:
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return dict(run.tags)


def test_a_run_with_a_broken_stream_loads_the_others_and_fails_by_name(
    world: GroupWorld, definitions: dg.Definitions, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, "b")
    result = execute(definitions, instance)
    assert not result.success
    assert (world.rows("a"), world.rows("b")) == (ALL, [])
    tags = _tags(instance, result)
    assert tags[FAILED_TAG] == "b"
    assert last_troubles(instance, "small")["b"].failures == 1
    failure = result.get_step_failure_events()[0].step_failure_data
    assert failure.user_failure_data is not None
    text = str(failure.user_failure_data.description)
    assert "1 of 2 streams failed" in text
    assert "b: DatabaseUnavailable: b: its table is gone" in text
    assert {"a/g_a", "a/dead_letters"} <= {
        e.asset_key.to_user_string() for e in result.get_asset_materialization_events() if e.asset_key
    }


def test_the_sensor_launches_one_run_for_all_and_says_for_whom(world: GroupWorld, ticking: Ticking) -> None:
    request = ticking.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags[GROUP_TAG] == request.tags[LIVE_TAG] == "small"
    assert request.tags[REASON_TAG].startswith("a, b: 7 of 10 messages")
    assert request.run_config == {}
    assert request.tags["kafka_ingest/cluster"] == "a-cluster"


def test_where_nothing_is_due_each_reason_is_said_with_its_streams(world: GroupWorld, ticking: Ticking) -> None:
    for log in world.logs.values():
        log.end = 0
    assert ticking.tick() == "a, b: nothing waiting"
    assert set(json.loads(ticking.cursor or "")) == set(NAMES)


def test_a_stream_that_cannot_be_seen_keeps_no_other_from_its_run(
    world: GroupWorld, ticking: Ticking, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = world.metadata.topics

    def refused(stream: Any) -> Any:
        if stream.name == "a":
            raise DatabaseUnavailable("not a")
        return topics(stream)

    monkeypatch.setattr(world.metadata, "topics", refused)
    request = ticking.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags[REASON_TAG].startswith("b: ")


def test_a_stream_that_fails_makes_the_sensor_wait_for_itself_only(
    world: GroupWorld,
    definitions: dg.Definitions,
    ticking: Ticking,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kafka_ingest.engine.backoff.FIRST_BACKOFF_SECONDS", 200.0)
    broken(monkeypatch, "b")
    execute(definitions, instance)
    said = ticking.tick()
    assert "b: backing off for" in said
    assert "a: nothing waiting" in said
    world.grow("a", 20)
    request = ticking.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.tags[REASON_TAG].startswith("a: 13 messages")
    # It is not tried before its time in the run that the others got, and what is known of it is handed on.
    tried = []
    monkeypatch.setattr(Ingestion, "plan", lambda self, *_: tried.append(self.stream.name))
    monkeypatch.setattr(
        "kafka_ingest.orchestration.group_job.last_troubles", lambda *_: {n: _just_now() for n in NAMES}
    )
    assert execute(definitions, instance).success
    assert tried == []
    assert last_troubles(instance, "small")["a"].failures == 2


def _just_now() -> Trouble:
    return Trouble(2, time.time())


def test_what_a_person_wrote_in_the_tag_says_nothing(instance: dg.DagsterInstance, definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("ingest_small")
    for text in ("", "[]", "null", '{"a": 1}', '{"a": ["x", 1]}'):
        instance.create_run_for_job(job, tags={LIVE_TAG: "small", TROUBLES_TAG: text})
        assert last_troubles(instance, "small") == {}
