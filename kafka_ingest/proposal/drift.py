"""How a declared stream's topic, models and tables have drifted apart. Reads only.

| finding | is |
|---|---|
| dead_letters | drift: messages of the sample that today's model does not take |
| unfed_column | drift: no message of the sample has the field that a column reads; it was renamed, or is gone |
| table | drift: an existing table does not hold what the model declares, so that a run would refuse to load |
| empty | drift: nothing of the topic can be read |
| unread_field | news: messages have a field that no column reads |
| table_column | news: the table has a column that the model does not have, or the next run adds one |
| schema | news: the registry has a newer schema than those that the messages name |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.proposal.documents import Documents, read_documents
from kafka_ingest.proposal.envelopes import rows_of
from kafka_ingest.proposal.fields import Path, fields_of
from kafka_ingest.proposal.sampling import Sample
from kafka_ingest.proposal.trial import Outcomes, outcomes_of, run_sample
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.tables import compare_tables, tables_of
from kafka_ingest.streams.formats.arrays import BARE_FIELD
from kafka_ingest.streams.formats.leaves import value_at
from kafka_ingest.streams.formats.schemas import RegisteredSchema, ids_of
from kafka_ingest.streams.model import PLACE_COLUMNS
from kafka_ingest.streams.stream import RouteByField, Stream
from kafka_ingest.streams.target import TargetTable

What = Literal["dead_letters", "unfed_column", "table", "empty", "unread_field", "table_column", "schema"]

_DRIFT: frozenset[What] = frozenset({"dead_letters", "unfed_column", "table", "empty"})


@dataclass(frozen=True, slots=True)
class SubjectVersion:
    """The newest version of a subject of the registry."""

    subject: str
    version: int
    schema: RegisteredSchema


@dataclass(frozen=True, slots=True)
class Drift:
    """One finding."""

    what: What
    where: str
    """The table, with the column or field where it is about one."""
    text: str

    @property
    def is_drift(self) -> bool:
        """Whether a person should see to it; else it is only news."""
        return self.what in _DRIFT


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What was found."""

    stream: str
    outcomes: Outcomes
    findings: tuple[Drift, ...]

    @property
    def has_drifted(self) -> bool:
        return any(finding.is_drift for finding in self.findings)


def drift_of(
    stream: Stream,
    sample: Sample,
    find_schemas: FindSchemas,
    *,
    sink: Sink | None,
    latest: Sequence[SubjectVersion] = (),
) -> DriftReport:
    """What has drifted. sink: None where no database is named, whose tables are then not looked at. latest: the newest version of
    each subject that the topics' values may be of.

    Raises what `find_schemas` and the sink raise, and StepError where a step of the stream's does.
    """
    parsed = run_sample(stream, sample.raw, find_schemas)
    outcomes = outcomes_of(parsed)
    findings: list[Drift] = []
    if len(sample.raw):
        findings += _dead_letters(outcomes)
        findings += _columns(stream, parsed)
        findings += _fields(stream, sample, parsed, find_schemas)
        findings += _schemas(sample, latest)
    else:
        findings.append(Drift("empty", stream.topic_text, f"{stream.topic_text} has no message to compare with"))
    if sink is not None:
        findings += _tables(stream, sink)
    return DriftReport(stream.name, outcomes, tuple(findings))


def _dead_letters(outcomes: Outcomes) -> list[Drift]:
    return [
        Drift(
            "dead_letters",
            reason.route or reason.stage,
            f"{reason.count:,} of {outcomes.messages:,} messages ({reason.count / outcomes.messages:.2%}) would be dead letters "
            f"({reason.stage}), first {reason.position}: {reason.error}",
        )
        for reason in outcomes.dead_letters
    ]


def _columns(stream: Stream, parsed: ParsedSlice) -> list[Drift]:
    """Columns that are NULL in all rows of the sample, and read a field."""
    found = []
    for target in stream.targets:
        rows = parsed.rows.get(target)
        if rows is None:
            continue
        for bound in target.read:
            if bool(pd.isna(rows[bound.name]).all()):
                found.append(
                    Drift(
                        "unfed_column",
                        f"{target.label}.{bound.name}",
                        f"none of {len(rows):,} messages has the field {bound.rule.origin}",
                    )
                )
    return found


