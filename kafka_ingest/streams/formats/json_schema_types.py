"""What a JSON Schema says of a field: its types, and Kafka Connect's, which Confluent's JsonSchemaConverter writes into it.

The converter puts a Connect schema's name into `title`, its type into `connect.type` and its parameters into
`connect.parameters`; a field that may be null is a `oneOf` with the type null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kafka_ingest.streams.formats.arrays import WHOLE
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Path
from kafka_ingest.streams.formats.schemas import RegisteredSchema

_COMBINED = ("oneOf", "anyOf", "allOf")
_MOST_STEPS = 1_000
"""Schemas that are looked at for one field: references may go in a circle."""


@dataclass(frozen=True, slots=True)
class _Document:
    """A schema as a whole, in which its references are looked up."""

    root: Any
    others: Mapping[str, _Document] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Node:
    """A schema inside a document."""

    value: Any
    document: _Document


class JsonSchemaTypes:
    """Of one registered schema. Raises BadMessage where it is no JSON."""

    def __init__(self, schema: RegisteredSchema) -> None:
        document = _document(schema)
        self._root = _Node(document.root, document)

    def kinds(self, path: Path) -> list[Mapping[str, Any]] | None:
        """What the schema allows at a path but null: JSON Schema's own words for each alternative. None where it names no such
        field."""
        found = self._at(path)
        return [node.value for node in found if node.value.get("type") != "null"] if found else None

    def connect_schema(self, path: Path) -> Mapping[str, Any]:
        """The field's type in the words of Connect's own schemas; empty where the alternatives differ, or it is unknown."""
        found = list(map(connect_schema_of, self.kinds(path) or ()))
        return found[0] if found and all(each == found[0] for each in found) else {}

    def _at(self, path: Path) -> list[_Node]:
        """WHOLE in the path stands for the elements of an array."""
        nodes = list(_alternatives(self._root))
        for part in path:
            nodes = [found for node in nodes for below in _below(node, part) for found in _alternatives(below)]
        return nodes


def connect_schema_of(kind: Mapping[str, Any]) -> Mapping[str, Any]:
    """An alternative in the words of Connect's own schemas."""
    is_struct = isinstance(kind.get("properties"), Mapping)
    return {
        "type": "struct" if is_struct else kind.get("connect.type"),
        "name": kind.get("title"),
        "parameters": kind.get("connect.parameters"),
    }


def _document(schema: RegisteredSchema) -> _Document:
    try:
        root = msgspec.json.decode(schema.text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BadMessage(f"schema {schema.id} of the registry is no JSON Schema: {error}") from None
    return _Document(root, {name: _document(each) for name, each in schema.references})


def _alternatives(node: _Node) -> Iterator[_Node]:
    """The schemas that a value may be of, without references and combinations of others."""
    waiting = [node]
    for _ in range(_MOST_STEPS):
        if not waiting:
            return
        each = waiting.pop(0)
        if each.value is True:  # anything
            yield _Node({}, each.document)
            continue
        if not isinstance(each.value, Mapping):
            continue
        reference = each.value.get("$ref")
        if isinstance(reference, str):
            found = _referred(each.document, reference)
            waiting += [] if found is None else [found]
            continue
        parts = [part for word in _COMBINED for part in _listed(each.value.get(word))]
        waiting += [_Node(part, each.document) for part in parts]
        if not parts or "properties" in each.value:
            yield each


def _below(node: _Node, name: str) -> Iterator[_Node]:
    if name == WHOLE:
        if "items" in node.value:
            yield _Node(node.value["items"], node.document)
        return
    properties, more = node.value.get("properties"), node.value.get("additionalProperties")
    if isinstance(properties, Mapping) and name in properties:
        yield _Node(properties[name], node.document)
    elif isinstance(more, Mapping):
        yield _Node(more, node.document)


def _referred(document: _Document, reference: str) -> _Node | None:
    """What a reference names: a place in this schema (`#/definitions/a`), or in one that it refers to in the registry."""
    name, _, place = reference.partition("#")
    if name:
        if name not in document.others:
            return None
        document = document.others[name]
    value = document.root
    for part in place.strip("/").split("/") if place.strip("/") else ():
        step = part.replace("~1", "/").replace("~0", "~")
        value = value.get(step) if isinstance(value, Mapping) else None
    return _Node(value, document)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
