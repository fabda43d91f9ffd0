"""docs/reference/names.md names what a stream and a group are called in Dagster, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from kafka_ingest.backfill.progress import PROGRESS_TAG
from kafka_ingest.engine.fingerprint import CLUSTER_TAG, DATABASE_TAG
from kafka_ingest.orchestration import names
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.testing.models import BOOKINGS
from kafka_ingest_tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "reference" / "names.md").read_text(encoding="utf-8")


def test_every_tag_is_on_the_page_and_no_other() -> None:
    tags = {value for name, value in vars(names).items() if name.endswith("_TAG")}
    tags |= {PROGRESS_TAG, CLUSTER_TAG, DATABASE_TAG}
    assert set(re.findall(r"`(kafka_ingest/\w+)`", PAGE)) == tags


def test_jobs_and_sensors_are_called_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", f"sqlite:///{tmp_path}/t.db")
    quotes = replace(BOOKINGS, name="quotes")
    alone, grouped = (build_definitions([stream]) for stream in (quotes, replace(quotes, group="small")))
    jobs = {"ingest_quotes", "preview_quotes", "replay_dead_letters_quotes", "find_message_quotes"}
    jobs |= {"audit_ledger", "kafka_ingest_retention"}
    schedules = {"audit_ledger_daily", "kafka_ingest_retention_daily"}
    for definitions, more, sensor in ((alone, set(), "quotes_sensor"), (grouped, {"ingest_small"}, "small_sensor")):
        repository = definitions.get_repository_def()
        assert {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")} == jobs | more
        assert {each.name for each in repository.sensor_defs} == {sensor}
        assert {each.name for each in repository.schedule_defs} == schedules
        assert all(f"`{name}`" in PAGE for name in {*jobs, *more, *schedules, sensor})
    step = grouped.resolve_job_def("ingest_small").nodes[0].name
    assert step == "small_turns"
    assert f"`{step}`" in PAGE
