"""What a driver is given: the same text on every database, whatever it makes of Python's own dates."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pyarrow as pa

from kafka_ingest.sinks.driver_rows import driver_rows
from kafka_ingest.type_names import ArrowArray


def test_instants_and_days_are_text_and_everything_else_is_as_it_is() -> None:
    columns: dict[str, ArrowArray] = {
        "at": pa.array([dt.datetime(2024, 5, 1, 12, 30, 15, 7), None], pa.timestamp("us")),
        "day": pa.array([dt.date(2024, 5, 1), None], pa.date32()),
        "text": pa.array(["2024-05-01", None], pa.large_string()),
        "whole": pa.array([7, None], pa.int64()),
        "flag": pa.array([True, None], pa.bool_()),
    }
    rows = pd.DataFrame({name: pd.Series(pd.arrays.ArrowExtensionArray(each)) for name, each in columns.items()})
    assert driver_rows(rows, list(columns)) == [
        ("2024-05-01 12:30:15.000007", "2024-05-01", "2024-05-01", 7, True),
        (None,) * 5,
    ]
