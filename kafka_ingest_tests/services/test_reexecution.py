"""Re-execution in a real `dagster dev`: from failure, and of a whole finished run; nothing is lost, nothing doubles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from confluent_kafka import Consumer

from kafka_ingest.local.kafka import LocalKafka
from kafka_ingest_tests.e2e import two_versions
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev
from kafka_ingest_tests.e2e.news import Truth, news, produce
from kafka_ingest_tests.e2e.streams import environment
from kafka_ingest_tests.support.catch_up import send

pytestmark = pytest.mark.services

_REEXECUTE = """mutation ($run: String!, $how: ReexecutionStrategy!) {
  launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: $how}) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_STEPS = (
    """query ($run: ID!) { runOrError(runId: $run) { ... on Run { runId status stepStats { stepKey status } } } }"""
)
_SENSORS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { sensors { id sensorState { id } } } } } }"
_STOP = "mutation ($id: String!) { stopSensor(id: $id) { __typename ... on PythonError { message } } }"


def reexecution(dagster: DagsterDev, run_id: str, how: str) -> dict[str, Any]:
    """Launch, wait, and return the new run."""
    answer = dagster.graphql(_REEXECUTE, run=run_id, how=how)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    new = answer["run"]["runId"]
    dagster.wait_for(lambda: run_of(dagster, new)["status"] in ("SUCCESS", "FAILURE"), 60, f"re-execution {how}")
    return run_of(dagster, new)


def reexecute(dagster: DagsterDev, run_id: str, how: str) -> dict[str, str]:
    """The steps of a re-execution that succeeds, with their status."""
    run = reexecution(dagster, run_id, how)
    assert run["status"] == "SUCCESS", dagster.tail()
    return {s["stepKey"]: s["status"] for s in run["stepStats"]}


def run_of(dagster: DagsterDev, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = dagster.graphql(_STEPS, run=run_id)["runOrError"]
    return found


def test_a_run_that_failed_after_its_load_goes_on_from_there_and_a_finished_one_loads_nothing_twice(
    kafka: LocalKafka, mariadb_url: str, topic: str, tmp_path: Path
) -> None:
    truth = Truth()
    group = f"group-of-{topic}"
    produce(kafka.bootstrap_servers, topic, news(seed=5, count=1_000), truth)
    # A live member of the group makes Kafka refuse the commit, after the database has the rows.
    member = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group, "auto.offset.reset": "latest"})
    member.subscribe([topic])
    while not member.assignment():
        member.poll(0.2)
    environ = environment(kafka.bootstrap_servers, mariadb_url, topic) | {"KAFKA_GROUP_ID": group}
    with DagsterDev(tmp_path / "dagster", environ) as dagster:

        def failed() -> list[dict[str, Any]]:
            member.poll(0)  # stays a member
            return [run for run in dagster.runs() if run["status"] == "FAILURE"]

        dagster.wait_for(failed, 90, "the run to fail")
        stop_sensors(dagster)
        run = failed()[-1]
        steps = {s["stepKey"]: s["status"] for s in run_of(dagster, run["runId"])["stepStats"]}
        assert steps["information.load"] == "SUCCESS"
        assert steps["information.commit_offsets"] == "FAILURE"
        assert ledger_total(mariadb_url) == truth.total
        member.close()
        steps = reexecute(dagster, run["runId"], "FROM_FAILURE")
        assert "information.load" not in steps
        assert steps["information.commit_offsets"] == steps["information.drain"] == "SUCCESS"
        assert_exactly_once(mariadb_url, kafka.bootstrap_servers, topic, truth, group=group)
        finished = next(r for r in dagster.runs() if r["status"] == "SUCCESS")
        steps = reexecute(dagster, finished["runId"], "ALL_STEPS")
        assert steps["information.load"] == "SUCCESS"
    assert_exactly_once(mariadb_url, kafka.bootstrap_servers, topic, truth, group=group)
    assert not list((tmp_path / "dagster").glob("storage/kafka_ingest_handover/*")), "frames were left behind"


def test_what_the_failed_runs_code_made_of_the_messages_is_not_loaded_by_newer_code(
    kafka: LocalKafka, mariadb_url: str, topic: str, tmp_path: Path
) -> None:
    names = [f"m{number}" for number in range(200)]
    send(kafka, topic, names)
    environ = environment(kafka.bootstrap_servers, mariadb_url, topic) | {
        "KAFKA_GROUP_ID": f"group-of-{topic}",
        "KAFKA_INGEST_STREAMS": two_versions.__name__,
    }
    with DagsterDev(tmp_path / "dagster", environ | {two_versions.VERSION_VARIABLE: "1"}) as dagster:
        dagster.wait_for(lambda: [r for r in dagster.runs() if r["status"] == "FAILURE"], 90, "the run to fail")
        stop_sensors(dagster)
        failed = next(r for r in dagster.runs() if r["status"] == "FAILURE")
        steps = {s["stepKey"]: s["status"] for s in run_of(dagster, failed["runId"])["stepStats"]}
        assert (steps["information.translate_dates"], steps["information.load"]) == ("SUCCESS", "FAILURE")
    with DagsterDev(tmp_path / "dagster", environ | {two_versions.VERSION_VARIABLE: "2"}) as dagster:
        steps = reexecute(dagster, failed["runId"], "FROM_FAILURE")
        assert "information.translate_dates" not in steps
    engine = sa.create_engine(mariadb_url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, title FROM information")).all()
        letters = connection.execute(sa.text("SELECT COUNT(*) FROM kafka_ingest_dead_letters")).scalar_one()
    engine.dispose()
    assert sorted(map(tuple, rows)) == sorted((name, "T") for name in names)
    assert letters == 0


def stop_sensors(dagster: DagsterDev) -> None:
    """No further run starts."""
    nodes = dagster.graphql(_SENSORS)["repositoriesOrError"]["nodes"]
    for sensor in (s for node in nodes for s in node["sensors"]):
        answer = dagster.graphql(_STOP, id=sensor["id"])["stopSensor"]
        assert answer["__typename"] == "StopSensorMutationResult", answer
