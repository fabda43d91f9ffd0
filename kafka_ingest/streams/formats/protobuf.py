"""Protobuf in the schema registry's wire format: the message's place in its file stands behind the schema's id.

The package protobuf parses a message; what takes the wanted fields out of it is made as Python source, as for Avro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, ClassVar

from kafka_ingest.streams.formats.arrays import Array, ArrayReader, TupleArrayReader, element_reader
from kafka_ingest.streams.formats.base import Format, MessageReader, TupleReader
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.function_source import FunctionSource
from kafka_ingest.streams.formats.leaves import (
    ANY_VALUE,
    Node,
    Path,
    Wanted,
    encode_json,
    leaf_at,
    type_name,
    value_at,
)
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES, RegisteredSchema, Schemas, id_of, no_prefix
from kafka_ingest.streams.formats.zigzag import read_long

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor


Read = Callable[[bytes], tuple[Any, ...]]

_MOST_NESTED = 100
"""Levels of messages that are declared inside each other; a wire-format prefix with more is none."""


@dataclass(frozen=True, slots=True)
class Protobuf(Format):
    """Protobuf in the schema registry's wire format, each message read by its writer's schema; fields are taken by their names in
    the .proto file.

    A field that knows whether it was set (optional, in a oneof, a message, any of proto2) is NULL where it was not, and a column
    with `keep_absent` keeps its value; one that does not know is its type's zero then, as every reader of Protobuf has it.
    """

    is_registered: ClassVar[bool] = True

    def has_arrays(self, path: Path) -> bool:
        return bool(path)  # a message is never a list

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        return TupleReader(_decoder(wanted, None, schemas))

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        decode = _decoder(wanted, array, schemas)
        return TupleArrayReader(decode, TupleReader(decode))


def _decoder(wanted: Wanted, array: Array | None, schemas: Schemas) -> Read:
    known: dict[bytes, Read] = {}

    def decode(data: bytes) -> tuple[Any, ...]:
        head = data[: PREFIX_BYTES + 1]
        if head[PREFIX_BYTES:] != b"\0":  # else it is the first message of its file, as most are
            head = data[: _indexes(data)[1]]
        try:
            read = known[head]
        except KeyError:
            indexes = _indexes(head)[0]
            read = known[head] = compile_reader(schemas.of(head, "PROTOBUF"), indexes, wanted, array)
        return read(data[len(head) :])

    return decode


def message_indexes(data: bytes) -> list[int]:
    """Which message of its schema's file a message is. Raises BadMessage where its bytes do not say it."""
    return _indexes(data)[0]


def message_descriptor(schema: RegisteredSchema, indexes: list[int]) -> Descriptor:
    """The message of a schema at these places. Raises BadMessage where it has none, or is no schema."""
    from kafka_ingest.streams.formats.protobuf_values import message_of

    return message_of(schema, indexes)


def _indexes(data: bytes) -> tuple[list[int], int]:
    """Which message of the file: its place in it, then its place in that one, and so on; and where the message begins."""
    if id_of(data) is None:
        raise BadMessage(no_prefix(data))
    try:
        count, at = read_long(data, PREFIX_BYTES)
        if not 0 <= count <= _MOST_NESTED:
            raise BadMessage(
                f"begins with {data[:8]!r}: {count} message indexes; was it written by another serializer?"
            )
        found = []
        for _ in range(count):
            index, at = read_long(data, at)
            found.append(index)
    except IndexError:
        raise BadMessage(f"the message {data!r} ends before its message indexes do") from None
    return found or [0], at


def compile_reader(schema: RegisteredSchema, indexes: list[int], wanted: Wanted, array: Array | None = None) -> Read:
    """Reads the wanted fields of the bytes of one message; with an array the fields around it, and a list of its elements'
    fields. Raises BadMessage where the schema has no such message."""
    # Not at the top: streams of other formats need none of it.
    from google.protobuf.message import DecodeError
    from google.protobuf.message_factory import GetMessageClass

    from kafka_ingest.streams.formats.protobuf_values import message_of

    descriptor = message_of(schema, indexes)
    parse = GetMessageClass(descriptor).FromString
    fields = _Compiler(wanted).compile(descriptor)
    get_elements = None if array is None else _elements(descriptor, array)

    def read(data: bytes) -> tuple[Any, ...]:
        try:
            message = parse(data)
        except DecodeError as error:
            raise BadMessage(f"is no {descriptor.full_name}: {error}") from None
        around = fields(message)
        return around if get_elements is None else (around, get_elements(message))

    return read


