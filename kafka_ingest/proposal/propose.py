"""A stream proposed for a topic: the plan, its module's text, and what the module makes of the sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from kafka_ingest.errors import ConfigError
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.proposal.code import Code
from kafka_ingest.proposal.columns import Group, columns_of
from kafka_ingest.proposal.documents import FORMATS, Documents, read_documents
from kafka_ingest.proposal.envelopes import recognised, rows_of
from kafka_ingest.proposal.existing import ExistingTable, columns_for_table, match_count
from kafka_ingest.proposal.fields import fields_of
from kafka_ingest.proposal.keys import RowKey
from kafka_ingest.proposal.module_text import module_text
from kafka_ingest.proposal.names import class_name, table_name
from kafka_ingest.proposal.plan import ModelPlan, StreamPlan
from kafka_ingest.proposal.routes import Routing, by_topic, routing_of
from kafka_ingest.proposal.sampling import Sample
from kafka_ingest.proposal.schemas import Declared, declared_fields
from kafka_ingest.proposal.trial import Outcomes, check_free, declared_module, first_rows, outcomes_of, run_sample
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES, RegisteredSchema
from kafka_ingest.streams.model import WHOLE_MESSAGE
from kafka_ingest.streams.stream import Stream

SHOWN_ROWS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a stream is proposed for."""

    name: str
    topic: str
    table: ExistingTable | None = None
    """Whose columns are matched to the messages, in place of a table of our own making."""
    schema: RegisteredSchema | None = None
    """Whose fields are the columns, in place of the schema that the messages name."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed."""

    plan: StreamPlan
    text: str
    """The module."""
    outcomes: Outcomes
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    """The first rows of each table."""


@contextmanager
def proposed(request: Request, sample: Sample, find_schemas: FindSchemas) -> Iterator[tuple[Proposal, Stream]]:
    """The proposal, and the stream that its module declares while it is looked at. Writes nothing.

    Raises ConfigError where nothing can be proposed: no messages and neither schema nor table, messages that cannot be read, a
    name that is taken; and what `find_schemas` raises.
    """
    plan = _plan(request, sample, find_schemas)
    check_free(request.name, [model.table for model in plan.models])
    text = module_text(plan)
    with declared_module(text) as stream:
        parsed = run_sample(stream, sample.raw, find_schemas)
        rows = {target.label: first_rows(parsed, target, SHOWN_ROWS) for target in stream.targets}
        yield Proposal(plan, text, outcomes_of(parsed), rows), stream


def _plan(request: Request, sample: Sample, find_schemas: FindSchemas) -> StreamPlan:
    documents = read_documents(sample.raw, find_schemas)
    if request.schema is not None and not documents.messages:
        documents = replace(documents, format_name=FORMATS[request.schema.kind], schema=request.schema)
    declared = declared_fields(request.schema or documents.schema, documents.schema_place)
    if not documents.messages and not documents.arrays and not declared:
        raise ConfigError(_no_messages(request, sample), setting="topic")
    envelope = recognised(documents.messages, sample.raw)
    if envelope is not None:
        documents, declared = rows_of(documents, envelope.envelope), envelope.declared(declared)
    judged = None if envelope is None else envelope.envelope
    # The row's own fields say nothing about what a message with an envelope is.
    routing = routing_of(documents.messages or documents.arrays) if judged is None else by_topic(documents)
    classes: set[str] = set()
    tables: set[str] = set() if request.table is None else {request.table.name.lower()}
    groups = [_group(request, sample, documents, routing, at) for at in range(len(routing.groups))]
    explode = WHOLE_MESSAGE if documents.arrays else None
    chosen = _group_of_table(request.table, groups)
    models = []
    for at, ((types, _), group) in enumerate(zip(routing.groups, groups, strict=True)):
        label = types[0] if types and len(routing.groups) > 1 else None
        own = _declared_for(declared, group) if len(groups) > 1 else declared
        name = class_name(label or request.name, classes)
        if request.table is not None and at == chosen:
            models.append(_table_model(request.table, name, types, group))
        else:
            models.append(_model(table_name(request.name, label, tables), name, types, group, own))
    return StreamPlan(
        name=request.name,
        topic=request.topic,
        value_format=documents.value_format,
        route_path=routing.path,
        models=_one_deletes([replace(model, explode=explode) for model in models])
        if judged is None
        else [
            replace(model, explode=explode, deletes=False, deletes_by_value=judged.deletes and model.is_upsert)
            for model in models
        ],
        envelope=None if envelope is None else envelope.code,
        key_format=_key_format(sample, documents),
        described=_described(request, sample, documents),
        notes=(*documents.notes, *([envelope.sentence] if envelope else []), *_notes(routing, models, sample)),
    )


