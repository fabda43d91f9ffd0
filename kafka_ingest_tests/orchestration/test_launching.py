"""What a run is launched with is what the stream's job takes."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from kafka_ingest.backfill.selection import Selection
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.launching import backfill_config, backfill_tags, ranges_config, ranges_tags
from kafka_ingest.slices import OffsetRange
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.placed import NAMES

RANGES = (OffsetRange("mixed", 0, 5, 9),)
WHOLE = Selection()
TIMES = Selection(time_from="2026-01-01", time_to="2026-01-02")
OFFSETS = Selection(offset_from=0, offset_to=5, partitions=("mixed:0",))


def test_the_job_takes_what_it_is_launched_with_and_nothing_else() -> None:
    job = build_definitions([MIXED]).resolve_job_def("ingest_mixed")
    for config in [
        *(backfill_config(NAMES, MIXED, selection) for selection in (WHOLE, TIMES, OFFSETS)),
        ranges_config(NAMES, MIXED, RANGES, "live"),
        ranges_config(NAMES, MIXED, RANGES, "backfill", until_caught_up=True),
    ]:
        dg.validate_run_config(job, config)
    with pytest.raises(dg.DagsterInvalidConfigError, match="no_such_option"):
        dg.validate_run_config(job, ranges_config(NAMES, MIXED, RANGES, "live", no_such_option=1))


@pytest.mark.parametrize(
    ("selection", "fields"),
    [
        (WHOLE, {}),
        (TIMES, {"time_from": "2026-01-01", "time_to": "2026-01-02"}),
        (OFFSETS, {"offset_from": 0, "offset_to": 5, "partitions": ["mixed:0"]}),
    ],
)
def test_a_backfill_is_launched_with_the_selection_as_it_stands(selection: Selection, fields: dict[str, Any]) -> None:
    plan = {"kind": "backfill"} | fields
    assert backfill_config(NAMES, MIXED, selection) == {"ops": {"mixed": {"ops": {"plan": {"config": plan}}}}}


def test_only_a_live_run_is_tagged_as_one_the_queue_lets_run_alone() -> None:
    common = {"kafka_ingest/stream": "mixed", "kafka_ingest/ranges": "mixed[0]@[5,9)"}
    assert ranges_tags(NAMES, MIXED, RANGES, "live") == common | {
        "kafka_ingest/kind": "live",
        "kafka_ingest/live": "mixed",
    }
    assert ranges_tags(NAMES, MIXED, RANGES, "backfill") == common | {"kafka_ingest/kind": "backfill"}


def test_the_windows_of_a_backfill_are_tagged_as_dagster_reads_them() -> None:
    common = {"kafka_ingest/stream": "mixed", "kafka_ingest/kind": "backfill"}
    assert backfill_tags(NAMES, MIXED, ()) == common
    assert backfill_tags(NAMES, MIXED, ("a",)) == common | {"dagster/partition": "a"}
    both = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    assert backfill_tags(NAMES, MIXED, ("a", "b")) == common | both
