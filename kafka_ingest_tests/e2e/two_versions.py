"""The tests' stream as two versions of its code, told apart by the environment: for child processes.

Version 1 has a mistake that makes dead letters of all messages; version 2 is without it, and writes titles in capitals.
"""

from __future__ import annotations

import dataclasses
import os

import pandas as pd

from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest.streams.step import StepContext
from kafka_ingest_tests.e2e.streams import STREAM as CORRECT

__all__ = ["STREAM", "VERSION_VARIABLE"]

VERSION_VARIABLE = "KAFKA_INGEST_TEST_VERSION"


def refuse_all(frame: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    context.reject(pd.Series("a mistake of version 1", index=frame.index))
    return frame.iloc[:0]


def shout(frame: pd.DataFrame, _context: StepContext) -> pd.DataFrame:
    return frame.assign(title=frame["title"].str.upper())


STREAM = dataclasses.replace(
    CORRECT, steps=(translate_dates, refuse_all if os.environ.get(VERSION_VARIABLE) == "1" else shout)
)
