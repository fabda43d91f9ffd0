"""One sensor launches a run for each shard of its stream that has something to load."""

from __future__ import annotations

import dataclasses
from typing import Any

import dagster as dg
import pytest

from kafka_ingest.engine.shards import Shard
from kafka_ingest.orchestration.names import LIVE_TAG, SHARD_TAG
from kafka_ingest.orchestration.sensors import backoff_seconds
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.cluster import FakeMessage, Log
from kafka_ingest_tests.support.placed import placed
from kafka_ingest_tests.support.sensing import SensorWorld, a_run, now

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

HALVES = dataclasses.replace(MIXED, batch=dataclasses.replace(MIXED.batch, shards=2))
STARTED = dg.DagsterRunStatus.STARTED


class Sharded(SensorWorld):
    def waiting_in(self, counts: dict[int, int]) -> None:
        """So many messages in each of these partitions."""
        stamp = int((now().timestamp() - 1) * 1000)
        for number, count in counts.items():
            tp = TopicPartition("mixed", number)
            self.metadata.logs[tp] = Log({n: FakeMessage(tp, n, stamp=stamp) for n in range(count)}, count)

    def requests(self, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
        found: Any = self.evaluate(instance)
        return list(found.run_requests or ())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Sharded:
    return Sharded(monkeypatch, HALVES)


def partitions(request: dg.RunRequest) -> set[int]:
    config = request.run_config["ops"]["mixed"]["ops"]["plan"]["config"]
    return {each["partition"] for each in config["ranges"]}


def test_each_shard_gets_a_run_over_its_own_partitions(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in(dict.fromkeys(range(4), 20))
    requests = world.requests(instance)
    assert {each.tags[SHARD_TAG] for each in requests} == {"0/2", "1/2"}
    assert sorted(sorted(partitions(each)) for each in requests) == [[0, 2], [1, 3]]
    for each in requests:
        shard = Shard.parse(each.tags[SHARD_TAG])
        assert all(shard.has(TopicPartition("mixed", number)) for number in partitions(each))
        assert each.tags[LIVE_TAG] == f"mixed:{shard}"
        assert each.tags["kafka_ingest/stream"] == "mixed"
    assert len({each.run_key for each in requests}) == 2


def test_a_shard_that_is_being_loaded_does_not_hold_up_the_other(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in(dict.fromkeys(range(4), 20))
    first, second = world.requests(instance)
    busy = a_run(instance, STARTED, **{LIVE_TAG.replace("/", "__"): first.tags[LIVE_TAG]})
    (request,) = world.requests(instance)
    assert request.tags[SHARD_TAG] == second.tags[SHARD_TAG]
    a_run(instance, STARTED, **{LIVE_TAG.replace("/", "__"): second.tags[LIVE_TAG]})
    said = str(world.tick(instance))
    assert busy.run_id[:8] in said
    assert "loading this stream" in said


def test_a_run_of_the_whole_stream_holds_up_every_shard(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in(dict.fromkeys(range(4), 20))
    by_hand = a_run(instance, STARTED)
    assert world.tick(instance) == f"run {by_hand.run_id[:8]} is loading this stream"


def test_a_shard_where_nothing_waits_gets_no_run(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in({0: 20, 1: 0, 2: 20, 3: 0})
    (request,) = world.requests(instance)
    assert partitions(request) == {0, 2}


def test_of_more_shards_than_partitions_the_others_do_nothing(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in({0: 0})
    assert world.tick(instance) == "nothing waiting"
    world.waiting_in({0: 20})
    assert len(world.requests(instance)) == 1


def test_a_shard_that_fails_backs_off_by_itself(world: Sharded, instance: dg.DagsterInstance) -> None:
    world.waiting_in(dict.fromkeys(range(4), 20))
    failed, other = world.requests(instance)
    a_run(instance, dg.DagsterRunStatus.FAILURE, **{LIVE_TAG.replace("/", "__"): failed.tags[LIVE_TAG]})
    (request,) = world.requests(instance)
    assert request.tags[SHARD_TAG] == other.tags[SHARD_TAG]
    waits = [backoff_seconds(instance, placed(HALVES), now(), None, shard) for shard in Shard.all(2)]
    assert sorted(wait > 0 for wait in waits) == [False, True]
