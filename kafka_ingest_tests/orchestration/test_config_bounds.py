"""A run config out of range fails the run with field, value and bound, and nothing is loaded."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from kafka_ingest.cli.ingest import failure_of
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest_tests.support.placed import NAMES
from kafka_ingest_tests.support.world import STREAM, World

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

TOO_LARGE = 2**63


def ranged(**changes: int) -> dict[str, Any]:
    return {"ranges": [{"topic": "mixed", "partition": 0, "start": 0, "end": 1} | changes]}


def refusal(job: str, config: dict[str, Any], **options: Any) -> str:
    """What a run with this config fails with."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions([STREAM])
            .resolve_job_def(job)
            .execute_in_process(run_config={"ops": config}, instance=instance, raise_on_error=False, **options)
        )
        assert not result.success
        return failure_of(result)


@pytest.mark.parametrize(
    ("config", "field", "value", "bound"),
    [
        (ranged(partition=-1), "ranges.0.partition", "-1", "greater than or equal to 0"),
        (ranged(partition=2**31), "ranges.0.partition", str(2**31), "less than or equal to 2147483647"),
        (ranged(start=-1), "ranges.0.start", "-1", "greater than or equal to 0"),
        (ranged(end=TOO_LARGE), "ranges.0.end", str(TOO_LARGE), f"less than or equal to {TOO_LARGE - 1}"),
        (ranged(start=5, end=4), "mixed[0]@[5,4)", "[5,4)", "0 <= start <= end"),
        ({"offset_from": -5}, "offset_from", "-5", "greater than or equal to 0"),
        ({"offset_to": TOO_LARGE}, "offset_to", str(TOO_LARGE), f"less than or equal to {TOO_LARGE - 1}"),
        ({"offset_from": 9, "offset_to": 9}, "offset_from", "9", "not below offset_to, 9"),
        ({"time_from": "x" * 65}, "time_from", "xxxx", "at most 64 characters"),
        ({"time_to": "soon"}, "time_to", "'soon'", "must be a time such as"),
        ({"time_from": "2999-01-01"}, "time_from", "2999-01-01", "in the future"),
    ],
)
def test_an_ingestion_out_of_range_is_refused_with_field_value_and_bound(
    world: World, config: dict[str, Any], field: str, value: str, bound: str
) -> None:
    said = refusal(NAMES.job(STREAM), {STREAM.name: {"ops": {"plan": {"config": config}}}}, partition_key=WINDOW)
    assert field in said
    assert value in said
    assert bound in said
    assert world.names() == []


@pytest.mark.parametrize(
    ("config", "value", "bound"),
    [
        ({"limit": 0}, "0", "greater than or equal to 1"),
        ({"limit": 10_000_001}, "10000001", "less than or equal to 10000000"),
        ({"partition": 2**31}, str(2**31), "less than or equal to 2147483647"),
        ({"offset_from": -1}, "-1", "greater than or equal to 0"),
        ({"offset_to": TOO_LARGE}, str(TOO_LARGE), f"less than or equal to {TOO_LARGE - 1}"),
        ({"route": "r" * 101}, "rrrr", "at most 100 characters"),
        ({"error": "e" * 1_001}, "eeee", "at most 1000 characters"),
    ],
)
@pytest.mark.usefixtures("world")
def test_a_replay_out_of_range_is_refused_with_field_value_and_bound(
    config: dict[str, Any], value: str, bound: str
) -> None:
    said = refusal(NAMES.replay_job(STREAM), {f"{STREAM.name}_replay_dead_letters": {"config": config}})
    assert next(iter(config)) in said
    assert value in said
    assert bound in said


WINDOW = "2026-01-01-07:00"
