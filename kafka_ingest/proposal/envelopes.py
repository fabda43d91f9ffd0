"""Envelopes of change data capture and events, recognised by the fields that each has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka_ingest.proposal.code import Code
from kafka_ingest.proposal.documents import Documents
from kafka_ingest.proposal.schemas import Declared
from kafka_ingest.slices import RawSlice
from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.streams.envelopes.canal import Canal
from kafka_ingest.streams.envelopes.cloudevents import CloudEvents
from kafka_ingest.streams.envelopes.debezium import Debezium
from kafka_ingest.streams.envelopes.maxwell import Maxwell

_ALMOST_ALL = 0.9
_DEBEZIUM_OPERATIONS = {"c", "u", "d", "r", "t", "m"}
_MAXWELL_TYPES = {
    "insert",
    "update",
    "delete",
    "bootstrap-insert",
    "bootstrap-start",
    "bootstrap-complete",
    "table-create",
}


@dataclass(frozen=True, slots=True)
class Recognised:
    """What stands around the rows."""

    sentence: str
    envelope: MessageEnvelope | None = None
    """None where there is none to declare."""

    @property
    def code(self) -> Code | None:
        """The argument of the stream."""
        if self.envelope is None:
            return None
        name = type(self.envelope).__name__
        return Code(f"{name}()", frozenset({("kafka_ingest", name)}))

    def declared(self, fields: Sequence[Declared]) -> list[Declared]:
        """What a schema of the whole message declares of its row."""
        row = () if self.envelope is None else self.envelope.row
        depth = len(row)
        return [
            replace(each, path=each.path[depth:]) for each in fields if each.path[:depth] == row and each.path[depth:]
        ]


def rows_of(documents: Documents, envelope: MessageEnvelope | None) -> Documents:
    """The documents by their rows; those without one, such as deletes, are left out."""
    if envelope is None:
        return documents
    found = {number: _at(message, envelope.row) for number, message in documents.messages.items()}
    if envelope.is_array:
        arrays = {
            n: [each for each in row if isinstance(each, dict)] for n, row in found.items() if isinstance(row, list)
        }
        return replace(documents, messages={}, arrays=arrays)
    return replace(documents, messages={n: row for n, row in found.items() if isinstance(row, dict)})


def _at(message: Any, path: Sequence[str]) -> Any:
    for part in path:
        message = message.get(part) if isinstance(message, dict) else None
    return message


def recognised(messages: Mapping[int, Mapping[str, Any]], raw: RawSlice) -> Recognised | None:
    """What the messages are; None where they are no envelopes."""
    if not messages:
        return None
    for sentence, envelope, is_so in _ENVELOPES:
        if sum(map(is_so, messages.values())) >= len(messages) * _ALMOST_ALL:
            return Recognised(sentence, envelope)
    binary = sum(any(name == "ce_specversion" for name, _ in raw.headers[number] or ()) for number in messages)
    if binary >= len(messages) * _ALMOST_ALL:
        return Recognised(
            "CloudEvents in binary mode: the attributes are headers, and source=Header('ce_type') reads one"
        )
    return None


def _is_debezium(message: Mapping[str, Any]) -> bool:
    return (
        message.get("op") in _DEBEZIUM_OPERATIONS
        and isinstance(message.get("source"), dict)
        and ("after" in message or "before" in message)
    )


def _is_maxwell(message: Mapping[str, Any]) -> bool:
    return {"database", "table", "type", "ts"} <= message.keys() and message.get("type") in _MAXWELL_TYPES


def _is_canal(message: Mapping[str, Any]) -> bool:
    return {"database", "table", "type", "es", "isDdl"} <= message.keys()


def _is_cloud_event(message: Mapping[str, Any]) -> bool:
    return {"specversion", "id", "source", "type"} <= message.keys()


_ENVELOPES: tuple[tuple[str, MessageEnvelope, Callable[[Mapping[str, Any]], bool]], ...] = (
    ("change events of Debezium: `op` says what was done to the row", Debezium(), _is_debezium),
    ("change events of Maxwell: `type` says what was done to the row", Maxwell(), _is_maxwell),
    ("change events of Canal: the rows are an array, all of their values texts", Canal(), _is_canal),
    ("CloudEvents: the row is `data`; source=Envelope('time') reads an attribute", CloudEvents(), _is_cloud_event),
)
