"""The tests' stream with an example table that is counted every minute by at most three runs: for child processes."""

from __future__ import annotations

from kafka_ingest.orchestration import information_per_hour as example
from kafka_ingest_tests.e2e.streams import HASTY_RUNS, STREAM

__all__ = ["STREAM"]

example.CRON = "* * * * *"
example.MOST_RUNS = HASTY_RUNS
