"""Message types: a field of few different texts, in all messages, of which the other fields depend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_ingest.proposal.documents import Documents
from kafka_ingest.proposal.fields import OUTLIERS, Path
from kafka_ingest.proposal.names import snake_case

_NAMES = (
    "type",
    "event_type",
    "message_type",
    "msg_type",
    "record_type",
    "entity_type",
    "object_type",
    "event_name",
    "event",
    "kind",
    "event_kind",
    "action",
    "schema",
    "entity",
    "class",
)
_ENVELOPES = ("meta", "metadata", "header", "headers", "envelope", "event", "context")
_MOST_TYPES = 50
_MOST_CHARACTERS = 100
_ALIKE = 0.8
"""The part of their fields that two types have to share to be of one model."""
_LEAST_SEEN = 0.002
"""A text in fewer messages than this part is no type but a mistake."""


@dataclass(frozen=True, slots=True)
class Routing:
    """By which field messages are told apart."""

    path: Path | None
    """None: by topic, as there is one kind of message only."""
    groups: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]
    """Message types that share a model, and the numbers of their messages; the most frequent first."""
    left: Mapping[str, int]
    """Texts in that field that get no route, and how often they were seen."""


def routing_of(messages: Mapping[int, Mapping[str, Any]] | Mapping[int, list[dict[str, Any]]]) -> Routing:
    """How messages are routed; those that are arrays by their topic alone."""
    objects = {number: message for number, message in messages.items() if isinstance(message, Mapping)}
    return _by_field(objects) or Routing(None, (((), tuple(messages)),), {})


def by_topic(documents: Documents) -> Routing:
    """All messages as one kind."""
    return Routing(None, (((), tuple(documents.messages or documents.arrays)),), {})


def _by_field(messages: Mapping[int, Mapping[str, Any]]) -> Routing | None:
    for path in _candidates(messages):
        types: dict[str, list[int]] = {}
        for number, message in messages.items():
            found = _at(message, path)
            if type(found) is str and 0 < len(found) <= _MOST_CHARACTERS:
                types.setdefault(found, []).append(number)
        seen = sum(map(len, types.values()))
        least = max(1, int(len(messages) * _LEAST_SEEN))
        kept = {name: numbers for name, numbers in types.items() if len(numbers) >= least}
        is_few = 0 < len(kept) <= _MOST_TYPES and (len(kept) == 1 or 2 * len(kept) <= seen or len(kept) <= 3)
        if seen < len(messages) * (1 - OUTLIERS) or not is_few:
            continue
        groups = _groups(messages, kept, path)
        if len(groups) == 1 and len(kept) > 1:
            continue  # the types have the same fields: it is a column like any other
        return Routing(path, groups, {name: len(numbers) for name, numbers in types.items() if name not in kept})
    return None


def _candidates(messages: Mapping[int, Mapping[str, Any]]) -> list[Path]:
    """Paths of fields with a name that message types are known by, the likeliest first."""
    some = list(messages.values())[:100]
    names = {name for message in some for name in message}
    found: list[tuple[int, Path]] = []
    for name in sorted(names):
        own = snake_case(name)
        if own in _NAMES:
            found.append((_NAMES.index(own), (name,)))
        if own in _ENVELOPES:
            inner = {each for message in some if isinstance(message.get(name), dict) for each in message[name]}
            found += [
                (len(_NAMES) + _NAMES.index(snake_case(each)), (name, each))
                for each in sorted(inner)
                if snake_case(each) in _NAMES
            ]
    # A name such as `@type` or one with a dot is none that a route is declared by without surprises.
    return [path for _, path in sorted(found) if all(part.isidentifier() for part in path)]


def _at(message: Any, path: Sequence[str]) -> Any:
    for part in path:
        message = message.get(part) if isinstance(message, dict) else None
    return message


def _groups(
    messages: Mapping[int, Mapping[str, Any]], types: Mapping[str, Sequence[int]], path: Path
) -> tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]:
    """Types with the same fields together. Fields that hardly any message of a type has do not count."""
    shapes: dict[str, set[str]] = {}
    for name, numbers in types.items():
        counts = Counter(key for number in numbers for key in _keys(messages[number]))
        shapes[name] = {key for key, count in counts.items() if count > len(numbers) * OUTLIERS} - {".".join(path)}
    groups: list[tuple[list[str], set[str]]] = []
    for name in sorted(types, key=lambda each: (-len(types[each]), each)):
        shape = shapes[name]
        for names, common in groups:
            if len(shape & common) >= _ALIKE * len(shape | common):
                names.append(name)
                common |= shape
                break
        else:
            groups.append(([name], set(shape)))
    return tuple(
        (tuple(names), tuple(sorted(number for name in names for number in types[name]))) for names, _ in groups
    )


def _keys(message: Mapping[str, Any], above: str = "", levels: int = 3) -> list[str]:
    """Dotted paths of a message's fields, some levels deep."""
    found = []
    for key, value in message.items():
        found.append(f"{above}{key}")
        if isinstance(value, dict) and levels > 1:
            found += _keys(value, f"{above}{key}.", levels - 1)
    return found
