"""The part of a sink's contract that is about values: each is stored as it was sent."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
from contextlib import closing
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.sinks.base import Sink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.contract_stream import TEXTS, VALUES, ContractValue
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target


class StoredValues:
    """Tests of every type, over the fixture `sink` of `SinkContract`."""

    @pytest.mark.parametrize("text", TEXTS, ids=[ascii(text) for text in TEXTS])
    def test_a_text_is_stored_as_it_is(self, sink: Sink, text: str) -> None:
        sent = {"type": "v", "id": "t", "text": text, "short": text, "a.b": text, "data": {text: [text]}}
        self._assert_stored(sink, sent, {"text": text, "short": text, "order": text})

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            *itertools.product(["small"], [-(2**15), 2**15 - 1]),
            *itertools.product(["whole"], [-(2**31), 2**31 - 1]),
            *itertools.product(["large"], [-(2**63), 2**63 - 1]),
            *itertools.product(["ratio"], [0.1, -1.5e300, 5e-324, 1.7976931348623157e308, -0.0]),
            *itertools.product(["price"], ["0.000001", "-99999999999999.999999", "1.10"]),
            *itertools.product(["flag"], [True, False]),
            ("data", {"a": [1, 2.5, None, True, "x"], "b": {}}),
            ("text", "x" * 60_000),
        ],
        ids=lambda value: str(value)[:20],
    )
    def test_a_value_at_the_end_of_its_type_is_stored_as_it_is(self, sink: Sink, name: str, value: Any) -> None:
        self._assert_stored(sink, {"type": "v", "id": "e", name: value}, {} if name == "data" else {name: value})

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [
            ("2026-07-01 12:30:15.123456", dt.datetime(2026, 7, 1, 12, 30, 15, 123456)),
            ("9999-12-31T23:59:59.999999Z", dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
            ("1000-01-01", dt.datetime(1000, 1, 1)),
            ("2024-02-29T23:00:00-03:00", dt.datetime(2024, 3, 1, 2)),
        ],
    )
    def test_an_instant_is_stored_to_the_microsecond(self, sink: Sink, sent: str, stored: dt.datetime) -> None:
        self._assert_stored(sink, {"type": "v", "id": "d", "at": sent}, {"at": stored})

    @pytest.mark.parametrize(
        ("sent", "east", "west"),
        [
            # A day is that day on both sides of UTC; an instant is the day it has there, at +14:00 and at -11:00.
            ("2024-05-01", dt.date(2024, 5, 1), dt.date(2024, 5, 1)),
            ("2024-05-01 00:00:00", dt.date(2024, 5, 1), dt.date(2024, 5, 1)),
            ("1000-01-01", dt.date(1000, 1, 1), dt.date(1000, 1, 1)),
            ("9999-12-31T23:59:59.999999", dt.date(9999, 12, 31), dt.date(9999, 12, 31)),
            ("2024-04-30T10:30:00Z", dt.date(2024, 5, 1), dt.date(2024, 4, 29)),
            (1714473000, dt.date(2024, 5, 1), dt.date(2024, 4, 29)),
        ],
    )
    def test_a_day_is_stored_as_it_is(self, sink: Sink, sent: str | int, east: dt.date, west: dt.date) -> None:
        self._assert_stored(sink, {"type": "v", "id": "d", "day": sent}, {"east": east, "west": west})

    def test_what_is_missing_is_null(self, sink: Sink) -> None:
        names = (
            "text",
            "short",
            "small",
            "whole",
            "large",
            "ratio",
            "price",
            "flag",
            "data",
            "at",
            "east",
            "west",
            "order",
        )
        self._assert_stored(sink, {"type": "v", "id": "n"}, dict.fromkeys(names))

    def _assert_stored(self, sink: Sink, sent: dict[str, Any], stored: dict[str, Any]) -> None:
        """Read back by SQL, and by the comparison of a dry run, for which no value differs."""
        target = Target(VALUES, sink)
        target.pin({TopicPartition("values", 0): 0})
        raw = raw_slice(Part([Msg(sent)], topic="values"))
        result = target.load(raw)
        assert (result.total("rows"), target.dead_letters()) == (1, [])
        table = ContractValue.__table__
        with sink.engine.connect() as connection:
            (row,) = connection.execute(sa.select(table)).mappings().all()
            (exact,) = (
                connection.execute(sa.select(*(sink.readable(column) for column in table.columns))).mappings().all()
            )
            with closing(table_comparison(connection, sink, TargetTable.of(ContractValue))) as comparison:
                comparison.compare(piped(VALUES, raw))
                assert comparison.result() == TableForecast(unchanged=1)
        for name, value in stored.items():
            if name == "price" and value is not None:
                assert decimal.Decimal(exact[name]) == decimal.Decimal(value)
            elif name == "at" and value is not None:
                assert pd.Timestamp(row[name]) == pd.Timestamp(value)
            else:
                assert row[name] == value, name
        if "data" in sent:
            assert json.loads(exact["data"]) == sent["data"]
