"""A proposed stream as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kafka_ingest.cli.terminal import shortened
from kafka_ingest.proposal.drift import DriftReport
from kafka_ingest.proposal.plan import Column, ModelPlan
from kafka_ingest.proposal.propose import Proposal
from kafka_ingest.proposal.trial import Outcomes
from kafka_ingest.redaction import redact

_VALUE_CHARACTERS = 36
_MOST_REASONS = 10
_MOST_COLUMNS = 60
_WHERE_CHARACTERS, _TEXT_CHARACTERS = 60, 400


def proposal_view(proposal: Proposal) -> RenderableType:
    """The first rows of each table, and what would become of the sample."""
    parts: list[RenderableType] = []
    for model in proposal.plan.models:
        rows = proposal.rows.get(model.table if model.schema is None else f"{model.schema}.{model.table}", ())
        parts += [_rows_table(model, rows), *_left_out(model), Text()]
    return Group(*parts, *_outcome_lines(proposal.outcomes), *(Text(f"Note: {note}.") for note in proposal.plan.notes))


def _rows_table(model: ModelPlan, rows: Sequence[Mapping[str, Any]]) -> Table:
    kind = "a row for each key" if model.is_upsert else "a row for each message"
    of = f", of type {', '.join(model.types)}" if model.types else ""
    title = f"table {model.table}: {kind} ({model.key.evidence}); {model.messages:,} messages{of}"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("column")
    table.add_column("type")
    table.add_column("seen", justify="right")
    for at in range(len(rows)):
        table.add_column(f"row {at + 1}", overflow="fold")
    for column in model.columns[:_MOST_COLUMNS]:
        values = [_shown(row.get(column.name)) for row in rows]
        table.add_row(Text(column.name, style="bold" if column.is_key else ""), _type(column), _seen(column), *values)
    if len(model.columns) > _MOST_COLUMNS:
        table.add_row(Text(f"and {len(model.columns) - _MOST_COLUMNS} more"), "", "")
    return table


def _type(column: Column) -> Text:
    kind = column.type
    name = kind.type.text if kind.type is not None else "DateTime"
    key = " key" if column.is_key else "" if column.is_nullable else " not null"
    return Text(f"{name}{key}")


def _seen(column: Column) -> str:
    if column.path is None or not column.total:
        return ""
    return "all" if column.seen == column.total else f"{column.seen / column.total:.1%}"


def _shown(value: object) -> Text:
    if value is None:
        return Text("NULL", style="dim")
    return Text(redact(shortened(str(value), _VALUE_CHARACTERS)))


def _left_out(model: ModelPlan) -> Iterator[Text]:
    for each in model.left_out[:_MOST_REASONS]:
        yield Text(f"  without {shortened(each.name, 60)}: {each.reason}", style="dim")
    if len(model.left_out) > _MOST_REASONS:
        yield Text(f"  and without {len(model.left_out) - _MOST_REASONS} more", style="dim")


def _outcome_lines(outcomes: Outcomes) -> Iterator[Text]:
    if not outcomes.messages:
        yield Text("No message was there to try the stream on.")
        return
    rows = ", ".join(f"{count:,} of {table}" for table, count in outcomes.rows.items()) or "none"
    deleted = f", {outcomes.deletes:,} deletes" if outcomes.deletes else ""
    style = "" if not outcomes.dead else "yellow" if outcomes.share < 0.05 else "red"
    yield Text(
        f"Of {outcomes.messages:,} messages: rows {rows}{deleted}; {outcomes.dead:,} dead letters ({outcomes.share:.2%})",
        style=style,
    )
    yield from reason_lines(outcomes)


def reason_lines(outcomes: Outcomes) -> Iterator[Text]:
    """Why messages would be dead letters, the most frequent reasons."""
    for reason in outcomes.dead_letters[:_MOST_REASONS]:
        yield Text(redact(f"  {reason.count:,} {reason.stage}: {shortened(reason.error, 160)} ({reason.position})"))
    if len(outcomes.dead_letters) > _MOST_REASONS:
        yield Text(f"  and {len(outcomes.dead_letters) - _MOST_REASONS} more reasons")


def drift_view(report: DriftReport) -> RenderableType:
    """What has drifted, a line for each finding."""
    outcomes = report.outcomes
    head = f"stream {report.stream}: {outcomes.messages:,} messages looked at, {outcomes.dead:,} would be dead letters"
    table = Table(title=Text(f"{head} ({outcomes.share:.2%})"), title_justify="left")
    table.add_column("finding")
    table.add_column("where")
    table.add_column("what", overflow="fold")
    for finding in report.findings:
        style = "red" if finding.is_drift else ""
        where = shortened(finding.where, _WHERE_CHARACTERS)
        text = redact(shortened(finding.text, _TEXT_CHARACTERS))
        table.add_row(Text(finding.what, style=style), Text(where), Text(text))
    if not report.findings:
        return Text(f"{head}: topic, model and table fit")
    return table
