"""What the tests on PostgreSQL do again and again."""

from __future__ import annotations

from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.target import Target


def pin(target: Target, *partitions: TopicPartition) -> None:
    target.pin(dict.fromkeys(partitions, 0))


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def at(partition: int, *messages: Msg, start: int = 0) -> RawSlice:
    return raw_slice(Part(list(messages), start=start, partition=partition))


def t(seconds: int) -> int:
    return MORNING_MS + 1_000 * seconds
