"""A stream of what a declaration says, or of the Python path that stands in its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from pydantic import ValidationError

from kafka_ingest.dates import DateRule
from kafka_ingest.streams.declaration.models import declared_model
from kafka_ingest.streams.declaration.place import Place, said_of, wrong
from kafka_ingest.streams.declaration.problems import declaration_error
from kafka_ingest.streams.declaration.python_path import named_object
from kafka_ingest.streams.declaration.vocabulary import RouteByDeclaration, StreamDeclaration
from kafka_ingest.streams.envelopes.base import MessageEnvelope
from kafka_ingest.streams.envelopes.canal import Canal
from kafka_ingest.streams.envelopes.cloudevents import CloudEvents
from kafka_ingest.streams.envelopes.debezium import Debezium
from kafka_ingest.streams.envelopes.maxwell import Maxwell
from kafka_ingest.streams.formats.avro import Avro
from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.protobuf import Protobuf
from kafka_ingest.streams.formats.text import Bytes, Text
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.step import Step
from kafka_ingest.streams.stream import BatchPolicy, RouteBy, RouteByField, RouteByHeader, RouteByTopic, Stream


def declared_stream(given: object, *, package: str | None = None, place: Place = ()) -> Stream:
    """The stream that `given` declares: a mapping with the words of `StreamDeclaration`, or the Python path of a `STREAM`.

    package: the package that Python paths with a dot before them are relative to.
    place: where `given` stands in what a person wrote, for errors.

    Imports the modules that paths name, and connects to nothing. Raises DeclarationError: where, what, and what may stand there.
    """
    if isinstance(given, str):
        stream = named_object(given, package, place)
        if not isinstance(stream, Stream):
            raise wrong(place, f"is {given!r}, which is {_kind(stream)}, not a Stream")
        return stream
    try:
        declaration = StreamDeclaration.model_validate(given)
    except ValidationError as error:
        raise declaration_error(error, place) from None
    return _stream_of(declaration, package, place)


_FORMATS: Mapping[str, type[Format]] = {
    "json": Json,
    "json_schema": JsonSchema,
    "avro": Avro,
    "protobuf": Protobuf,
    "connect_json": ConnectJson,
    "text": Text,
    "bytes": Bytes,
}


_ENVELOPES: Mapping[str, type[MessageEnvelope]] = {
    "debezium": Debezium,
    "maxwell": Maxwell,
    "canal": Canal,
    "cloudevents": CloudEvents,
}


def _stream_of(declaration: StreamDeclaration, package: str | None, place: Place) -> Stream:
    arguments = declaration.given()
    if not isinstance(declaration.topics, str):
        arguments["topics"] = tuple(declaration.topics)
    if "route_by" in arguments:
        arguments["route_by"] = _route_by(declaration.route_by, (*place, "route_by"))
    for name in ("value_format", "key_format"):
        if name in arguments:
            arguments[name] = _FORMATS[arguments[name]]()
    if declaration.envelope is not None:
        arguments["envelope"] = _ENVELOPES[declaration.envelope]()
    if "batch" in arguments:
        with said_of((*place, "batch"), BatchPolicy.__dataclass_fields__):
            arguments["batch"] = BatchPolicy(**declaration.batch.given())
    if declaration.steps is not None:
        arguments["steps"] = tuple(
            _step(path, package, (*place, "steps", at)) for at, path in enumerate(declaration.steps)
        )
    with said_of(place, StreamDeclaration.model_fields):
        DateRule(timezone=declaration.timezone)  # before a table is blamed for it
        arguments["routes"] = _routes(declaration, package, (*place, "routes"))
        return Stream(**arguments)


def _routes(declaration: StreamDeclaration, package: str | None, place: Place) -> Mapping[str, type[Model]]:
    """Message type → model. One model for types with equal declarations (YAML's `&name` and `*name`): they share the table."""
    routes: dict[str, type[Model]] = {}
    first: dict[tuple[str | None, str], str] = {}
    for name, route in declaration.routes.items():
        if isinstance(route, str):
            routes[name] = _model(route, package, (*place, name))
            continue
        before = first.setdefault((route.schema_, route.table), name)
        if before == name:
            routes[name] = declared_model(route, declaration.timezone, package, (*place, name))
        elif declaration.routes[before] == route:
            routes[name] = routes[before]
        else:
            raise wrong(
                (*place, name, "table"),
                f"is {route.table!r}, as that of route {before!r} is, and the two are declared differently; give one of them a "
                "table of its own, or declare both alike",
            )
    return routes


def _model(path: str, package: str | None, place: Place) -> type[Model]:
    model = named_object(path, package, place)
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise wrong(place, f"is {path!r}, which is {_kind(model)}, not an AppendModel or UpsertModel")
    return model


def _step(path: str, package: str | None, place: Place) -> Step:
    step = named_object(path, package, place)
    if not callable(step):
        raise wrong(place, f"is {path!r}, which is {_kind(step)}, not a function or another callable")
    return cast("Step", step)


def _route_by(declared: str | RouteByDeclaration, place: Place) -> RouteBy:
    if isinstance(declared, str):
        return RouteByTopic()
    given = declared.given()
    match given:
        case {"field": path} if len(given) == 1:
            return RouteByField(path)
        case {"header": name} if len(given) == 1:
            return RouteByHeader(name)
    raise wrong(place, "must have either field or header")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
