"""The checks of a stream's runs: accounts, tiling, consumer group, dead letters, rows. A run evaluates them while it drains
(`check_rounds`); here is what they are, and the op with which a person runs one by hand.

They hang on the ledger, which no run materializes: Dagster plans the checks of an asset at the start of every run of it, and
shows them as in progress until that run ends.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of a check as they stand.

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import dagster as dg

from kafka_ingest.checks.consumer_group import check_consumer_group
from kafka_ingest.checks.dead_letter_ratio import check_dead_letter_ratio
from kafka_ingest.checks.run_ledger import CheckResult, check_accounting, check_tiling, run_to_check
from kafka_ingest.checks.table_rows import append_tables, check_run_rows
from kafka_ingest.kafka.metadata import KafkaMetadata
from kafka_ingest.kafka.timeouts import kafka_deadline
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.streams.stream import Stream

_SHOWN = 20
# Of the three looks at the consumer group together; a healthy cluster answers each within milliseconds.
GROUP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What a check may look at."""

    sink: Sink
    stream: Stream
    run_id: str
    """The run whose loads are checked."""
    settings: Settings

    @classmethod
    def of(cls, sink: Sink, stream: Stream, run_id: str, settings: Settings) -> "Look":
        """At what a run has loaded; where it has loaded nothing, as one has that only checks, at the run that loaded last."""
        return cls(sink, stream, run_to_check(sink, stream, run_id), settings)


@dataclass(frozen=True, slots=True)
class Check:
    """One check: where it hangs, how it looks, and what a person does when it fails."""

    key: dg.AssetCheckKey
    find: Callable[[Look], CheckResult]
    description: str
    advice: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    of_run: bool = True
    """Whether it looks at what one run has loaded, and not at all that was."""


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


def run_checks(placed: PlacedStream) -> list[Check]:
    """The checks of every run."""
    stream = placed.stream
    of = partial(dg.AssetCheckKey, placed.ledger.key)
    checks = [
        Check(
            of("run_accounting"),
            lambda look: check_accounting(look.sink, look.stream, look.run_id),
            "Every offset of the last run's ranges is a row, a delete, a dead letter, ignored or absent.",
            _REPORT,
        ),
        Check(
            of("run_tiling"),
            lambda look: check_tiling(look.sink, look.stream, look.run_id),
            "Live ranges follow each other without gap or overlap, up to the ledger's next offset.",
            TILING_ADVICE,
        ),
        Check(
            of("consumer_group"),
            _group,
            "The consumer group's offsets are the ledger's, so Kafka's own tools show the true lag.",
            "Behind: nothing is lost, the ledger counts, and the next run repairs Kafka's copy. Ahead: find what else commits "
            "to this group; the next run sets it back to the ledger.",
            dg.AssetCheckSeverity.WARN,
        ),
        Check(
            of("dead_letter_ratio"),
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
                of(f"run_rows_{target.identifier}"),
                lambda look, target=target: check_run_rows(look.sink, look.stream, look.run_id, target),  # type: ignore[misc]
                f"Table {target.label} holds as many rows of the last run's ranges as the ledger says.",
                ROWS_ADVICE,
            )
        )
    return checks


def _group(look: Look) -> CheckResult:
    with kafka_deadline(GROUP_SECONDS):
        return check_consumer_group(look.sink, look.stream, look.settings, KafkaMetadata(look.settings))


def stream_checks(placed: PlacedStream) -> dg.AssetChecksDefinition:
    """The checks of every run as one op, for a person who runs them by hand."""
    return checks_definition(placed, "checks", run_checks(placed))


def checks_definition(placed: PlacedStream, name: str, checks: list[Check]) -> dg.AssetChecksDefinition:
    """These checks as one op. What is unreachable is tried again, as in every op; a failed check fails no run."""
    by_key = {check.key: check for check in checks}
    specs = [
        dg.AssetCheckSpec(c.key.name, asset=c.key.asset_key, description=c.description, blocking=False) for c in checks
    ]

    @dg.multi_asset_check(
        name=f"{placed.graph}_{name}", specs=specs, can_subset=True, required_resource_keys=placed.names.connections
    )
    def run(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        settings = settings_of(context.resources, placed.names)
        with op_errors(context.op_execution_context), closing(open_sink(settings.database_url)) as sink:
            look = Look.of(sink, placed.stream, context.run.run_id, settings)
            for key in context.selected_asset_check_keys:
                yield _result(by_key[key], look)

    return run


def evaluation(check: Check, look: Look) -> dg.AssetCheckEvaluation:
    """What the check finds, as an event for a run that was not planned to evaluate it. Raises what looking raises."""
    found = _result(check, look)
    return dg.AssetCheckEvaluation(
        asset_key=check.key.asset_key,
        check_name=check.key.name,
        passed=found.passed,
        severity=found.severity,
        description=found.description,
        metadata=found.metadata,
        blocking=False,
    )


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
            **({"run": dg.MetadataValue.dagster_run(look.run_id)} if check.of_run else {}),
            **finding.details,
        },
    )
