"""The sensor looks, decides and says why; it believes no run that has stopped reporting."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from kafka_ingest.errors import KafkaUnavailable
from kafka_ingest.orchestration import sensors
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import Clients, instance_of
from kafka_ingest.orchestration.liveness import is_alive, process_of, process_tag, this_process
from kafka_ingest.orchestration.names import LIVE_TAG, PROCESS_TAG
from kafka_ingest.orchestration.sensors import backoff_seconds
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import SETTINGS, FakeMessage, FakeMetadata, Log

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

P0 = TopicPartition("mixed", 0)


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


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(
        build_definitions([MIXED]).resolve_job_def("ingest_mixed"),
        tags={LIVE_TAG: "mixed"} | {name.replace("__", "/"): value for name, value in tags.items()},
    )
    if status == dg.DagsterRunStatus.FAILURE:
        instance.report_run_failed(run)
    elif status == dg.DagsterRunStatus.CANCELED:
        instance.report_run_canceled(run)
    elif status == dg.DagsterRunStatus.SUCCESS:
        instance.report_dagster_event(_event(run, "PIPELINE_SUCCESS"), run.run_id)
    elif status == dg.DagsterRunStatus.STARTED:
        instance.report_dagster_event(_event(run, "PIPELINE_START"), run.run_id)
    return run


def _event(run: dg.DagsterRun, kind: str) -> Any:
    return dg.DagsterEvent(event_type_value=kind, job_name=run.job_name)


def now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def test_nothing_failed_means_no_waiting(instance: dg.DagsterInstance) -> None:
    assert backoff_seconds(instance, MIXED, now(), None) == 0
    a_run(instance, dg.DagsterRunStatus.SUCCESS)
    assert backoff_seconds(instance, MIXED, now(), None) == 0


def test_the_wait_doubles_with_each_failure_in_a_row_up_to_five_minutes(instance: dg.DagsterInstance) -> None:
    expected = [5, 10, 20, 40, 80, 160, 300, 300]
    found = []
    for _ in expected:
        a_run(instance, dg.DagsterRunStatus.FAILURE)
        found.append(round(backoff_seconds(instance, MIXED, now(), None), 0))
    assert found == expected
    assert backoff_seconds(instance, MIXED, now() + dt.timedelta(seconds=100), None) == pytest.approx(200, abs=2)
    assert backoff_seconds(instance, MIXED, now() + dt.timedelta(seconds=301), None) == 0
    assert backoff_seconds(instance, replace(MIXED, name="other"), now(), None) == 0


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED])
def test_a_run_that_did_not_fail_ends_the_row(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    for _ in range(3):
        a_run(instance, dg.DagsterRunStatus.FAILURE)
    a_run(instance, status)
    assert backoff_seconds(instance, MIXED, now(), None) == 0
    a_run(instance, dg.DagsterRunStatus.FAILURE)
    assert backoff_seconds(instance, MIXED, now(), None) == pytest.approx(5, abs=1)


def test_a_run_that_loaded_something_before_it_failed_begins_the_row(instance: dg.DagsterInstance) -> None:
    """Or runs killed one after the other, each hours apart, would keep a healthy stream waiting for five minutes."""
    for _ in range(4):
        a_run(instance, dg.DagsterRunStatus.FAILURE)
    loaded_at = now()
    assert backoff_seconds(instance, MIXED, now(), loaded_at) == pytest.approx(5, abs=1)
    for expected in (10, 20):
        time.sleep(0.01)
        a_run(instance, dg.DagsterRunStatus.FAILURE)
        assert backoff_seconds(instance, MIXED, now(), loaded_at) == pytest.approx(expected, abs=1)


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


class World:
    """A cluster and a ledger for the sensor to look at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stream: Stream = MIXED) -> None:
        self.target = Target(stream)
        self.metadata = FakeMetadata({})
        clients = Clients(SETTINGS, self.metadata, self.target.sink)
        monkeypatch.setattr(sensors, "shared_clients", lambda: clients)
        defs = build_definitions([stream])
        self.sensor = defs.resolve_sensor_def("mixed_sensor")
        self.repository = defs.get_repository_def()

    def waiting(self, count: int, age_seconds: float = 1.0, start: int = 0) -> None:
        stamp = int((now().timestamp() - age_seconds) * 1000)
        self.metadata.logs[P0] = Log({n: FakeMessage(P0, n, stamp=stamp) for n in range(start, count)}, count, start)

    def tick(self, instance: dg.DagsterInstance) -> Any:
        """The sensor's decision: a run request, or the reason for none."""
        with dg.build_sensor_context(instance=instance, repository_def=self.repository) as context:
            found = self.sensor(context)
        return found.skip_message if isinstance(found, dg.SkipReason) else found


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_topic_that_does_not_exist_yet_is_waited_for(world: World, instance: dg.DagsterInstance) -> None:
    assert world.tick(instance) == "topic mixed, mixed2 does not exist yet"


