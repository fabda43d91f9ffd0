"""The tests' stream in a deployment whose runs have other settings than its code location: for child processes.

As where a run's container or machine gets an environment of its own. Dagster starts a run as a process of multiprocessing,
and the code server as a program.
"""

from __future__ import annotations

import json
import multiprocessing
import os

SETTINGS_VARIABLE = "KAFKA_INGEST_TEST_SETTINGS_OF_RUNS"

if multiprocessing.parent_process() is not None:
    os.environ.update(json.loads(os.environ.get(SETTINGS_VARIABLE, "{}")))

from kafka_ingest_tests.e2e.streams import STREAM  # noqa: E402  as it reads the environment

__all__ = ["SETTINGS_VARIABLE", "STREAM"]
