"""The JSON schema of the Component's attributes, so that a checker of YAML names the line and the word that is wrong.

Of `anyOf` a checker can only say that no alternative fits. So the kind of value that stands there chooses the alternative, by
`if`, and the error is that of the alternative. A template (`{{ … }}`) may stand for any value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue

Schema = dict[str, Any]

_TEMPLATE: Schema = {"type": "string", "pattern": r"\{\{|\{%"}
_ABOUT = ("title", "description", "default", "examples")
_OF_NAMES = ("properties", "patternProperties")


def precise_schema(schema: Mapping[str, Any]) -> Schema:
    """The schema of an object, with the same meaning but for templates, and without references."""
    definitions = schema.get("$defs", {})
    return _below({name: value for name, value in schema.items() if name != "$defs"}, definitions)


def _below(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """With what stands below it made precise."""
    found: Schema = {}
    for word, value in schema.items():
        if word in _OF_NAMES:
            found[word] = {name: _value(each, definitions) for name, each in value.items()}
        elif word in ("items", "additionalProperties") and isinstance(value, Mapping):
            found[word] = _value(value, definitions)
        else:
            found[word] = value
    return found


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """What may stand in a place: a template, or what the schema says."""
    inner = _alternatives(schema, definitions)
    if not inner.keys() - {"type", *_ABOUT} and inner.get("type", "string") == "string":
        return inner  # any text, or anything: a template is one
    about = {word: inner.pop(word) for word in _ABOUT if word in inner}
    return about | {"if": _TEMPLATE, "else": inner}


def _alternatives(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """Without references, and with `if` in place of `anyOf`."""
    schema = _resolved(schema, definitions)
    given = schema.get("anyOf") or schema.get("oneOf")
    if given is None:
        return _below(schema, definitions)
    about = {word: value for word, value in schema.items() if word not in ("anyOf", "oneOf", "discriminator")}
    return about | _chosen([_alternatives(each, definitions) for each in given])


def _chosen(alternatives: Sequence[Schema]) -> Schema:
    texts = [each for each in alternatives if each.get("type") == "string"]
    nulls = [each for each in alternatives if each.get("type") == "null"]
    others = [each for each in alternatives if each not in (*texts, *nulls)]
    chosen = nulls[:1]
    if texts:  # where any text will do, what is said of others says nothing
        chosen.append(min(texts, key=len))
    if others:
        chosen.append(others[0] if len(others) == 1 else {"anyOf": others})
    *before, found = chosen
    for each in reversed(before):
        found = {"if": {"type": each["type"]}, "then": each, "else": found}
    return found


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    reference = schema.get("$ref")
    if reference is None:
        return dict(schema)
    more = {word: value for word, value in schema.items() if word != "$ref"}
    return _resolved(definitions[reference.removeprefix("#/$defs/")], definitions) | more


@cache
def with_precise_schema(model: type[BaseModel]) -> type[BaseModel]:
    """The same model, whose schema is precise wherever it is asked for."""
    schema = precise_schema(model.model_json_schema())

    class Precise(model):  # type: ignore[valid-type, misc]
        @classmethod
        def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
            return schema

    Precise.__name__ = Precise.__qualname__ = model.__name__
    return Precise
