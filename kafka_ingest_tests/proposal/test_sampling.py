"""A sample is of every partition and of the whole log, bounded, and joins no group."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from kafka_ingest.errors import ConfigError
from kafka_ingest.proposal import sampling
from kafka_ingest.proposal.sampling import Sample, take_sample, topic_partitions
from kafka_ingest.slices import TopicPartition
from kafka_ingest_tests.support.cluster import SETTINGS, FakeConsumer, FakeMetadata, Log, log


def sample(monkeypatch: pytest.MonkeyPatch, logs: dict[TopicPartition, Log], count: int, **options: Any) -> Sample:
    consumer = FakeConsumer(logs)
    monkeypatch.setattr(sampling, "open_consumer", lambda *_arguments, **_options: consumer)
    found = take_sample(sorted(logs), count, metadata=FakeMetadata(logs), settings=SETTINGS, **options)
    assert consumer.committed == []
    return found


def offsets(found: Sample) -> dict[int, list[int]]:
    raw = found.raw
    partitions = [raw.ranges[at].partition for at in raw.range_index.tolist()]
    some: dict[int, list[int]] = {}
    for partition, offset in zip(partitions, raw.offsets.tolist(), strict=True):
        some.setdefault(partition, []).append(offset)
    return some


def logs(*sizes: int, start: int = 0, size: int = 10) -> dict[TopicPartition, Log]:
    partitions = [TopicPartition("t", at) for at in range(len(sizes))]
    return {
        tp: log(tp, range(start, start + count), start + count, start=start, size=size)
        for tp, count in zip(partitions, sizes, strict=True)
    }


def test_a_small_topic_is_read_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sample(monkeypatch, logs(30, 0, 5), 100)
    assert offsets(found) == {0: list(range(30)), 2: list(range(5))}
    assert (found.offsets, found.cut_by) == (35, None)
    assert [str(r) for r in found.raw.ranges][:1] == ["t[0]@[0,20)"]


def test_a_large_topic_is_read_from_its_first_message_to_its_last_and_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = offsets(sample(monkeypatch, logs(5_000, 3_000, start=100), 400))
    assert found.keys() == {0, 1}
    for partition, count in ((0, 5_000), (1, 3_000)):
        some = found[partition]
        assert some == sorted(set(some))
        assert (some[0], some[-1]) == (100, 99 + count)
        middle = [offset for offset in some if 100 + count // 4 < offset < 100 + 3 * count // 4]
        assert len(middle) > len(some) // 4
    assert 400 <= sum(map(len, found.values())) <= 480


def test_a_compacted_log_is_read_on_until_there_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    tp = TopicPartition("t", 0)
    sparse = {tp: log(tp, range(0, 100_000, 100), 100_000)}
    found = offsets(sample(monkeypatch, sparse, 300))[0]
    assert 300 <= len(found) <= 500
    assert found[-1] > 90_000


def test_large_messages_bound_the_sample_by_their_bytes_and_are_still_of_the_whole_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "MAX_BYTES", 400_000)
    found = sample(monkeypatch, logs(2_000, size=1_000), 1_000)
    assert 300 <= len(found.raw) <= 450
    assert offsets(found)[0][-1] == 1_999
    assert found.cut_by == "it holds 0 MiB"


def test_a_slow_topic_bounds_the_sample_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(0, 10)
    found = sample(monkeypatch, logs(5_000), 1_000, clock=lambda: float(next(ticks)))
    assert 0 < len(found.raw) < 1_000
    assert found.cut_by == "it took 60 s"


def test_progress_is_told_in_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    sample(monkeypatch, logs(500), 200, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (200, 200)
    assert told == sorted(told)


def test_an_empty_topic_gives_an_empty_sample_and_a_missing_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = sample(monkeypatch, logs(0), 100)
    assert (len(found.raw), found.offsets) == (0, 0)
    with pytest.raises(ConfigError, match="topic 'nowhere' does not exist at"):
        topic_partitions(FakeMetadata(logs(1)), "nowhere", SETTINGS)
