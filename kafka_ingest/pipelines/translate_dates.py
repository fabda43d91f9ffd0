"""The step that turns every date column of a model into `datetime64[us]`: instants in UTC, or days."""

from __future__ import annotations

import pandas as pd

from kafka_ingest.dates import parse_dates
from kafka_ingest.pipelines.frames import with_columns
from kafka_ingest.streams.step import StepContext


def translate_dates(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    """Dates as the models' rules say; a row with an unreadable date is refused, or the date is NULL where the rule says so.

    A day is its midnight. A column that holds instants already, of a step before, is left as it is. Comes by itself where a
    stream names no steps; one that does names this among them, or its date columns stay text.
    """
    refused: dict[int, str] = {}
    columns: dict[str, pd.Series] = {}
    for bound in context.target.bound:
        if bound.rule.dates is None or pd.api.types.is_datetime64_any_dtype(rows[bound.name].dtype):
            continue
        parsed = parse_dates(rows[bound.name], bound.rule.dates)
        columns[bound.name] = parsed.instants
        if bound.rule.on_error == "dead_letter":
            for number, error in parsed.errors.items():
                refused.setdefault(int(str(number)), f"{bound.name}: {error}")
    done = with_columns(rows, columns)
    if not refused:
        return done
    context.reject(pd.Series(refused, dtype=object), stage="dates")
    return done.drop(index=list(refused))