def test_while_nothing_is_due_the_reason_says_what_waits_and_how_old_it_is(
    world: World, instance: dg.DagsterInstance
) -> None:
    world.waiting(0)
    assert world.tick(instance) == "nothing waiting"
    world.waiting(4, age_seconds=3)
    assert world.tick(instance) in (
        "4 of 10 messages waiting, oldest 2 s of 10 s",
        "4 of 10 messages waiting, oldest 3 s of 10 s",
    )


def test_a_due_batch_is_one_run_with_exact_ranges_tags_and_a_window(world: World, instance: dg.DagsterInstance) -> None:
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


def test_a_message_that_would_wait_too_long_is_due_before_that(world: World, instance: dg.DagsterInstance) -> None:
    world.waiting(1, age_seconds=6)
    request = world.tick(instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags["kafka_ingest/reason"] == "1 of 10 messages waiting, oldest about 10 s"


def test_a_tick_never_writes(world: World, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    before = world.target.state(), world.target.batches()
    world.tick(instance)
    assert (world.target.state(), world.target.batches()) == before


def test_after_a_failure_the_reason_says_how_long_it_backs_off(world: World, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    a_run(instance, dg.DagsterRunStatus.FAILURE)
    found = world.tick(instance)
    assert found in [f"backing off for {s} s more after a failed batch; 50 messages waiting" for s in (4, 5)]


def test_trouble_with_the_cluster_is_the_ticks_reason(
    world: World, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_arguments: object) -> None:
        raise KafkaUnavailable("listing topics: no broker")

    monkeypatch.setattr(world.metadata, "topics", down)
    assert world.tick(instance) == "KafkaUnavailable: listing topics: no broker"


def test_a_run_whose_process_is_there_is_waited_for(world: World, instance: dg.DagsterInstance) -> None:
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
    young = World(monkeypatch)
    young.waiting(50)
    assert young.tick(instance) == loading
    ending = World(monkeypatch, ENDING)
    ending.waiting(0)
    assert ending.tick(instance) == loading, "nothing waits, so there is nothing to take over"
    ending.waiting(50)
    assert isinstance(ending.tick(instance), dg.RunRequest)
    following = a_run(instance, dg.DagsterRunStatus.NOT_STARTED, kafka_ingest__reason="because")
    assert following.run_id[:8] in str(ending.tick(instance)), "two are enough"


def test_a_run_that_a_person_launched_has_no_time_limit_and_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> None:
    world = World(monkeypatch, ENDING)
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


def test_a_run_that_has_not_said_where_it_runs_is_given_time(world: World, instance: dg.DagsterInstance) -> None:
    world.waiting(50)
    run = a_run(instance, dg.DagsterRunStatus.STARTED)
    assert world.tick(instance) == f"run {run.run_id[:8]} is loading this stream"


def test_a_run_whose_process_is_gone_is_reported_as_failed_and_not_waited_for(
    world: World, instance: dg.DagsterInstance
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
    world: World, instance: dg.DagsterInstance
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
