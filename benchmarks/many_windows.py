"""The example stream with ten thousand hourly windows: what benchmarks/windows.py has Dagster load."""

import dataclasses
import datetime as dt

from kafka_ingest.streams.information import STREAM as DECLARED

WINDOWS = 10_000

_NOW = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0)
# Under a name of its own: the example table that is built on `information` would answer each made-up window with a run.
STREAM = dataclasses.replace(DECLARED, name="news", window_start=_NOW - dt.timedelta(hours=WINDOWS - 1))
