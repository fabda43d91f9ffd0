"""The job that replays a stream's dead letters: one op over `engine.replay`."""

# No `from __future__ import annotations` here: Dagster reads the op's annotations as they stand.
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from enum import Enum
from typing import Any, cast

import dagster as dg
from pydantic import Field

from kafka_ingest.backfill.selection import MAX_OFFSET, MAX_PARTITION, TIME_EXAMPLE, parse_time
from kafka_ingest.engine.replay import ReplayPlan, plan_replay, replay
from kafka_ingest.errors import KafkaIngestError
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter
from kafka_ingest.orchestration.boundary import op_errors
from kafka_ingest.orchestration.markdown import code
from kafka_ingest.orchestration.names import (
    KIND_TAG,
    STREAM_TAG,
    Metadata,
)
from kafka_ingest.orchestration.placed_stream import PlacedStream
from kafka_ingest.orchestration.resources import settings_of
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.replay_proposal import ReplayResult
from kafka_ingest.slices import Outcome, Stage
from kafka_ingest.streams.target import TargetTable

_SHOWN_ERRORS = 50
# Errors told apart; a message's own words may stand in each.
_KEPT_ERRORS = 1_000
_ERROR_CHARACTERS = 200


class FailedStage(Enum):
    """Where messages failed; Dagster shows the names."""

    any = "any"
    decode = "decode"
    route = "route"
    validate = "validate"
    step = "step"
    dates = "dates"
    database = "database"


class Clock(Enum):
    """What the times mean."""

    created = "created"
    kafka = "kafka"


class ReplayConfig(dg.Config):
    """Which dead letters to replay. Left empty: all that wait, up to the limit. One that became a row, a delete or ignored is
    never replayed again."""

    topics: list[str] = Field(default=[], description="Of these topics only. Empty: all.", max_length=1_000)
    partition: int | None = Field(default=None, description="Of this Kafka partition only.", ge=0, le=MAX_PARTITION)
    offset_from: int | None = Field(default=None, description="From this offset on.", ge=0, le=MAX_OFFSET)
    offset_to: int | None = Field(default=None, description="Up to this offset (exclusive).", ge=0, le=MAX_OFFSET)
    route: str | None = Field(default=None, description="Of this message type only.", max_length=100)
    stage: FailedStage = Field(default=FailedStage.any, description="That failed at this stage only.")
    error: str | None = Field(
        default=None, description="Whose error has this text in it; with a %, a whole LIKE pattern.", max_length=1_000
    )
    time_from: str | None = Field(
        default=None, description=f"From this time on: {TIME_EXAMPLE}; UTC where it has no zone.", max_length=64
    )
    time_to: str | None = Field(default=None, description="Up to this time (exclusive).", max_length=64)
    time: Clock = Field(
        default=Clock.created,
        description="What the times mean: created, when the dead letter was recorded, or kafka, the message's timestamp.",
    )
    limit: int = Field(
        default=100_000, description="At most so many, the oldest first; a second run takes more.", ge=1, le=10_000_000
    )
    dry_run: bool = Field(
        default=False, description="Only say what would become of each letter; everything is rolled back."
    )

    def wanted(self) -> DeadLetterFilter:
        """Raises ConfigError naming the field that is wrong."""
        return DeadLetterFilter(
            topics=tuple(self.topics),
            partition=self.partition,
            first_offset=self.offset_from,
            end_offset=self.offset_to,
            route=self.route,
            stage=None if self.stage is FailedStage.any else cast("Stage", self.stage.value),
            error=self.error,
            since=parse_time("time_from", self.time_from),
            until=parse_time("time_to", self.time_to),
            clock=self.time.value,
        )


