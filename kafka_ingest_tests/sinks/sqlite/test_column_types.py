"""Every type of column on SQLite: what is read back is what was sent, and what does not fit is a dead letter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.typed import BAD, FULL, STREAM, Typed


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    opened = Target(STREAM, open_sink(sa.make_url(f"sqlite:///{tmp_path}/typed.db")))
    opened.pin({TopicPartition(topic, 0): 0 for topic in STREAM.topic_names})
    yield opened
    opened.sink.close()


def test_a_value_of_each_type_is_read_back_and_a_dry_run_finds_no_difference(target: Target) -> None:
    small = {**FULL, "bit64": (1 << 63) - 1, "ubig": (1 << 63) - 1}
    raw = raw_slice(Part([Msg(small)], topic="typed"))
    assert target.load(raw).total("rows") == 1
    sink = target.sink
    with (
        sink.engine.connect() as connection,
        closing(table_comparison(connection, sink, TargetTable.of(Typed))) as found,
    ):
        found.compare(piped(STREAM, raw))
        assert found.result() == TableForecast(unchanged=1)
    assert target.all("SELECT day, time, fixed, typeof(fixed), ident, ubig FROM typed_columns") == [
        (
            "2024-05-01",
            "23:59:59.999999",
            b"\x00\xff\x1d\x1e",
            "blob",
            "6fa459ea-ee8a-3ca4-894e-db77e160355e",
            (1 << 63) - 1,
        )
    ]
    prepare_tables(target.sink, STREAM)  # its own table fits


def test_an_integer_beyond_its_own_64_bits_is_a_dead_letter(target: Target) -> None:
    result = target.load(raw_slice(Part([Msg({"ubig": 1 << 63}), Msg({"ubig": 5})], topic="typed")))
    assert (result.total("rows"), result.total("dead_letters")) == (1, 1)
    assert target.all("SELECT stage FROM kafka_ingest_dead_letters") == [("database",)]


def test_what_a_type_does_not_hold_is_a_dead_letter_that_says_why(target: Target) -> None:
    result = target.load(raw_slice(Part([Msg({name: value}) for name, value, _ in BAD], topic="typed")))
    assert result.total("rows") == 0
    errors = [error for (error,) in target.all("SELECT error FROM kafka_ingest_dead_letters ORDER BY id")]
    assert [expected in error for error, (_, _, expected) in zip(errors, BAD, strict=True)] == [True] * len(BAD)
