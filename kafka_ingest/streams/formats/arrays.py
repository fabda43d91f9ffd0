"""Messages that are several rows: the fields around an array, and those of each of its elements."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Protocol

from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Fields, Path, pick, type_name

BARE_FIELD = "value"
"""What a message, or an element, that is no object is a field of."""
WHOLE = "[]"
"""What a whole message is a field of, where it is the array itself: no format has a field of that name."""


_BARE = f"an element that is no object is its field {BARE_FIELD!r}, which the model does not read"


@dataclass(frozen=True, slots=True)
class Array:
    """An array of messages whose elements are rows."""

    path: Path
    """Where it stands; empty where it is the message itself."""
    fields: Fields
    """What is read of an element, by paths that begin there."""

    @property
    def may_be_bare(self) -> bool:
        """Whether an element may be no object, and is its field `value` then."""
        return any(path == (BARE_FIELD,) for path, _ in self.fields)

    def element(self, place: int) -> str:
        """An element for people: `order.lines[3]`."""
        return f"{'.'.join(self.path)}[{place}]"

    def no_array(self, kind: str) -> BadMessage:
        """The refusal of a message that has something of this kind in the array's place."""
        return BadMessage(f"{'.'.join(self.path) or 'the message'}: {kind} where an array is exploded")

    def bare_elements(self) -> BadMessage:
        """The refusal of an array whose elements are no objects, by its schema."""
        return BadMessage(f"{'.'.join(self.path) or 'the message'}: {_BARE}")

    def in_element(self, place: int, error: BadMessage) -> BadMessage:
        """The error of an element's field, as the message's."""
        return BadMessage(f"{self.element(place)}.{error}")


class AroundReader(Protocol):
    """What of a `MessageReader` is asked for the fields around an array."""

    @property
    def decode_long(self) -> Callable[[bytes], object]:
        """As `MessageReader.decode_long`."""

    def json_of(self, value: bytes) -> bytes | None:
        """As `MessageReader.json_of`."""

    def column(self, decoded: Sequence[Any], which: int) -> list[Any]:
        """As `MessageReader.column`."""


class ArrayReader(AroundReader, Protocol):
    """Reads such messages; `column` is of the fields around the array."""

    @property
    def decode(self) -> Callable[[bytes], object]:
        """As `MessageReader.decode`."""

    def elements(self, decoded: Sequence[Any]) -> list[Sequence[Any]]:
        """The elements of every message that was decoded, none where its array is empty, null or missing."""

    def element_column(self, elements: Sequence[Any], which: int) -> list[Any]:
        """Field number `which` of each of these elements."""


@dataclass(frozen=True, slots=True)
class TupleArrayReader:
    """A reader whose messages are the fields' values around the array, and a tuple of values for each element."""

    decode: Callable[[bytes], tuple[Any, list[tuple[Any, ...]]]]
    around: AroundReader
    """What made the first of the two."""

    @property
    def decode_long(self) -> Callable[[bytes], tuple[Any, list[tuple[Any, ...]]]]:
        return self.decode

    def json_of(self, value: bytes) -> bytes | None:
        return self.around.json_of(value)

    def column(self, decoded: Sequence[tuple[Any, Any]], which: int) -> list[Any]:
        return self.around.column(list(map(itemgetter(0), decoded)), which)

    def elements(self, decoded: Sequence[tuple[Any, list[Any]]]) -> list[Sequence[Any]]:
        return list(map(itemgetter(1), decoded))

    def element_column(self, elements: Sequence[tuple[Any, ...]], which: int) -> list[Any]:
        return list(map(itemgetter(which), elements))


def by_value(reader: AroundReader, array: Array, which: int) -> TupleArrayReader:
    """Takes apart arrays that a reader gives as lists, its field number `which`."""
    read = element_reader(array)

    def decode(data: bytes) -> tuple[Any, list[tuple[Any, ...]]]:
        found = reader.decode_long(data)
        value = reader.column([found], which)[0]
        if value is None and array.path:
            return found, []
        if value is None:  # an object has no field of that name either
            raise array.no_array("null, or an object,")
        if not isinstance(value, list):
            raise array.no_array(type_name(value))
        return found, read(value)

    return TupleArrayReader(decode, reader)


def element_reader(array: Array) -> Callable[[Sequence[object]], list[tuple[Any, ...]]]:
    """Reads the elements of one array, made of dicts, lists and plain values. It raises BadMessage, which names the element."""
    read, may_be_bare = pick(array.fields), array.may_be_bare

    def one(element: object) -> tuple[Any, ...]:
        if isinstance(element, dict) or element is None:
            return read(element)
        if not may_be_bare:
            raise BadMessage(f"{type_name(element)}: {_BARE}")
        return read({BARE_FIELD: element})

    def all_of(elements: Sequence[object]) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        try:
            found.extend(map(one, elements))
        except BadMessage as error:
            place = len(found)
            if may_be_bare or isinstance(elements[place], dict):
                raise array.in_element(place, error) from None
            raise BadMessage(f"{array.element(place)}: {error}") from None
        return found

    return all_of
