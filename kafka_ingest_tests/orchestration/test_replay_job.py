"""The replay job in Dagster: its launchpad, what it does, what it reports, what is retried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from kafka_ingest.engine.replay import replay as replay_slices
from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.names import table_key
from kafka_ingest.orchestration.replay_job import ReplayConfig
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Account, Event
from kafka_ingest.testing.target import NOW, Target
from kafka_ingest_tests.support.letters import FIXED, NO_ROUTES, account, dump, event, kept
from kafka_ingest_tests.support.placed import NAMES, placed

# Dagster asks pydantic for fields in a way pydantic 2 finds old-fashioned; what we can do about it is nothing.
pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

OP = "mixed_replay_dead_letters"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """Five dead letters, of which the fixed stream takes three as rows."""
    url = f"sqlite:///{tmp_path}/letters.db"
    target = Target(FIXED, SQLiteSink(sa.make_url(url)))
    raw = raw_slice(
        Part([Msg(event("a")), Msg(event("b")), Msg(account("x", 1)), Msg(event("bad", 13)), Msg(b"{`|\x1b")])
    )
    target.pin({r.topic_partition: r.start for r in raw.ranges})
    target.load(raw, stream=NO_ROUTES)
    monkeypatch.setenv("KAFKA_INGEST_DATABASE_URL", url)
    yield target
    target.sink.close()


def run(stream: Stream = FIXED, *, success: bool = True, **config: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions([stream])
            .resolve_job_def(NAMES.replay_job(stream))
            .execute_in_process(run_config={"ops": {OP: {"config": config}}}, instance=instance, raise_on_error=False)
        )
    assert result.success is success
    return result


def materialized(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], dict[str, Any]]:
    found = [e.step_materialization_data.materialization for e in result.get_asset_materialization_events()]
    return {(m.asset_key.to_user_string(), m.partition): {k: v.value for k, v in m.metadata.items()} for m in found}


def observed(result: dg.ExecuteInProcessResult) -> list[dg.AssetObservation]:
    return [e.asset_observation_data.asset_observation for e in result.get_asset_observation_events()]


def test_the_job_replays_and_reports_tables_and_dead_letters(target: Target) -> None:
    result = run()
    assert target.rows(Event, "name") == [("a",), ("b",)]
    assert target.rows(Account, "id") == [("x",)]
    assert materialized(result) == {
        (table_key(FIXED, TargetTable.of(Event)).to_user_string(), "2026-01-01-07:00"): {
            "replayed_into_window": 2,
            "rows": 2,
        },
        (table_key(FIXED, TargetTable.of(Account)).to_user_string(), "2026-01-01-07:00"): {
            "replayed_into_window": 1,
            "rows": 1,
        },
    }
    (observation,) = observed(result)
    assert observation.asset_key == placed(FIXED).dead_letters.key
    numbers = {k: v.value for k, v in observation.metadata.items()}
    assert {k: numbers[k] for k in ("replayed", "rows", "deletes", "ignored", "still_dead_letters")} == {
        "replayed": 5,
        "rows": 3,
        "deletes": 0,
        "ignored": 0,
        "still_dead_letters": 2,
    }
    table = str(numbers["outcomes"])
    assert "| row | 3 | | |" in table
    assert "| dead_letter | 1 | database |" in table
    assert "no_thirteen" in table
    assert result.dagster_run.tags["kafka_ingest/stream"] == "mixed"
    assert result.dagster_run.tags["kafka_ingest/kind"] == "replay"
    assert all(letter.replay_run_id == result.run_id for letter in kept(target))


def test_a_second_run_reports_nothing_for_what_was_replayed(target: Target) -> None:
    run()
    rows = target.rows(Event, "*")
    result = run(error="no route%")
    assert materialized(result) == {}
    assert observed(result) == []
    assert target.rows(Event, "*") == rows


def test_the_config_chooses(target: Target) -> None:
    run(stage="route", route="event", offset_from=1, offset_to=3, topics=["mixed"], partition=0)
    assert target.rows(Event, "name") == [("b",)]
    run(time_from="2026-01-01 07:00", time_to="2026-01-01 07:00:01", time="kafka", limit=1)
    assert target.rows(Event, "name") == [("a",), ("b",)]


def test_a_dry_run_writes_and_reports_no_asset(target: Target) -> None:
    before = dump(target)
    result = run(dry_run=True)
    assert dump(target) == before
    assert materialized(result) == {}
    outputs = [e.step_output_data.metadata for e in result.all_events if e.event_type_value == "STEP_OUTPUT"]
    assert outputs[0]["rows"].value == 3


def test_a_wrong_config_fails_at_once_and_says_why(target: Target) -> None:
    result = run(success=False, time_from="yesterday")
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    assert "time_from is 'yesterday'" in str(failure.step_failure_data.user_failure_data)


def test_a_database_that_goes_away_is_retried_and_each_letter_is_tried_once(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(FIXED, batch=replace(FIXED.batch, max_rows=2))
    trouble = [True]

    def flaky(*arguments: Any, **named: Any) -> Iterator[Any]:
        slices = replay_slices(*arguments, **named)
        yield next(slices)
        if trouble:
            trouble.pop()
            raise DatabaseUnavailable("gone for a moment")
        yield from slices

    monkeypatch.setattr("kafka_ingest.orchestration.replay_job.replay", flaky)
    result = run(small)
    assert len([e for e in result.all_events if e.is_step_up_for_retry]) == 1
    assert [letter.attempts for letter in kept(target)] == [1] * 5
    assert [o.metadata["replayed"].value for o in observed(result)] == [2, 3], "before the trouble and after it"
    assert len(kept(target, DeadLetterFilter())) == 2


def test_every_field_of_the_launchpad_says_what_it_is_and_is_bounded() -> None:
    for name, field in ReplayConfig.model_fields.items():
        assert field.description, name
    with pytest.raises(ValueError, match="limit"):
        ReplayConfig(limit=0)
    assert ReplayConfig().wanted() == DeadLetterFilter()
    assert ReplayConfig(time_from="2026-01-01T16:00+08:00").wanted().since == NOW
