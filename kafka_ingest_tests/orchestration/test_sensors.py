"""The sensor looks, decides and says why; it believes no run that has stopped reporting."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.orchestration import lease_watch, sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import instance_of
from kafka_ingest.orchestration.liveness import is_alive, process_of, process_tag, this_process
from kafka_ingest.orchestration.names import PROCESS_TAG
from kafka_ingest.orchestration.sensors import backoff_seconds
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.placed import placed
from kafka_ingest_tests.support.sensing import P0, SensorWorld, a_run, leave_queue, now

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

# --- liveness


def test_this_process_is_alive() -> None:
    assert is_alive(this_process()) is True


def test_a_process_that_has_ended_is_not_alive_whether_it_was_waited_for_or_not() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    host, boot, _, _ = this_process().rsplit(":", 3)
    fields = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    name = ":".join((host, boot, str(child.pid), fields[19]))
    assert is_alive(name) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has taken note: a zombie
    assert is_alive(name) is False
    child.communicate()
    assert is_alive(name) is False


def test_another_process_under_the_same_number_is_another_process() -> None:
    host, boot, pid, start = this_process().rsplit(":", 3)
    assert is_alive(":".join((host, boot, pid, str(int(start) - 1)))) is False
    assert is_alive(":".join((host, "another-boot", pid, start))) is False


def test_where_there_is_no_proc_a_process_is_alive_while_its_number_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kafka_ingest.processes.PROC", tmp_path / "none")
    assert is_alive(this_process()) is True
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        name = this_process().replace(f":{os.getpid()}:", f":{child.pid}:")
    assert is_alive(name) is False


def test_of_a_process_on_another_host_nothing_is_known() -> None:
    assert is_alive("elsewhere:boot:1:1") is None


def test_a_tag_speaks_of_its_own_run_only() -> None:
    tag = process_tag("run-1")
    assert process_of(tag, "run-1") == this_process()
    assert process_of(tag, "run-2") is None
    assert process_of(None, "run-1") is None


# --- backoff


def test_nothing_failed_means_no_waiting(instance: dg.DagsterInstance) -> None:
    assert backoff_seconds(instance, placed(MIXED), now(), None) == 0
    a_run(instance, dg.DagsterRunStatus.SUCCESS)
    assert backoff_seconds(instance, placed(MIXED), now(), None) == 0


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_five_minutes(instance: dg.DagsterInstance) -> None:
    expected = [5, 10, 20, 40, 80, 160, 300, 300]
    found = []
    for _ in expected:
        a_run(instance, dg.DagsterRunStatus.FAILURE)
        found.append(round(backoff_seconds(instance, placed(MIXED), now(), None), 0))
    assert found == expected
    assert backoff_seconds(instance, placed(MIXED), now() + dt.timedelta(seconds=100), None) == pytest.approx(
        200, abs=2
    )
    assert backoff_seconds(instance, placed(MIXED), now() + dt.timedelta(seconds=301), None) == 0
    assert backoff_seconds(instance, placed(replace(MIXED, name="other")), now(), None) == 0


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_did_not_fail_ends_the_row(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    for _ in range(3):
        a_run(instance, dg.DagsterRunStatus.FAILURE)
    a_run(instance, status)
    assert backoff_seconds(instance, placed(MIXED), now(), None) == 0
    a_run(instance, dg.DagsterRunStatus.FAILURE)
    assert backoff_seconds(instance, placed(MIXED), now(), None) == pytest.approx(5, abs=1)


def test_a_run_that_loaded_something_before_it_failed_begins_the_row(instance: dg.DagsterInstance) -> None:
    """Or runs killed one after the other, each hours apart, would keep a healthy stream waiting for five minutes."""
    for _ in range(4):
        a_run(instance, dg.DagsterRunStatus.FAILURE)
    loaded_at = now()
    assert backoff_seconds(instance, placed(MIXED), now(), loaded_at) == pytest.approx(5, abs=1)
    for expected in (10, 20):
        time.sleep(0.01)
        a_run(instance, dg.DagsterRunStatus.FAILURE)
        assert backoff_seconds(instance, placed(MIXED), now(), loaded_at) == pytest.approx(expected, abs=1)


# --- ticks


def test_a_tick_that_waited_for_others_does_not_cost_the_next_round() -> None:
    interval = build_definitions([MIXED]).resolve_sensor_def("mixed_sensor").minimum_interval_seconds
    assert interval == 1, "Dagster's loop, every five seconds, would leave out a sensor whose last tick is younger"


def test_ticks_of_one_dagster_instance_share_it_and_another_has_its_own(tmp_path: Path) -> None:
    found = []
    for home in ("a", "b", "a"):
        (tmp_path / home).mkdir(exist_ok=True)
        with (
            dg.DagsterInstance.from_config(str(tmp_path / home)) as instance,
            dg.build_sensor_context(instance_ref=instance.get_ref()) as context,
        ):
            found.append(instance_of(context))
            instance.add_dynamic_partitions("homes", [home])
            assert found[-1].get_dynamic_partitions("homes") == [home]
    assert found[0] is found[2]
    assert found[0] is not found[1]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> SensorWorld:
    return SensorWorld(monkeypatch)


def test_a_topic_that_does_not_exist_yet_is_waited_for(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    assert world.tick(instance) == "topic mixed, mixed2 does not exist yet"


def test_while_nothing_is_due_the_reason_says_what_waits_and_how_old_it_is(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(0)
    assert world.tick(instance) == "nothing waiting"
    world.waiting(4, age_seconds=3)
    assert world.tick(instance) in (
        "4 of 10 messages waiting, oldest 2 s of 10 s",
        "4 of 10 messages waiting, oldest 3 s of 10 s",
    )


def test_a_due_batch_is_one_run_with_exact_ranges_tags_and_a_window(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.target.pin({P0: 2})
    world.waiting(14)
    request = world.tick(instance)
    assert isinstance(request, dg.RunRequest)
    config = request.run_config["ops"]["mixed"]["ops"]["plan"]["config"]
    assert config["ranges"] == [{"topic": "mixed", "partition": 0, "start": 2, "end": 14}]
    assert config["kind"] == "live"
    assert request.tags["kafka_ingest/live"] == request.tags["kafka_ingest/stream"] == "mixed"
    assert request.tags["kafka_ingest/ranges"] == "mixed[0]@[2,14)"
    assert request.tags["kafka_ingest/reason"] == "12 messages waiting, 10 make a batch"
    assert request.tags["dagster/max_runtime"] == "1500"
    assert request.partition_key == (now() - dt.timedelta(seconds=1)).strftime("%Y-%m-%d-%H:00")
    assert request.run_key is not None
    again = world.tick(instance)
    assert again.run_key != request.run_key, "a key that was used is never launched again"


def test_a_run_gets_along_which_cluster_and_which_database_its_sensor_looked_at(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(14)
    ((ledger_id,),) = world.target.all("SELECT ledger_id FROM kafka_ingest_ledger")
    tags = world.tick(instance).tags
    assert (tags["kafka_ingest/cluster"], tags["kafka_ingest/database"]) == ("a-cluster", f"ledger:{ledger_id}")
    # Another one stands behind the same address by now.
    world.metadata.id = None
    with world.target.sink.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE kafka_ingest_ledger SET ledger_id = 'another'")
    tags = world.tick(instance).tags
    assert tags["kafka_ingest/database"] == "ledger:another"
    assert "kafka_ingest/cluster" not in tags


def test_a_tick_that_launches_nothing_does_not_ask_which_cluster_and_database_it_is(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_arguments: object) -> None:
        raise KafkaUnavailable("asked")

    monkeypatch.setattr(sensors, "look_at_servers", never)
    world.waiting(0)
    assert world.tick(instance) == "nothing waiting"
    world.waiting(14)
    assert world.tick(instance) == "KafkaUnavailable: asked"


def test_a_message_that_would_wait_too_long_is_due_before_that(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(1, age_seconds=6)
    request = world.tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["kafka_ingest/reason"] == "1 of 10 messages waiting, oldest about 10 s"


def test_a_tick_never_writes(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    before = world.target.state(), world.target.batches()
    world.tick(instance)
    assert (world.target.state(), world.target.batches()) == before


def test_after_a_failure_the_reason_says_how_long_it_backs_off(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(50)
    a_run(instance, dg.DagsterRunStatus.FAILURE)
    found = world.tick(instance)
    assert found in [f"backing off for {s} s more after a failed batch; 50 messages waiting" for s in (4, 5)]


def test_trouble_with_the_cluster_is_the_ticks_reason(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_arguments: object) -> None:
        raise KafkaUnavailable("listing topics: no broker")

    monkeypatch.setattr(world.metadata, "topics", down)
    assert world.tick(instance) == "KafkaUnavailable: listing topics: no broker"


def test_a_run_whose_process_is_there_is_waited_for(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: process_tag(run.run_id)})
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


# A stream whose runs' time is up as soon as they have started.
ENDING = replace(MIXED, batch=replace(MIXED.batch, max_run_seconds=0))


def test_the_next_run_is_launched_shortly_before_the_time_of_a_run_of_ours_is_up(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    run = a_run(instance, dg.DagsterRunStatus.STARTED, kafka_ingest__reason="because")
    loading = f"run {run.run_id[:8]} is loading this stream"
    young = SensorWorld(monkeypatch)
    young.waiting(50)
    assert young.tick(instance) == loading
    ending = SensorWorld(monkeypatch, ENDING)
    ending.waiting(0)
    assert ending.tick(instance) == loading, "nothing waits, so there is nothing to take over"
    ending.waiting(50)
    assert isinstance(ending.tick(instance), dg.RunRequest)
    following = a_run(instance, dg.DagsterRunStatus.NOT_STARTED, kafka_ingest__reason="because")
    assert following.run_id[:8] in str(ending.tick(instance)), "two are enough"


def test_a_run_that_a_person_launched_has_no_time_limit_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    world = SensorWorld(monkeypatch, ENDING)
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


def test_a_run_that_has_not_said_where_it_runs_is_given_time(world: SensorWorld, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


def test_a_run_has_its_time_to_start_from_when_it_leaves_the_queue(
    world: SensorWorld, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_watch, "START_SECONDS", 0.5)
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.QUEUED)
    loading = f"run {run.run_id[:8]} is loading this stream"
    time.sleep(0.6)
    assert world.tick(instance) == loading
    leave_queue(instance, run)
    assert world.tick(instance) == loading
    time.sleep(0.6)
    assert str(world.tick(instance)).startswith("backing off")


def test_a_run_whose_process_is_gone_is_reported_as_failed_and_not_waited_for(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    host, boot, _, _ = this_process().rsplit(":", 3)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"{run.run_id}@{host}:{boot}:4194304:1"})
    assert str(world.tick(instance)).startswith("backing off")
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.FAILURE


def test_a_re_executed_run_is_not_judged_by_the_process_of_the_run_it_repeats(
    world: SensorWorld, instance: dg.DagsterInstance
) -> None:
    world.waiting(50)
    host, boot, _, _ = this_process().rsplit(":", 3)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    # Dagster copies the tags of the parent run, that of its dead process among them.
    instance.add_run_tags(run.run_id, {PROCESS_TAG: f"the-parents-id@{host}:{boot}:4194304:1"})
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status == dg.DagsterRunStatus.STARTED
