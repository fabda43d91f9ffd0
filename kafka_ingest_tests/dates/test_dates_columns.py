"""Columns of dates: order, labels, every dtype, many values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from kafka_ingest.dates import parse_dates
from kafka_ingest_tests.support.dates import FORMS


def test_all_forms_are_read_in_one_column_wherever_the_machine_is(machine_zone: str) -> None:
    column = pd.Series([value for value, _ in FORMS], dtype=object)
    parsed = parse_dates(column)
    assert [instant.isoformat() for instant in parsed.instants] == [instant for _, instant in FORMS]
    assert parsed.errors.empty


def test_results_keep_order_index_and_name_and_the_input_is_untouched() -> None:
    values = ["2024-05-01", "bad", None, 20240230, np.int64(1714566615), "5/1/2024"]
    column = pd.Series(values, index=[9, 4, 7, 1, 0, 3], name="created", dtype=object)
    before = column.copy(deep=True)
    parsed = parse_dates(column)
    assert parsed.instants.index.tolist() == [9, 4, 7, 1, 0, 3]
    assert parsed.instants.isna().tolist() == [False, True, True, True, False, False]
    assert parsed.errors.index.tolist() == [4, 1]
    assert parsed.errors.dtype == object
    assert all(type(error) is str for error in parsed.errors)
    assert parsed.instants.name == parsed.errors.name == "created"
    pd.testing.assert_series_equal(column, before)
    assert [type(value) for value in column] == [type(value) for value in values]


def test_labels_may_be_text_or_occur_twice() -> None:
    parsed = parse_dates(pd.Series(["bad", "2024-05-01", "worse"], index=["a", "a", "b"], dtype=object))
    assert parsed.errors.index.tolist() == ["a", "b"]
    assert parsed.instants.isna().tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", ["object", "string", "string[python]", "int64", "float64"])
def test_an_empty_column_gives_empty_results(dtype: str) -> None:
    parsed = parse_dates(pd.Series([], dtype=dtype))
    assert parsed.instants.dtype == "datetime64[us]"
    assert len(parsed.instants) == len(parsed.errors) == 0
    assert parsed.errors.dtype == object


@pytest.mark.parametrize(
    "dtype",
    ["object", "string", "string[python]", "string[pyarrow]", "str", "category", pd.ArrowDtype(pa.string())],
    ids=str,
)
def test_every_kind_of_text_column_reads_the_same(dtype: Any) -> None:
    texts = [value for value, _ in FORMS if isinstance(value, str)] + ["bad", "", "2024-02-30"]
    column = pd.Series([*texts, None], dtype=dtype, index=range(5, len(texts) + 6))
    expected = parse_dates(pd.Series([*texts, None], dtype=object, index=range(5, len(texts) + 6)))
    parsed = parse_dates(column)
    pd.testing.assert_series_equal(parsed.instants, expected.instants)
    pd.testing.assert_series_equal(parsed.errors, expected.errors)
    part = parse_dates(column.iloc[3:-1:2])
    pd.testing.assert_series_equal(part.instants, expected.instants.iloc[3:-1:2])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int64", [20240501, 1714566615]),
        ("Int64", [20240501, None]),
        ("int32", [20240501, 0]),
        ("uint64", [20240501, 2**63 + 5]),
        ("float64", [20240501.0, np.nan]),
        ("float32", [0.5, np.inf]),
        ("bool", [True, False]),
        ("datetime64[ns]", ["2024-05-01", None]),
        (pd.ArrowDtype(pa.int64()), [20240501, None]),
    ],
    ids=str,
)
def test_a_column_of_another_dtype_reads_as_its_values_do(dtype: Any, values: list[Any]) -> None:
    column = pd.Series(values, dtype=dtype)
    parsed, expected = parse_dates(column), parse_dates(pd.Series(column.to_numpy(dtype=object), dtype=object))
    pd.testing.assert_series_equal(parsed.instants, expected.instants)
    pd.testing.assert_series_equal(parsed.errors, expected.errors)


def test_text_that_differs_in_a_nul_only_is_told_apart() -> None:
    parsed = parse_dates(pd.Series(["", "\0", "2024-05-01", "2024-05-01\0", "2024-05-01\0\0"], dtype=object))
    assert parsed.instants.notna().tolist() == [False, False, True, False, False]
    assert parsed.errors.index.tolist() == [1, 3, 4]


def test_a_column_longer_than_a_round_is_read_in_order() -> None:
    count = 150_001
    values: list[object] = [
        f"2024-05-01T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}" for at in range(count)
    ]
    values[0], values[65_535], values[65_536], values[131_072], values[-1] = "bad", 20240501, "bad", None, "5/1/2024"
    parsed = parse_dates(pd.Series(values, dtype=object))
    assert parsed.errors.index.tolist() == [0, 65_536]
    seconds = parsed.instants.drop([0, 65_535, 65_536, 131_072, count - 1]) - pd.Timestamp("2024-05-01")
    assert (seconds.dt.total_seconds() == seconds.index.to_numpy() % 86_400).all()
    assert parsed.instants.iloc[[65_535, count - 1]].tolist() == [pd.Timestamp("2024-05-01")] * 2
