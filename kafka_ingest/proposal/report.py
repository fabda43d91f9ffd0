"""A proposal, and what has drifted, for programs. Names and meanings stay; new ones may come."""

from __future__ import annotations

from typing import Any, TypedDict

from kafka_ingest.proposal.drift import DriftReport
from kafka_ingest.proposal.plan import Column, ModelPlan
from kafka_ingest.proposal.propose import Proposal
from kafka_ingest.proposal.trial import Outcomes


class ReasonDocument(TypedDict):
    stage: str
    error: str
    position: str
    count: int
    route: str | None


class OutcomesDocument(TypedDict):
    messages: int
    rows: dict[str, int]
    deletes: int
    ignored: int
    dead_letters: int
    dead_letter_ratio: float
    reasons: list[ReasonDocument]


class ColumnDocument(TypedDict):
    name: str
    path: list[str] | None
    type: str
    nullable: bool
    key: bool
    seen: int
    notes: list[str]


class ModelDocument(TypedDict):
    model: str
    table: str
    message_types: list[str]
    messages: int
    upsert: bool
    key_evidence: str
    columns: list[ColumnDocument]
    left_out: list[dict[str, str]]
    first_rows: list[dict[str, Any]]


class ProposalDocument(TypedDict):
    stream: str
    topic: str
    made_from: str
    value_format: str
    route_by: str | None
    models: list[ModelDocument]
    outcomes: OutcomesDocument
    notes: list[str]
    module: str


def proposal_document(proposal: Proposal) -> ProposalDocument:
    """`seen`: in how many of the model's messages the field has a value. `route_by`: the dotted path of the message type, null
    where there is one kind of message. `left_out`: fields, or columns of an existing table, that are not in the model, with the
    reason. `module`: its text."""
    plan = proposal.plan
    return {
        "stream": plan.name,
        "topic": plan.topic,
        "made_from": plan.described,
        "value_format": "Json()" if plan.value_format is None else plan.value_format.text.removeprefix("kafka_ingest."),
        "route_by": None if plan.route_path is None else ".".join(plan.route_path),
        "models": [_model(model, proposal) for model in plan.models],
        "outcomes": outcomes_document(proposal.outcomes),
        "notes": list(plan.notes),
        "module": proposal.text,
    }


def _model(model: ModelPlan, proposal: Proposal) -> ModelDocument:
    label = model.table if model.schema is None else f"{model.schema}.{model.table}"
    return {
        "model": model.class_name,
        "table": label,
        "message_types": list(model.types),
        "messages": model.messages,
        "upsert": model.is_upsert,
        "key_evidence": model.key.evidence,
        "columns": [_column(column) for column in model.columns],
        "left_out": [{"name": each.name, "reason": each.reason} for each in model.left_out],
        "first_rows": [dict(row) for row in proposal.rows.get(label, ())],
    }


def _column(column: Column) -> ColumnDocument:
    return {
        "name": column.name,
        "path": None if column.path is None else list(column.path),
        "type": "DateTime" if column.type.type is None else column.type.type.text,
        "nullable": column.is_nullable,
        "key": column.is_key,
        "seen": column.seen,
        "notes": list(column.all_notes),
    }


def outcomes_document(outcomes: Outcomes) -> OutcomesDocument:
    """What would become of the sample. `reasons`: dead letters with one error but for its values, the first as an example."""
    return {
        "messages": outcomes.messages,
        "rows": dict(outcomes.rows),
        "deletes": outcomes.deletes,
        "ignored": outcomes.ignored,
        "dead_letters": outcomes.dead,
        "dead_letter_ratio": outcomes.share,
        "reasons": [
            {
                "stage": each.stage,
                "error": each.error,
                "position": each.position,
                "count": each.count,
                "route": each.route,
            }
            for each in outcomes.dead_letters
        ],
    }


class FindingDocument(TypedDict):
    what: str
    drift: bool
    where: str
    text: str


class DriftDocument(TypedDict):
    stream: str
    drifted: bool
    outcomes: OutcomesDocument
    findings: list[FindingDocument]


def drift_document(report: DriftReport) -> DriftDocument:
    """`drift`: whether somebody should see to it, which makes the exit code 1; else it is news. `what`: as drift.py lists."""
    return {
        "stream": report.stream,
        "drifted": report.has_drifted,
        "outcomes": outcomes_document(report.outcomes),
        "findings": [
            {"what": each.what, "drift": each.is_drift, "where": each.where, "text": each.text}
            for each in report.findings
        ],
    }
