"""A stream's partitions divided among runs: each in one shard, each loaded once, whoever divides anew."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from kafka_ingest.engine.shards import WHOLE, Shard
from kafka_ingest.errors import ConfigError
from kafka_ingest.ledger.leases import part_text, read_leases
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest_tests.support.world import P0, P1, STREAM, World, events, first_five


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_every_partition_is_in_one_shard_and_neighbours_are_in_different_ones() -> None:
    partitions = [TopicPartition(topic, number) for topic in ("a", "b", "c") for number in range(12)]
    for count in (1, 2, 3, 5, 64):
        shares = [shard.of(partitions) for shard in Shard.all(count)]
        assert sorted(tp for share in shares for tp in share) == partitions
        of_one_topic = [sum(tp.topic == "a" for tp in share) for share in shares]
        assert max(of_one_topic) - min(of_one_topic) <= 1


def test_a_partition_that_is_added_moves_no_other() -> None:
    before, after = ([TopicPartition("a", number) for number in range(count)] for count in (5, 9))
    for shard in Shard.all(4):
        assert shard.of(after)[: len(shard.of(before))] == shard.of(before)


@pytest.mark.parametrize("text", ["2/4", "0/1", "63/64"])
def test_a_shard_is_read_as_it_is_written(text: str) -> None:
    assert str(Shard.parse(text)) == text


@pytest.mark.parametrize("text", [None, "", "x", "4/4", "-1/4", "1/", "1/2/3", "0/0"])
def test_what_names_no_shard_is_the_whole_stream(text: str | None) -> None:
    assert Shard.parse(text) == WHOLE


@pytest.mark.parametrize("count", [0, 65])
def test_the_number_of_shards_is_bounded(count: int) -> None:
    with pytest.raises(ConfigError, match="shards"):
        BatchPolicy(shards=count)


def halves() -> tuple[Shard, Shard]:
    """The shard of each of the two partitions."""
    first, second = (next(shard for shard in Shard.all(2) if shard.has(tp)) for tp in (P0, P1))
    assert first != second
    return first, second


def test_a_run_of_a_shard_loads_and_commits_its_own_partitions_only(world: World) -> None:
    first, second = halves()
    run = world.run(shard=first)
    list(run.drain(first_five(run)))
    run.commit({})
    run.close()
    assert world.target.offsets() == {"mixed[0]": 12, "mixed[1]": 0}
    assert {name for consumer in world.consumers for each in consumer.committed for name in each} == {"mixed[0]"}
    run = world.run(shard=second)
    list(run.drain(first_five(run)))
    run.close()
    assert world.names() == world.all_names()


def test_a_run_of_a_shard_goes_on_while_partitions_of_others_are_added(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_ingest.engine.triggers.TOPICS_SECONDS", 0.0)
    run = world.run(shard=halves()[0])
    drained = run.drain(first_five(run))
    next(drained)
    others = (TopicPartition("mixed", number) for number in range(2, 9))
    theirs = next(tp for tp in others if not run.shard.has(tp))
    world.logs[theirs] = world.metadata.logs[theirs] = events(theirs, 3)
    world.logs[P0] = world.metadata.logs[P0] = events(P0, 40)
    for consumer in world.consumers:
        consumer.logs = world.logs
    list(drained)
    run.close()
    assert world.target.offsets()["mixed[0]"] == 40


def test_a_run_ends_as_others_divide_the_stream_anew(world: World) -> None:
    """It sees it where it finds that another run has loaded from its partitions."""
    stream = dataclasses.replace(STREAM, batch=dataclasses.replace(STREAM.batch, linger_seconds=3_600))
    old = world.run(stream=stream)
    old.plan((), "live")
    old.keep_lease()
    batch = first_five(old)
    drained = old.drain(batch)
    next(drained)
    new = world.run(shard=halves()[0], run_id="new")
    new.plan((), "live")
    new.keep_lease()
    list(new.drain(first_five(new)))
    world.logs[P1] = world.metadata.logs[P1] = events(P1, 8)
    list(drained)  # ends, though it would linger for an hour
    old.close()
    new.close()
    assert world.names() == world.all_names()


def test_a_run_of_a_part_of_a_backfill_is_no_other_division(world: World) -> None:
    old = world.run()
    old.plan((), "live")
    old.keep_lease()
    part = world.run(run_id="part")
    part.keep_lease(backfill=part_text("1/4"))
    with world.target.sink.engine.connect() as connection:
        assert read_leases(connection, "mixed")["part"].is_of_backfill
    assert old._leases.newer("mixed") == []
    old.close()
    part.close()
