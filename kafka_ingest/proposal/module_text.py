"""The module of a stream as text: short, as `ruff format` writes it, with a comment where a person has to decide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from textwrap import wrap

from kafka_ingest.proposal.code import WIDTH, Code, call, comment, import_lines, mapping, plain_text, text_literal
from kafka_ingest.proposal.fields import Path
from kafka_ingest.proposal.keys import RowKey
from kafka_ingest.proposal.plan import Column, ModelPlan, StreamPlan

_OURS = "kafka_ingest"
_MOST_LEFT_OUT = 20


def module_text(plan: StreamPlan) -> str:
    """The source of the module."""
    needed: set[tuple[str, str]] = {(_OURS, "Stream"), ("sqlalchemy.orm", "Mapped")}
    body: list[str] = []
    for model in plan.models:
        body += ["", "", *_model(model, needed)]
    body += ["", "", *_notes(plan.notes), *_stream(plan, needed)]
    tables = " and ".join(f"`{model.table}`" for model in plan.models)
    title = f"Messages of the topic `{plan.topic}`, as rows of {tables}."
    head = _docstring([title, f"Written by `kafka-ingest new-stream`: {plan.described}."], indent=0)
    return "\n".join([*head, "", *import_lines(needed), *body]) + "\n"


def _docstring(paragraphs: Sequence[str], *, indent: int) -> list[str]:
    quoted = [plain_text(text).replace("\\", "\\\\").replace('"""', "'''") for text in paragraphs]
    if len(quoted) == 1 and indent + len(quoted[0]) + 6 <= WIDTH and not quoted[0].endswith('"'):
        return [f'{" " * indent}"""{quoted[0]}"""']
    pad = " " * indent
    lines: list[str] = []
    for at, text in enumerate(quoted):
        lines += ([""] if at else []) + [
            f"{pad}{line}" for line in wrap(text, WIDTH - indent - 4, break_on_hyphens=False)
        ]
    lines[0] = f'{pad}"""{lines[0].lstrip()}'
    return [*lines, f'{pad}"""']


def _notes(notes: Iterable[str]) -> list[str]:
    return [line for note in notes for line in comment(note, indent=0)]


def _model(model: ModelPlan, needed: set[tuple[str, str]]) -> list[str]:
    base = "UpsertModel" if model.is_upsert else "AppendModel"
    needed.add((_OURS, base))
    lines = [f"class {model.class_name}({base}):", *_docstring([_described(model)], indent=4), ""]
    lines.append(f"    __tablename__ = {text_literal(model.table)}")
    if model.schema is not None:
        lines.append(f'    __table_args__ = {{"schema": {text_literal(model.schema)}}}')
    if model.explode is not None:
        lines.append(f"    explode = {text_literal(model.explode)}  # the array whose elements are rows")
    if model.deletes_by_value:
        lines.append("    deletes = True")
    if model.deletes:
        lines.append("    delete_on_tombstone = True  # messages without a value were seen")
        if isinstance(model.key, RowKey) and model.key.paths and model.key.is_text:
            lines.append('    tombstone_key = "text"')
    lines.append("")
    for column in model.columns:
        lines += _column(column, needed)
    for each in model.left_out[:_MOST_LEFT_OUT]:
        lines += comment(f"Not here: {json.dumps(each.name, ensure_ascii=False)}, {each.reason}.")
    if len(model.left_out) > _MOST_LEFT_OUT:
        lines += comment(f"Not here, either: {len(model.left_out) - _MOST_LEFT_OUT} more fields, as the last one.")
    while lines[-1] == "":
        lines.pop()
    return lines


def _described(model: ModelPlan) -> str:
    if not model.is_upsert:
        what = "message" if model.explode is None else "element of a message"
        return f"Each {what} is a row: {model.key.evidence}."
    keys = ", ".join(column.name for column in model.columns if column.is_key)
    return f"A row for each {keys}, that of its last message: {model.key.evidence}."


def _column(column: Column, needed: set[tuple[str, str]]) -> list[str]:
    kind = column.type
    used: list[Code] = [kind.python, *(value for _, value in kind.options)]
    arguments: list[str] = []
    if kind.type is not None:
        arguments.append(kind.type.text)
        used.append(kind.type)
    if column.name != column.attribute:
        arguments.append(f"name={text_literal(column.name)}")
    if column.is_key:
        arguments.append("primary_key=True")
    if column.source is not None:
        arguments.append(f"source={column.source.text}")
        used.append(column.source)
    elif column.path is not None and column.path != (column.name,):
        arguments.append(f"path={path_literal(column.path)}")
    arguments += [f"{name}={value.text}" for name, value in kind.options]
    if column.doc is not None:
        arguments.append(f"comment={text_literal(column.doc)}")
    function = "date_field" if kind.is_date else "field"
    needed.add((_OURS, function))
    for each in used:
        needed |= each.imports
    optional = " | None" if column.is_nullable else ""
    lines = call(f"{column.attribute}: Mapped[{kind.python.text}{optional}] = {function}", arguments, indent=4)
    return [*(line for note in column.all_notes for line in comment(note)), *_with_presence(lines, column.presence)]


def _with_presence(lines: list[str], presence: str | None) -> list[str]:
    """In how many messages the field has a value: behind the line where there is room, else above it."""
    if presence is None:
        return lines
    if len(lines) == 1 and len(lines[0]) + len(presence) + 4 <= WIDTH:
        return [f"{lines[0]}  # {presence}"]
    return [*comment(presence), *lines]


def path_literal(path: Path) -> str:
    """The path as the argument of a field: dotted, or its parts where a name has a dot itself or is empty."""
    if all(part and "." not in part for part in path):
        return text_literal(".".join(path))
    return f"[{', '.join(map(text_literal, path))}]"


def _stream(plan: StreamPlan, needed: set[tuple[str, str]]) -> list[str]:
    lines = ["STREAM = Stream(", f"    name={text_literal(plan.name)},", f"    topics={text_literal(plan.topic)},"]
    if plan.value_format is not None:
        needed |= plan.value_format.imports
        lines.append(f"    value_format={plan.value_format.text},")
    for name, value in (("key_format", plan.key_format), ("envelope", plan.envelope)):
        if value is not None:
            needed |= value.imports
            lines.append(f"    {name}={value.text},")
    if plan.route_path is None:
        needed.add((_OURS, "RouteByTopic"))
        lines.append("    route_by=RouteByTopic(),")
        routes = {plan.topic: plan.models[0].class_name}
    else:
        if plan.route_path != ("type",):
            needed.add((_OURS, "RouteByField"))
            lines.append(f"    route_by=RouteByField({text_literal('.'.join(plan.route_path))}),")
        routes = {name: model.class_name for model in plan.models for name in model.types}
    return [*lines, *mapping(routes, indent=4, head="routes=", tail=","), ")"]
