"""Asset checks of a stream, run with every run: accounts, tiling, consumer group, rows, dead letters. One op, one connection."""

# No `from __future__ import annotations` here: Dagster reads the annotations of a check as they stand.

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import dagster as dg

from kafka_ingest.checks.consumer_group import check_consumer_group
from kafka_ingest.checks.dead_letter_ratio import check_dead_letter_ratio
from kafka_ingest.checks.run_ledger import CheckResult, check_accounting, check_tiling
from kafka_ingest.checks.table_rows import append_tables, check_run_rows
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import dead_letters_key, table_key
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.streams.stream import Stream

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Look:
    """What a check may look at."""

    sink: Sink
    stream: Stream
    run_id: str
    settings: Settings


@dataclass(frozen=True, slots=True)
class Check:
    """One check: where it hangs, how it looks, and what a person does when it fails."""

    key: dg.AssetCheckKey
    find: Callable[[Look], CheckResult]
    description: str
    advice: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR


LOAD_AGAIN = "kafka-ingest backfill"
_REPORT = (
    "A range that does not add up is a bug in kafka_ingest or in a pipeline step: report it, then load the range again "
    f"(`{LOAD_AGAIN}`)."
)
TILING_ADVICE = (
    f"Load a gap again (`{LOAD_AGAIN}`). An overlap or a wrong next offset means that the ledger was changed by hand."
)
ROWS_ADVICE = (
    "Rows were deleted or added beside kafka_ingest, or the table was restored from a backup without its ledger. Load the "
    f"ranges named again (`{LOAD_AGAIN}`): that replaces their rows."
)


def run_checks(stream: Stream) -> list[Check]:
    """The checks of every run. They hang on the dead letters, the one asset every message of the stream may end in; the
    count of rows hangs on its table."""
    whole = partial(dg.AssetCheckKey, dead_letters_key(stream))
    checks = [
        Check(
            whole("accounting"),
            lambda look: check_accounting(look.sink, look.stream, look.run_id),
            "Every offset of this run's ranges is a row, a delete, a dead letter, ignored or absent.",
            _REPORT,
        ),
        Check(
            whole("tiling"),
            lambda look: check_tiling(look.sink, look.stream, look.run_id),
            "Live ranges follow each other without gap or overlap, up to the ledger's next offset.",
            TILING_ADVICE,
        ),
        Check(
            whole("consumer_group"),
            _group,
            "The consumer group's offsets are the ledger's, so Kafka's own tools show the true lag.",
            "Behind: nothing is lost, the ledger counts, and the next run repairs Kafka's copy. Ahead: find what else commits "
            "to this group; the next run sets it back to the ledger.",
            dg.AssetCheckSeverity.WARN,
        ),
        Check(
            whole("dead_letter_ratio"),
            lambda look: check_dead_letter_ratio(look.sink, look.stream, look.run_id),
            f"At most {stream.warn_dead_letter_ratio:.1%} of the messages are dead letters (warn_dead_letter_ratio).",
            f"Read them (`kafka-ingest dead-letters list --stream {stream.name}`), correct the model or the producer, then "
            "replay them (`kafka-ingest dead-letters replay`).",
            dg.AssetCheckSeverity.WARN,
        ),
    ]
    for target in append_tables(stream):
        checks.append(
            Check(
                dg.AssetCheckKey(table_key(stream, target), "rows"),
                lambda look, target=target: check_run_rows(look.sink, look.stream, look.run_id, target),  # type: ignore[misc]
                "The table holds as many rows of this run's ranges as the ledger says.",
                ROWS_ADVICE,
            )
        )
    return checks


def _group(look: Look) -> CheckResult:
    return check_consumer_group(look.sink, look.stream, look.settings, KafkaMetadata(look.settings))


def stream_checks(stream: Stream) -> dg.AssetChecksDefinition:
    """The checks of every run as one op."""
    return checks_definition(stream, f"{stream.name}_checks", run_checks(stream))


def checks_definition(stream: Stream, name: str, checks: list[Check]) -> dg.AssetChecksDefinition:
    """These checks as one op. What is unreachable is tried again, as in every op; a failed check fails no run."""
    by_key = {check.key: check for check in checks}
    specs = [
        dg.AssetCheckSpec(c.key.name, asset=c.key.asset_key, description=c.description, blocking=False) for c in checks
    ]

    @dg.multi_asset_check(name=name, specs=specs, can_subset=True)
    def run(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        settings = Settings.from_environment()
        with op_errors(context.op_execution_context), closing(open_sink(settings.database_url)) as sink:
            look = Look(sink, stream, context.run.run_id, settings)
            for key in context.selected_asset_check_keys:
                yield _result(by_key[key], look)

    return run


def _result(check: Check, look: Look) -> dg.AssetCheckResult:
    started = time.perf_counter()
    finding = check.find(look)
    faults = [f"- {code(f, limit=1_000)}" for f in finding.faults[:_SHOWN]]
    if len(finding.faults) > _SHOWN:
        faults.append(f"- and {len(finding.faults) - _SHOWN} more")
    return dg.AssetCheckResult(
        asset_key=check.key.asset_key,
        check_name=check.key.name,
        passed=finding.passed,
        severity=check.severity,
        description=None if finding.passed else check.advice,
        metadata={
            "ranges_checked": finding.checked,
            "faults": dg.MetadataValue.md("\n".join(faults) or "none"),
            "what_to_do": "nothing" if finding.passed else check.advice,
            "seconds": round(time.perf_counter() - started, 3),
            **finding.details,
        },
    )
