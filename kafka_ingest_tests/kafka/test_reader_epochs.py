"""The reader gives the last known leader epoch to the client, and says which one it read last."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from confluent_kafka import KafkaError

from kafka_ingest.errors import DataLoss, LogCut
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.slices import LeaderEpoch, LogIdentity, OffsetRange, TopicPartition
from kafka_ingest_tests.support.cluster import FakeConsumer, FakeMessage, Log, log

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)
PLENTY = 1 << 30
# As librdkafka 2.16 says it, on a broker whose log was cut.
CUT = (
    "Partition log truncation detected at offset 50 (leader epoch 0): broker end offset is 30 (offset leader epoch 0). "
    "Reset to INVALID.: Local: Partition log truncation detected (broker 1)"
)
UNKNOWN = (
    "No epoch found less or equal to offset 70 (leader epoch 99): broker end offset is -1 (offset leader epoch -1). Reset using "
    "configured policy.: Local: Partition log truncation detected (broker 1)"
)
OUT_OF_RANGE = (
    "fetch failed due to requested offset not available on the broker: Broker: Offset out of range (broker 1)"
)


class Assigned(FakeConsumer):
    """Remembers where partitions were assigned, and with which epoch."""

    def incremental_assign(self, wanted: list[Any]) -> None:
        super().incremental_assign(wanted)
        self.__dict__.setdefault("said", []).extend((each.offset, each.leader_epoch) for each in wanted)


def with_epochs(tp: TopicPartition, epochs: dict[int, int], end: int) -> Log:
    whole = log(tp, epochs, end)
    return Log({o: dataclasses.replace(m, epoch=epochs[o]) for o, m in whole.messages.items()}, end)


def reset(words: str) -> FakeMessage:
    return FakeMessage(P0, -1, None, failure=KafkaError(KafkaError._AUTO_OFFSET_RESET, words))


def test_a_slice_names_the_epoch_of_the_last_message_of_each_range() -> None:
    logs = {P0: with_epochs(P0, {0: 3, 1: 3, 2: 4, 5: 7}, 9), P1: log(P1, [], 4)}
    reader = RangeReader(FakeConsumer(logs))
    reader.read_to([OffsetRange("t", 0, 0, 9), OffsetRange("t", 1, 0, 4)])
    slices = [reader.read_slice(max_rows=3, max_bytes=PLENTY) for _ in range(2)]
    assert {r: each for raw in slices for r, each in zip(raw.ranges, raw.logs, strict=True)} == {
        OffsetRange("t", 0, 0, 5): LogIdentity(leader_epoch=LeaderEpoch(4, 2)),
        OffsetRange("t", 0, 5, 9): LogIdentity(leader_epoch=LeaderEpoch(7, 5)),
        OffsetRange("t", 1, 0, 4): LogIdentity(),  # markers alone
    }


@pytest.mark.parametrize(
    ("known", "assigned"),
    [
        (None, (5, None)),
        (LeaderEpoch(4, 4), (5, 4)),
        (LeaderEpoch(4, 2), (3, 4)),  # markers lie between: they may be of a later epoch
        (LeaderEpoch(4, 8), (5, 4)),  # a person has set the position back
    ],
)
def test_a_range_is_assigned_behind_the_last_message_with_its_epoch(
    known: LeaderEpoch | None, assigned: tuple[int, int | None]
) -> None:
    consumer = Assigned({P0: log(P0, range(9), 9)})
    reader = RangeReader(consumer)
    reader.restart([OffsetRange("t", 0, 5, 9)], {P0: known})
    assert consumer.__dict__["said"] == [assigned]
    raw = reader.read_slice(max_rows=10, max_bytes=PLENTY)
    assert (raw.offsets.tolist(), raw.absent) == ([5, 6, 7, 8], (0,))


@pytest.mark.parametrize(("words", "end"), [(CUT, 30), (UNKNOWN, None)])
def test_a_log_that_was_cut_is_told_from_one_whose_messages_retention_deleted(words: str, end: int | None) -> None:
    reader = RangeReader(FakeConsumer({P0: log(P0, range(9), 9)}, trouble=[reset(words)]))
    reader.restart([OffsetRange("t", 0, 5, 9)], {P0: LeaderEpoch(4, 2)})
    with pytest.raises(LogCut) as caught:
        reader.read_slice(max_rows=10, max_bytes=PLENTY)
    assert (caught.value.topic, caught.value.partition, caught.value.end) == ("t", 0, end)


def test_where_retention_deleted_what_lies_behind_the_epoch_the_range_itself_is_read() -> None:
    consumer = Assigned({P0: log(P0, range(9), 9)}, trouble=[reset(OUT_OF_RANGE)])
    reader = RangeReader(consumer)
    reader.restart([OffsetRange("t", 0, 5, 9)], {P0: LeaderEpoch(4, 2)})
    assert reader.read_slice(max_rows=10, max_bytes=PLENTY).offsets.tolist() == [5, 6, 7, 8]
    assert consumer.__dict__["said"] == [(3, 4), (5, None)]
    consumer.trouble = [reset(OUT_OF_RANGE)]
    reader.restart([OffsetRange("t", 0, 0, 9)])
    with pytest.raises(DataLoss, match="Kafka deleted offsets"):
        reader.read_slice(max_rows=10, max_bytes=PLENTY)