def _fields(stream: Stream, sample: Sample, parsed: ParsedSlice, find_schemas: FindSchemas) -> list[Drift]:
    """Fields of the messages that became rows which no column reads."""
    try:
        documents = read_documents(sample.raw, find_schemas)
    except ConfigError:
        return []  # the dead letters say what the messages are
    documents = rows_of(documents, stream.envelope)
    found = []
    for target in stream.targets:
        rows = parsed.rows.get(target)
        numbers = [] if rows is None else rows.index.unique().tolist()
        messages = [each for number in numbers for each in _as_read(documents, number, target)]
        read = _read_paths(stream, target)
        counted = "messages" if target.explode is None else "elements"
        for field in fields_of(messages):
            if field.seen and not any(
                field.path[: len(path)] == path or path[: len(field.path)] == field.path for path in read
            ):
                share = (
                    f"{field.seen:,} of {len(messages):,} {counted} have the field {field.label}, which no column reads"
                )
                found.append(Drift("unread_field", f"{target.label}.{field.label}", share))
    return found


def _as_read(documents: Documents, number: int, target: TargetTable) -> list[Mapping[str, Any]]:
    """A message as the model's paths go into it: once, or once for each element of the array that is exploded."""
    if target.explode == ():
        return list(documents.arrays.get(number, ()))
    message = documents.messages.get(number)
    if message is None:
        return []
    if target.explode is None:
        return [message]
    array = value_at(message, target.explode)
    return [_with(message, target.explode, each) for each in array] if isinstance(array, list) else []


def _with(message: Mapping[str, Any], path: Path, element: Any) -> Mapping[str, Any]:
    """The message with an element in the place of its array; one that is no object is its field `value`."""
    if not path:
        return element if isinstance(element, dict) else {BARE_FIELD: element}
    return {**message, path[0]: _with(message[path[0]] if len(path) > 1 else {}, path[1:], element)}


def _read_paths(stream: Stream, target: TargetTable) -> set[Path]:
    paths = {bound.rule.path for bound in target.read}
    if isinstance(stream.route_by, RouteByField):
        paths.add(tuple(stream.route_by.path.split(".")))
    return paths


def _schemas(sample: Sample, latest: Sequence[SubjectVersion]) -> list[Drift]:
    named = ids_of(sample.raw.values)
    return [
        Drift(
            "schema",
            each.subject,
            f"version {each.version} of subject {each.subject} (schema {each.schema.id}) is newer than those that the messages "
            f"name ({', '.join(map(str, sorted(named)))})",
        )
        for each in latest
        if named and each.schema.id not in named and each.schema.id > max(named)
    ]


def _tables(stream: Stream, sink: Sink) -> list[Drift]:
    with sink.errors(f"comparing the tables of stream {stream.name}"), sink.engine.connect() as connection:
        compared = compare_tables(sink, connection, stream)
        own = _own_columns(connection, stream)
    found = [
        Drift("table", misfit.table.fullname, f"{misfit.problem}; to mend it: {misfit.statement}")
        for misfit in compared.refused
    ]
    found += [
        Drift("table_column", misfit.table.fullname, f"{misfit.problem}; the next run adds it")
        for misfit in compared.to_add
    ]
    for table, names in own.items():
        declared = {column.name.lower() for column in table.columns} | set(PLACE_COLUMNS)
        found += [
            Drift(
                "table_column",
                f"{table.fullname}.{name}",
                f"table {table.fullname} has a column {name} that the model does not",
            )
            for name in names
            if name.lower() not in declared
        ]
    return found


def _own_columns(connection: sa.Connection, stream: Stream) -> Mapping[sa.Table, list[str]]:
    """The columns that the existing ones of the stream's tables have."""
    inspector = sa.inspect(connection)
    return {
        table: [column["name"] for column in inspector.get_columns(table.name, schema=table.schema)]
        for table in tables_of(stream)
        if inspector.has_table(table.name, schema=table.schema)
    }
