"""The tests' stream with an example table that is counted every minute by at most three runs: for child processes."""

from __future__ import annotations

import dataclasses
import datetime as dt

from kafka_ingest.orchestration import information_per_hour as example
from kafka_ingest_tests.e2e.streams import HASTY_RUNS
from kafka_ingest_tests.e2e.streams import STREAM as DECLARED

# Its messages, some of days ago, come after Dagster has loaded it: until then there is no first one for windows to begin at.
STREAM = dataclasses.replace(DECLARED, window_start=dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc))

example.CRON = "* * * * *"
example.MOST_RUNS = HASTY_RUNS
