"""Arrays of JSON whose elements are rows, also where a schema says that fields of theirs are Connect's types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kafka_ingest.streams.formats.arrays import BARE_FIELD, WHOLE, Array, ArrayReader, by_value
from kafka_ingest.streams.formats.base import TupleReader
from kafka_ingest.streams.formats.connect_values import RAW, Read, SchemaAt, converted
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import ANY_VALUE, Fields, Wanted
from kafka_ingest.streams.json_schema import (
    JsonReader,
    depth_limited,
    json_decoder,
    json_schema,
    reader_of,
    struct_of,
    tree_of,
)

Conversions = dict[int, Callable[[bytes], object]]


@dataclass(frozen=True, slots=True)
class JsonArrayReader:
    """Decodes messages that are several rows: a struct around the array, or the array itself, and one for each element."""

    around: JsonReader
    """With the array as the last of its fields; where the message is the array, what is decoded is that."""
    element: JsonReader
    empty: object
    """An element without a field: what null is in the array."""

    @property
    def decode(self) -> Callable[[bytes], object]:
        """As that of `JsonReader`."""
        return self.around.decode

    @property
    def decode_long(self) -> Callable[[bytes], object]:
        """As that of `JsonReader`."""
        return self.around.decode_long

    def json_of(self, value: bytes) -> bytes | None:
        """The value, which is JSON or was to be."""
        return value

    def column(self, structs: Sequence[object], which: int) -> list[Any]:
        """Field `which` around the array, as `JsonReader.column`."""
        return self.around.column(structs, which)

    def elements(self, structs: Sequence[object]) -> list[Sequence[Any]]:
        """The elements of every message."""
        path = self.around.paths
        found: Sequence[Any] = self.around.column(structs, len(path) - 1) if path else structs
        return [() if each is None else each for each in found]

    def element_column(self, elements: Sequence[Any], which: int) -> list[Any]:
        """Field `which` of each of these elements."""
        if None in elements:
            elements = [self.empty if each is None else each for each in elements]
        return self.element.column(elements, which)


def json_array_schema(name: str, around: Fields, array: Array) -> JsonArrayReader:
    """Schema that reads the fields around an array, and those of its elements, which are objects. Raises ConfigError as
    `json_schema`."""
    tree = tree_of(f"{name}, {array.element(0)}", array.fields)
    struct = struct_of(f"{name}.element", tree)
    element = reader_of(struct, tree, array.fields)
    elements = list[struct | None]  # type: ignore[valid-type]  # made here
    if array.path:
        outer = json_schema(name, [*around, (array.path, (elements | None, None))])
    else:
        outer = JsonReader(json_decoder(elements), paths=(), defaults=())
    return JsonArrayReader(outer, element, struct())


def json_array_reader(wanted: Wanted, array: Array) -> ArrayReader:
    """Reads plain JSON."""
    if not array.may_be_bare:
        return json_array_schema(wanted.name, wanted.fields, array)
    if array.path:
        fields = [*wanted.fields, (array.path, ANY_VALUE)]
        return by_value(json_schema(wanted.name, fields), array, len(wanted.fields))
    decode = json_decoder(ANY_VALUE[0])
    return by_value(TupleReader(depth_limited(lambda value: (decode(value),)), 0), array, 0)


def compile_array_reader(schema_at: SchemaAt, wanted: Wanted, array: Array) -> Read:
    """Reads the wanted fields of JSON of one schema, and a list of its elements' fields."""
    conversions, fields = _conversions(schema_at, wanted.name, wanted.fields)
    of_elements, own = _conversions(
        lambda path: schema_at((*array.path, WHOLE, *path)), wanted.name, array.fields, is_element=True
    )
    reader = json_array_reader(Wanted(wanted.name, fields), Array(array.path, own))

    def read(payload: bytes) -> tuple[Any, ...]:
        found = [reader.decode_long(payload)]
        values = [reader.column(found, place)[0] for place in range(len(fields))]
        for place, convert in conversions.items():
            values[place] = convert(b"" if values[place] is None else values[place])
        elements = reader.elements(found)[0]
        columns = [reader.element_column(elements, place) for place in range(len(own))]
        for place, convert in of_elements.items():
            columns[place] = _each(convert, columns[place], array)
        return tuple(values), list(zip(*columns, strict=True))

    return read


def _conversions(
    schema_at: SchemaAt, name: str, fields: Fields, *, is_element: bool = False
) -> tuple[Conversions, Fields]:
    """How those of the fields become their columns' values whose schema says more than JSON does, and the fields with the JSON of
    these as it stands."""
    found: Conversions = {}
    for place, (path, _) in enumerate(fields):
        schema = schema_at(path)
        if is_element and path == (BARE_FIELD,) and not schema:  # an element that is no object is that field
            schema = schema_at(())
        convert = converted(schema, Wanted(name, fields), place)
        if convert is not None:
            found[place] = convert
    return found, [(path, RAW if place in found else kind) for place, (path, kind) in enumerate(fields)]


def _each(convert: Callable[[bytes], object], raw: Sequence[bytes | None], array: Array) -> list[object]:
    found: list[object] = []
    try:
        for each in raw:
            found.append(convert(b"" if each is None else each))
    except BadMessage as error:
        raise array.in_element(len(found), error) from None
    return found