def _elements(descriptor: Descriptor, array: Array) -> Callable[[Any], list[tuple[Any, ...]]]:
    """Reads the elements of a message's array: each field of those that are messages by itself, any other array as its values."""
    from kafka_ingest.streams.formats.protobuf_values import is_plain_list, is_plain_message

    *above, last = array.path
    at: Descriptor | None = descriptor
    for part in above:
        field = None if at is None else at.fields_by_name.get(part)
        at = None if field is None or not is_plain_message(field) else field.message_type
    field = None if at is None else at.fields_by_name.get(last)
    if field is not None and is_plain_list(field):
        return _of_messages(field.message_type, array)
    get = _Compiler(Wanted("", [(array.path, ANY_VALUE)])).compile(descriptor)
    read = element_reader(array)

    def read_values(message: Any) -> list[tuple[Any, ...]]:
        (value,) = get(message)
        if value is None:
            return []
        if not isinstance(value, list):
            raise array.no_array(type_name(value))
        return read(value)

    return read_values


def _of_messages(element: Descriptor, array: Array) -> Callable[[Any], list[tuple[Any, ...]]]:
    fields = _Compiler(Wanted("", array.fields)).compile(element)
    *above, last = array.path

    def read(message: Any) -> list[tuple[Any, ...]]:
        for part in above:  # one that is not set is its empty self
            message = getattr(message, part)
        found: list[tuple[Any, ...]] = []
        try:
            for each in getattr(message, last):
                found.append(fields(each))
        except BadMessage as error:
            raise array.in_element(len(found), error) from None
        return found

    return read


class _Compiler(FunctionSource):
    """Writes the function line by line. In it: `m0` the message, `m1`, … those inside it, `v0`, `v1`, … the fields' values."""

    def __init__(self, wanted: Wanted) -> None:
        self._tree = wanted.tree()
        super().__init__([leaf_at(*field) for field in wanted.fields], value_at=value_at)
        self._messages = 0

    def compile(self, descriptor: Descriptor) -> Callable[[Any], tuple[Any, ...]]:
        from kafka_ingest.streams.formats.protobuf_values import whole_message

        self.add(0, "def read(m0):")
        self.clear(1, 0, len(self.leaves))
        for place in self._tree.places:
            leaf = self.leaves[place]
            self.add(
                1,
                f"v{place} = {self.name_of(leaf.read)}({self.name_of(whole_message(descriptor, leaf))}(m0))",
            )
        self._below(1, "m0", descriptor, self._tree)
        self.add(1, f"return {self.tuple_of(0, len(self.leaves))}")
        return self.compiled()

    def _below(self, depth: int, message: str, descriptor: Descriptor, node: Node) -> None:
        """Read what is wanted of a message."""
        for name, each in node.items():
            field = descriptor.fields_by_name.get(name)
            if field is None:
                continue  # the writer's schema does not have it
            inner = depth
            if field.has_presence:
                self.add(depth, f"if {message}.HasField({name!r}):")
                inner += 1
            # A name may be a word of Python.
            taken = (
                f"{message}.{name}" if name.isidentifier() and not iskeyword(name) else f"getattr({message}, {name!r})"
            )
            for place in each.places:
                self._leaf(inner, field, place, taken)
            if each:
                self._inside(inner, field, each, taken)

    def _leaf(self, depth: int, field: FieldDescriptor, place: int, taken: str) -> None:
        from kafka_ingest.streams.formats.protobuf_values import is_list_of_plain, python_type, value_of

        leaf = self.leaves[place]
        if leaf.is_json and is_list_of_plain(field):
            self.add(depth, f"v{place} = {self.name_of(encode_json)}(list({taken}))")
        elif python_type(field) in leaf.takes:
            self.add(depth, f"v{place} = {taken}")
        else:
            value = self.name_of(value_of(field, leaf))
            self.add(depth, f"v{place} = {self.name_of(leaf.read)}({value}({taken}))")

    def _inside(self, depth: int, field: FieldDescriptor, node: Node, taken: str) -> None:
        """What is wanted of a message inside, or of a map."""
        from kafka_ingest.streams.formats.protobuf_values import is_plain_message, value_of

        self._messages += 1
        name = f"m{self._messages}"
        if is_plain_message(field):
            self.add(depth, f"{name} = {taken}")
            self._below(depth, name, field.message_type, node)
            return
        value = value_of(field, self.leaves[node.below()[0]])
        self.add(depth, f"{name} = {self.name_of(value)}({taken})")
        for path, place in node.paths():
            read = self.name_of(self.leaves[place].read)
            self.add(depth, f"v{place} = {read}(value_at({name}, {self.name_of(path)}))")
