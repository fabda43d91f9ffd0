"""What pydantic says of a declaration, as sentences with the place and what may stand there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kafka_ingest.errors import DeclarationError
from kafka_ingest.streams.declaration.place import Place, place_text
from kafka_ingest.streams.declaration.vocabulary import (
    SHAPE,
    BatchDeclaration,
    CastDeclaration,
    ColumnDeclaration,
    Declaration,
    DurationDeclaration,
    RouteByDeclaration,
    SourceDeclaration,
    StreamDeclaration,
    TableDeclaration,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_WANTED = {
    "string_type": "a text",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "is_instance_of": "a text",
    "time_delta_type": "a length of time such as {hours: 6}",
    "datetime_type": "a time with a zone: '2026-01-01T00:00:00Z'",
}
_SHOWN = 60
"""Characters of a value in a message."""


def declaration_error(error: ValidationError, place: Place) -> DeclarationError:
    """All that is wrong, a line each; the error's place is that of the first."""
    problems = [_problem(each) for each in error.errors()]
    text = "\n".join(f"{place_text((*place, *below))} {what}" for below, what in problems)
    first = (*place, *problems[0][0])
    return DeclarationError(text, place=first, setting=place_text(first))


def _problem(error: ErrorDetails) -> tuple[Place, str]:
    below = tuple(part for part in error["loc"] if not str(part).startswith(SHAPE))
    if below[-1:] == ("[key]",):
        return below[:-2], "has a key that is no text: write it in quotes"
    return below, _what(error, below)


def _what(error: ErrorDetails, below: Place) -> str:
    given, kind = error["input"], error["type"]
    context: Mapping[str, Any] = error.get("ctx", {})
    match kind:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _unknown(str(below[-1]), _declaration_at(below[:-1]))
        case "literal_error":
            return f"is {_shown(given)}, not {context['expected']}"
        case "value_error":
            return str(context["error"])
    if kind in _WANTED:
        either = (
            "a text or " if not below or below[-2:-1] == ("columns",) or str(error["loc"][-1]).startswith(SHAPE) else ""
        )
        return f"is {_shown(given)}, not {either}{_WANTED[kind]}"
    return f"is {_shown(given)}: {error['msg']}"


def _unknown(name: str, declaration: type[Declaration]) -> str:
    known = [field.alias or word for word, field in declaration.model_fields.items()]
    near = difflib.get_close_matches(name, known, n=1)
    return f"is not known{f' (is {near[0]} meant?)' if near else ''}; there may be {', '.join(known)}"


def _declaration_at(place: Place) -> type[Declaration]:
    match place:
        case ("batch",):
            return BatchDeclaration
        case ("route_by",):
            return RouteByDeclaration
        case ("fresh_warn" | "fresh_fail",):
            return DurationDeclaration
        case ("routes", _):
            return TableDeclaration
        case ("routes", _, "columns", _):
            return ColumnDeclaration
        case ("routes", _, "columns", _, "source"):
            return SourceDeclaration
        case ("routes", _, "columns", _, "cast"):
            return CastDeclaration
    return StreamDeclaration


def _shown(value: object) -> str:
    """As YAML has it, not Python."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return repr(value)[:_SHOWN]
