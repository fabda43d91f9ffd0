"""Definitions of a project whose executor is Celery's: each op of Dagster's implicit job, as of a backfill from the UI, is a task
of its own. For child processes; needs dagster-celery."""

from __future__ import annotations

import json
import os

import dagster as dg
from dagster_celery import celery_executor

from kafka_ingest import build_definitions
from kafka_ingest.streams.registry import declared_streams
from kafka_ingest_tests.e2e.celery_deployment import EXECUTOR_VARIABLE

defs = dg.Definitions.merge(
    build_definitions(declared_streams().values()),
    dg.Definitions(executor=celery_executor.configured(json.loads(os.environ[EXECUTOR_VARIABLE]))),
)
