"""Pieces of decoded values become one column: text where all is text, objects where it is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pandas as pd
import pytest

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.slices import TEXT
from kafka_ingest.streams.information import Information
from kafka_ingest.streams.target import TargetTable

BOUNDS = {bound.name: bound for bound in TargetTable.of(Information).bound}


def column(name: str, *pieces: list[Any]) -> pd.Series:
    made = Column(BOUNDS[name])
    for piece in pieces:
        made.add(piece)
    return made.series(pd.RangeIndex(10, 10 + sum(map(len, pieces))))


def test_text_is_str_with_nan_where_it_is_missing() -> None:
    found = column("title", ["é", None], ["", "NULL"])
    assert found.dtype == TEXT
    assert list(found.index) == [10, 11, 12, 13]
    assert found.fillna("missing").tolist() == ["é", "missing", "", "NULL"]


@pytest.mark.parametrize("odd", [5, "\ud800"])
def test_a_value_that_is_no_utf8_text_makes_the_whole_column_objects_and_keeps_every_value(odd: object) -> None:
    found = column("title", ["a", None], [odd], ["b"])
    assert found.dtype == object
    assert found.tolist() == ["a", None, odd, "b"]


def test_dates_are_text_where_all_are_and_objects_where_epochs_stand_among_them() -> None:
    assert column("crawl_time", ["2026-01-02", None]).dtype == TEXT
    assert column("crawl_time", ["2026-01-02"], [1767312000]).tolist() == ["2026-01-02", 1767312000]


def test_json_is_its_text_and_null_or_missing_is_missing() -> None:
    raws = [msgspec.Raw(text) for text in (b'["a"]', b"null", b"", b'"null"', b"{}")]
    found = column("tags", raws)
    assert found.dtype == TEXT
    assert found.fillna("missing").tolist() == ['["a"]', "missing", "missing", '"null"', "{}"]


def test_json_that_is_no_utf8_stays_as_it_came_for_validation_to_refuse() -> None:
    found = column("tags", [msgspec.Raw(b'"\xff"'), msgspec.Raw(b"1")])
    assert found.dtype == object
    assert [bytes(value) for value in found] == [b'"\xff"', b"1"]


def test_numbers_and_booleans_are_python_objects() -> None:
    assert column("score", [1, None], [2**70]).tolist() == [1, None, 2**70]
    assert column("is_original", [True, None]).tolist() == [True, None]
