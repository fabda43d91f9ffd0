"""Asset checks of a stream, run with every run: the ledger adds up, and its ranges tile."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a check as they stand.

from collections.abc import Callable

import dagster as dg

from kafka_ingest.engine.accounting import Finding, check_accounting, check_tiling
from kafka_ingest.orchestration.names import dead_letters_key
from kafka_ingest.settings import from_environment
from kafka_ingest.sinks.base import Sink, open_sink
from kafka_ingest.streams.stream import Stream

_SHOWN = 20

Check = Callable[[Sink, Stream, str], Finding]

_CHECKS: dict[str, tuple[Check, str, str]] = {
    "accounting": (
        check_accounting,
        "Every offset of this run's ranges is a row, a delete, a dead letter, ignored or absent.",
        "A range that does not add up is a bug in kafka_ingest or in a pipeline step: report it, then load the range again "
        "with kind=backfill.",
    ),
    "tiling": (
        check_tiling,
        "Live ranges follow each other without gap or overlap, up to the ledger's next offset.",
        "Load a gap again with kind=backfill. An overlap or a wrong next offset means that the ledger was changed by hand.",
    ),
}


def stream_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    """The checks, attached to the stream's dead letters, the one asset every message of the stream may end in."""
    return [_definition(stream, name, *parts) for name, parts in _CHECKS.items()]


def _definition(stream: Stream, name: str, check: Check, description: str, advice: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(name=name, asset=dead_letters_key(stream), description=description, blocking=False)
    def run(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        sink = open_sink(from_environment().database_url)
        try:
            finding = check(sink, stream, context.run.run_id)
        finally:
            sink.close()
        return dg.AssetCheckResult(
            passed=finding.passed,
            metadata={
                "ranges_checked": finding.checked,
                "faults": dg.MetadataValue.md("\n".join(f"- `{f}`" for f in finding.faults[:_SHOWN]) or "none"),
                "what_to_do": "nothing" if finding.passed else advice,
            },
        )

    return run
