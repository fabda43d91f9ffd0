"""The Component's attributes as YAML has them, made what `build_definitions` takes; errors show the lines they are about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, TypeVar

import dagster as dg
from dagster.components.resolved.errors import ResolutionException
from pydantic import BaseModel, Field, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue

from kafka_ingest.errors import ConfigError, DeclarationError
from kafka_ingest.orchestration.resources import (
    DatabaseResource,
    KafkaResource,
    SchemaRegistryResource,
    check_given,
    given_values,
)
from kafka_ingest.streams.declaration import StreamDeclaration, declared_stream
from kafka_ingest.streams.stream import Stream

_Resource = TypeVar("_Resource", KafkaResource, DatabaseResource, SchemaRegistryResource)
_VARIABLE = re.compile(r"""\{\{\s*env(?:\.(\w+)|\(\s*(?:'(\w+)'|"(\w+)")\s*\))\s*\}\}""")
_TEMPLATE = re.compile(r"\{\{|\{%")
# How the resources' descriptions name a variable, and how YAML does.
_IN_PYTHON, _IN_YAML = "dg.EnvVar('NAME')", "'{{ env.NAME }}'"


class _StreamSchema:
    """In the schema: the Python path of a stream, or a declaration."""

    def __get_pydantic_json_schema__(self, _core: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(StreamDeclaration.__pydantic_core_schema__)]}


GivenStreams = list[Annotated[Any, _StreamSchema()]]
"""What may be written for `streams`."""


def _given_fields(resource: type[_Resource]) -> type[BaseModel]:
    """What may be written for a resource: its fields."""
    fields: dict[str, Any] = {}
    for name, field in resource.model_fields.items():
        about = (field.description or "").replace(_IN_PYTHON, _IN_YAML)
        fields[name] = (field.annotation, Field(field.default, description=about))
    return create_model(resource.__name__, __base__=dg.Model, __doc__=resource.__doc__, **fields)


def resource_resolver(resource: type[_Resource], description: str) -> dg.Resolver:
    """Makes the resource of the fields that are written for it."""
    return dg.Resolver(
        partial(_resource_of, resource), model_field_type=_given_fields(resource), description=description
    )


def streams_of(context: dg.ResolutionContext, given: Sequence[object]) -> Sequence[Stream]:
    """The streams that are declared, or named by Python paths. Those that begin with a dot are in the component's folder."""
    load = dg.ComponentLoadContext.from_resolution_context(context)
    package = load.defs_relative_module_name(load.path)
    found = []
    for at, each in enumerate(given):
        rendered = _rendered(context.at_path(at), each)
        try:
            found.append(
                rendered
                if isinstance(rendered, Stream)  # what a template gave
                else declared_stream(rendered, package=package, place=("streams", at))
            )
        except DeclarationError as error:
            raise _located(context, error.place[1:], error, with_source=True) from None
    return found


def _resource_of(kind: type[_Resource], context: dg.ResolutionContext, given: BaseModel) -> _Resource:
    """The resource with these fields. A value that is `{{ env.NAME }}` and nothing else becomes `dg.EnvVar("NAME")`: the process
    that needs it reads it, and no page of Dagster's shows it."""
    fields = {name: getattr(given, name) for name in type(given).model_fields if name in given.model_fields_set}
    resource = kind(**{name: _text(context.at_path(name), value) for name, value in fields.items()})
    try:
        check_given(resource)
    except ConfigError as error:
        # A field, a property, or the variable that one of them is to come from.
        about: dict[str | None, tuple[str, ...]] = {}
        for name, value in given_values(resource).items():
            about[name] = (name,) if name in fields else ("properties", name)
            about[value.env_var_name if isinstance(value, dg.EnvVar) else name] = about[name]
        # Without the lines, which may hold the secret.
        raise _located(context, about.get(error.setting, ()), error, with_source=False) from None
    return resource


def _text(context: dg.ResolutionContext, given: Any) -> Any:
    if isinstance(given, Mapping):
        return {name: _text(context.at_path(name), value) for name, value in given.items()}
    variable = _VARIABLE.fullmatch(given.strip()) if isinstance(given, str) else None
    if variable is not None:
        return dg.EnvVar(next(filter(None, variable.groups())))
    rendered = _rendered(context, given)
    return str(rendered) if isinstance(rendered, int | float) else rendered  # Jinja makes numbers of what looks so


def _rendered(context: dg.ResolutionContext, given: object) -> object:
    """With its templates filled in. Other texts stay as they are: rendered, `"0123"` and `"1"` would come out as numbers."""
    if isinstance(given, Mapping):
        return {name: _rendered(context.at_path(name), value) for name, value in given.items()}
    if isinstance(given, list):
        return [_rendered(context.at_path(at), value) for at, value in enumerate(given)]
    return context.resolve_value(given) if isinstance(given, str) and _TEMPLATE.search(given) else given


def _located(
    context: dg.ResolutionContext, place: Sequence[str | int], error: ConfigError, *, with_source: bool
) -> ResolutionException:
    """The error as Dagster shows those of YAML: with the file, the line and, where wanted, the lines about it."""
    tree = context.source_position_tree
    if tree is None:
        return ResolutionException(str(error))
    source = tree.source_error([*context.path, *place], str(error).partition("\n")[0], value_error=True)
    lines = f"{source.snippet}\n" if with_source else ""
    return ResolutionException(f"{source.file_name}:{source.start_line_no} - {source.location}\n{lines}{error}")