def _group(request: Request, sample: Sample, documents: Documents, routing: Routing, at: int) -> Group:
    types, numbers = routing.groups[at]
    raw = sample.raw
    if documents.arrays:  # the key is that of all of a message's elements, and says nothing of one
        messages: list[Mapping[str, Any]] = [each for number in numbers for each in documents.arrays[number]]
        keys: list[bytes | None] = [None] * len(messages)
    else:
        messages = [documents.messages[number] for number in numbers]
        keys = [raw.keys[number] for number in numbers]
    return Group(
        messages=messages,
        keys=keys,
        tombstones=sum(value is None and key is not None for key, value in zip(raw.keys, raw.values, strict=True)),
        names=(request.name, request.topic.rpartition(".")[2], *types),
        ignored=frozenset([routing.path] if routing.path is not None and len(types) == 1 else []),
    )


def _key_format(sample: Sample, documents: Documents) -> Code | None:
    """How the messages' keys are written, where it is as their values are."""
    keys = [key for key in sample.raw.keys if key is not None]
    if documents.format_name == "ConnectJson":
        return documents.value_format if keys and all(b'"payload"' in key for key in keys) else None
    is_registered = bool(keys) and all(key[:1] == b"\0" and len(key) > PREFIX_BYTES for key in keys)
    return documents.value_format if is_registered and documents.schema_ids else None


def _declared_for(declared: Sequence[Declared], group: Group) -> list[Declared]:
    """Of one schema for several message types, the fields that messages of one type have."""
    if not declared:
        return []
    seen = {
        field.path
        for field in fields_of(group.messages, [each.path for each in declared if each.is_whole])
        if field.seen
    }
    return [each for each in declared if each.path in seen and each.path not in group.ignored]


def _model(table: str, name: str, types: tuple[str, ...], group: Group, declared: Sequence[Declared]) -> ModelPlan:
    columns, key, left_out = columns_of(group, declared)
    if not columns and group.ignored:  # the message type is all that there is
        columns, key, left_out = columns_of(replace(group, ignored=frozenset()), declared)
    if not columns:
        raise ConfigError(
            f"the messages{f' of type {types[0]!r}' if types else ''} have no field with a value, so no column can be declared"
        )
    return ModelPlan(
        class_name=name,
        table=table,
        types=types,
        columns=columns,
        key=key,
        messages=len(group.messages),
        left_out=left_out,
        deletes=isinstance(key, RowKey) and key.deletes,
    )


def _table_model(table: ExistingTable, name: str, types: tuple[str, ...], group: Group) -> ModelPlan:
    fields = [field for field in fields_of(group.messages) if field.path not in group.ignored]
    columns, key, left_out = columns_for_table(table, fields, len(group.messages))
    if not any(column.path for column in columns):
        raise ConfigError(
            f"no column of table {table.name!r} ({', '.join(each.name for each in table.own)}) is called like a field of the "
            f"messages ({', '.join(field.label for field in fields[:20])})",
            setting="table",
        )
    return ModelPlan(
        class_name=name,
        table=table.name,
        schema=table.schema,
        types=types,
        columns=columns,
        key=key,
        messages=len(group.messages),
        left_out=left_out,
    )


def _group_of_table(table: ExistingTable | None, groups: Sequence[Group]) -> int:
    """The message type whose fields are most of the table's columns."""
    if table is None:
        return -1
    counts = [match_count(table, fields_of(group.messages)) for group in groups]
    return counts.index(max(counts))


def _one_deletes(models: Sequence[ModelPlan]) -> list[ModelPlan]:
    """A tombstone has no field to be routed by: one model at most deletes by them."""
    first = next((at for at, model in enumerate(models) if model.deletes), None)
    return [replace(model, deletes=model.deletes and at == first) for at, model in enumerate(models)]


def _described(request: Request, sample: Sample, documents: Documents) -> str:
    messages = f"from {len(sample.raw):,} messages, of a log of {sample.offsets:,} offsets"
    parts = [messages if len(sample.raw) else "without messages"]
    schema = request.schema or documents.schema
    if isinstance(schema, RegisteredSchema):
        parts.append(f"schema {schema.id} of the registry")
    elif schema is not None:
        parts.append("the schema in them")
    if request.table is not None:
        parts.append(f"the table {request.table.name}")
    return ", ".join(parts)


def _notes(routing: Routing, models: Sequence[ModelPlan], sample: Sample) -> Iterator[str]:
    if routing.left:
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in list(routing.left.items())[:5])
        yield f"no route for types that hardly occur, whose messages are dead letters: {shown}"
    if sample.cut_by is not None:
        yield f"the sample ended at {len(sample.raw):,} messages, as {sample.cut_by}"


def _no_messages(request: Request, sample: Sample) -> str:
    if not sample.offsets:
        return (
            f"topic {request.topic!r} is empty, so nothing says what its messages are; send some, or name the registry's schema "
            "with --subject"
        )
    return (
        f"topic {request.topic!r} has no message with a value among the {len(sample.raw):,} that were read of {sample.offsets:,} "
        "offsets; raise --sample, or name the registry's schema with --subject"
    )