def replay_job(placed: PlacedStream) -> dg.JobDefinition:
    """The stream's replay as a job of its own: its launchpad is the filter."""

    stream, names = placed.stream, placed.names

    @dg.op(
        name=f"{placed.graph}_replay_dead_letters",
        required_resource_keys=names.connections,
        description="Runs the original bytes of waiting dead letters through today's code, once, and marks what became of "
        "each. Nothing is read from Kafka, and no offset moves.",
        out=dg.Out(dg.Nothing),
    )
    def replay_dead_letters(context: dg.OpExecutionContext, config: ReplayConfig) -> Iterator[Any]:
        report = _Report()
        trouble: KafkaIngestError | None = None
        settings = settings_of(context.resources, names)
        with closing(open_sink(settings.database_url)) as sink:
            with op_errors(context):
                plan = plan_replay(
                    sink,
                    stream,
                    config.wanted(),
                    run_id=context.run_id,
                    limit=config.limit,
                    find_schemas=schema_finder(settings),
                )
            for topic, number in plan.left_out.items():
                context.log.warning(
                    f"{number} dead letters of topic {topic} are left alone: the stream no longer reads it"
                )
            context.log.info(f"{plan.letters} dead letters to replay")
            try:
                _run(sink, plan, context.run_id, config.dry_run, report)
            except KafkaIngestError as error:
                trouble = error  # what was committed before it is reported first
        if not config.dry_run:
            yield from _events(placed, report)
        with op_errors(context):
            if trouble is not None:
                raise trouble
        context.log.info(f"{'would become' if config.dry_run else 'became'}: {report.text()}")
        yield dg.Output(None, metadata=report.metadata() | {"dry_run": config.dry_run, "left_out": dict(plan.left_out)})

    @dg.job(
        name=names.replay_job(stream),
        description=f"Replays dead letters of stream {stream.name}: the original bytes through today's code, once.",
        tags={STREAM_TAG: placed.tag, KIND_TAG: "replay"},
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        replay_dead_letters()

    return job


def _run(sink: Sink, plan: ReplayPlan, run_id: str, dry_run: bool, report: "_Report") -> None:
    for result in replay(sink, plan, run_id=run_id, dry_run=dry_run):
        report.add(result)


class _Report:
    """Sums over the slices of a replay."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.changes: dict[str, Counter[str]] = {}
        """Table → window → rows and deletes."""
        self.rows: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()

    def add(self, result: ReplayResult) -> None:
        """Count one slice of the replay."""
        self.rows.update(result.load.rows_by_table)
        for table, windows in result.changes_by_window.items():
            self.changes.setdefault(table, Counter()).update(windows)
        for letter in result.letters:
            self.outcomes[letter.outcome] += 1
            if letter.stage is not None:
                error = (letter.stage, (letter.error or "")[:_ERROR_CHARACTERS])
                is_known = error in self._errors or len(self._errors) < _KEPT_ERRORS
                self._errors[error if is_known else (letter.stage, "other errors")] += 1

    def text(self) -> str:
        """The outcomes in one line, for the log."""
        return ", ".join(f"{self.outcomes[o]} {o}" for o in ("row", "delete", "ignored", "dead_letter"))

    def metadata(self) -> Metadata:
        """The outcomes as the UI shows them on the op, with the commonest errors that are left."""
        return {
            "replayed": sum(self.outcomes.values()),
            "rows": self.outcomes["row"],
            "deletes": self.outcomes["delete"],
            "ignored": self.outcomes["ignored"],
            "still_dead_letters": self.outcomes["dead_letter"],
            "outcomes": dg.MetadataValue.md(self._table()),
        }

    def _table(self) -> str:
        lines = ["| became | letters | stage | error |", "|---|---:|---|---|"]
        lines += [f"| {o} | {self.outcomes[o]} | | |" for o in ("row", "delete", "ignored") if self.outcomes[o]]
        lines += [
            f"| dead_letter | {number} | {stage} | {code(error)} |"
            for (stage, error), number in self._errors.most_common(_SHOWN_ERRORS)
        ]
        if len(self._errors) > _SHOWN_ERRORS:
            lines.append(
                f"\n…and {len(self._errors) - _SHOWN_ERRORS} more errors: `kafka-ingest dead-letters list --summary`."
            )
        return "\n".join(lines)


def _events(placed: PlacedStream, report: _Report) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """A materialization of each table and window that changed, and an observation of the dead letters."""
    if not report.outcomes:
        return
    for target, spec in placed.tables.items():
        for window, number in report.changes.get(target.label, {}).items():
            yield dg.AssetMaterialization(
                spec.key,
                partition=window,
                description="Dead letters were replayed into it.",
                metadata=_table_metadata(target, number, report.rows),
            )
    yield dg.AssetObservation(
        placed.dead_letters.key, description="Dead letters were replayed.", metadata=report.metadata()
    )


def _table_metadata(target: TargetTable, number: int, rows: Mapping[str, int]) -> Metadata:
    return {"replayed_into_window": number, "rows": rows[target.label]}
