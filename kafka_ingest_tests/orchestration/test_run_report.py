"""What a run says it has done: which slices count for its latencies."""

from __future__ import annotations

import pytest

from kafka_ingest.orchestration.run_report import RunReport
from kafka_ingest.slices import LoadResult, OffsetRange, RangeCounts

UP = 1_000_000


def slice_of(*stamps: int | None, p50: float | None = 1.0, p95: float | None = 2.0, messages: int = 10) -> LoadResult:
    """One load of a range for each of these oldest timestamps."""
    counts = tuple(
        RangeCounts(OffsetRange("t", n, 0, messages), "live", messages, 0, 0, 0, 0, stamp, stamp)
        for n, stamp in enumerate(stamps)
    )
    return LoadResult(counts, {}, {}, {}, 0, 0.1, p50, p95)


def latencies(latency_from_ms: float | None, *slices: LoadResult) -> tuple[object, object]:
    report = RunReport(latency_from_ms=latency_from_ms)
    for each in slices:
        report.add(each)
    found = report.metadata(None)
    assert found["messages"] == sum(each.messages for each in slices)  # they count for everything else
    return found.get("latency_p50_seconds"), found.get("latency_p95_seconds")


def test_the_median_is_weighed_by_messages_and_the_95th_percentile_is_the_worst() -> None:
    assert latencies(UP, slice_of(UP, messages=30), slice_of(UP, p50=5.0, p95=9.0)) == (2.0, 9.0)


@pytest.mark.parametrize(
    "late", [slice_of(UP - 1, p50=3_600.0, p95=7_200.0), slice_of(UP + 5, UP - 1, p50=60.0, p95=70.0)]
)
def test_a_slice_with_a_message_that_waited_for_the_stream_counts_for_no_latency(late: LoadResult) -> None:
    assert latencies(UP, late) == (None, None)
    assert latencies(UP, late, slice_of(UP), slice_of(None, p50=None, p95=None)) == (1.0, 2.0)


def test_a_backfill_has_no_latency() -> None:
    assert latencies(None, slice_of(UP)) == (None, None)
