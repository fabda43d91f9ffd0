"""The function that reads one Avro message, made for its writer's schema and a model, as Python source, as `dataclasses` does.

Numbers and texts of the fields a model names are read in place, and what it does not name is stepped over. That is twice as fast
as a general reader in C that makes a dict of every message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from kafka_ingest.streams.formats.arrays import BARE_FIELD, Array
from kafka_ingest.streams.formats.avro_types import (
    SMALL_LENGTHS,
    SMALL_NUMBERS,
    Enum,
    Fixed,
    Primitive,
    Record,
    Type,
    Union,
    read_count,
    read_int,
    read_length,
)
from kafka_ingest.streams.formats.avro_types import Array as Array_
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.function_source import FunctionSource
from kafka_ingest.streams.formats.leaves import Node, Path, Wanted, encode_json, leaf_at, value_at
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES
from kafka_ingest.streams.formats.zigzag import read_long

Read = Callable[[bytes], tuple[Any, ...]]
ReadValues = Callable[[bytes, list[int]], tuple[tuple[list[Any], ...], list[int]]]


def compile_reader(root: Type, wanted: Wanted, array: Array | None = None) -> Read:
    """A function that reads what is wanted of one message, prefix included, and checks that nothing is left over; with an array
    the fields around it, and a list of its elements' fields.

    Raises BadMessage as `wanted_of` does.
    """
    return _Compiler(wanted, array).compile(root, wanted_of(root, wanted, array))


def compile_values(kind: Type, node: Node, wanted: Wanted) -> ReadValues:
    """A function that reads the values at some places of the data, of which this is wanted: a column for each of the fields that
    they and what they hold are (`node.below()`), and where they end."""
    return _Compiler(wanted, None).compile_values(kind, node)


def wanted_of(root: Type, wanted: Wanted, array: Array | None = None) -> Node:
    """What is wanted of the message itself. Raises BadMessage where the schema's message is no record, and no field is to be the
    whole."""
    top = wanted.tree()
    if array is not None:
        elements = top.at(array.path).elements = Node()
        for place, (path, _) in enumerate(array.fields, len(wanted.fields)):
            elements.at(path).places.append(place)
    elif not _may_be_record(root) and not top.places:
        if wanted.bare is None or wanted.bare not in top:
            raise BadMessage("the message is no record, and the model reads fields of one")
        top = top[wanted.bare]
    return top


def _may_be_record(root: Type) -> bool:
    return isinstance(root, Record) or (isinstance(root, Union) and any(map(_may_be_record, root.branches)))


class _Compiler(FunctionSource):
    """Writes the function line by line. In it: `b` the bytes, `i` where it stands, `v0`, `v1`, … the fields' values, those of an
    element last; `rows` the values of elements."""

    def __init__(self, wanted: Wanted, array: Array | None) -> None:
        fields = [*wanted.fields, *(() if array is None else array.fields)]
        self._exploded = array
        self._around = len(wanted.fields)
        super().__init__([leaf_at(*field) for field in fields], **_KNOWN)
        self._paths = [path for path, _ in fields]
        self._is_all = wanted.is_all
        self._root: Node | None = None

    def compile(self, root: Type, wanted: Node) -> Read:
        self.add(0, "def read(b):")
        self.clear(1, 0, self._around)
        if self._exploded is not None:
            self.add(1, "rows = []")
        self._root = None if wanted.places else wanted
        self.add(1, f"i = {PREFIX_BYTES}")
        self._value(1, root, wanted)
        if self._is_all:
            self.add(1, "if i != len(b): left_over(b, i)")
        around = self.tuple_of(0, self._around)
        self.add(1, f"return {around}" if self._exploded is None else f"return {around}, rows")
        return self.compiled()

    def compile_values(self, kind: Type, wanted: Node) -> ReadValues:
        places = wanted.below()
        self.add(0, "def read(b, starts):")
        self.add(1, "ends = []")
        for place in places:
            self.add(1, f"c{place} = []")
        self.add(1, "for i in starts:")
        for place in places:
            self.clear(2, place, place + 1)
        self._value(2, kind, wanted)
        for place in places:
            self.add(2, f"c{place}.append(v{place})")
        self.add(2, "ends.append(i)")
        self.add(1, f"return ({''.join(f'c{place}, ' for place in places)}), ends")
        return cast("ReadValues", self.compiled())

    def _value(self, depth: int, kind: Type, wanted: Node) -> None:
        """Read what is wanted of a value, or step over it."""
        if not wanted.below():
            self._skip(depth, kind)
        elif isinstance(kind, Union):
            self._union(depth, kind, wanted)
        elif isinstance(kind, Record) and not wanted.places and wanted.elements is None:
            self._record(depth, kind, wanted)
        elif self._exploded is not None and wanted.has_elements:
            self._explode(depth, kind, wanted, self._exploded)
        else:
            place = self._taken_by_one(kind, wanted)
            self._read(depth, kind, self._paths[wanted.below()[0]], "v" if place is None else f"v{place}")
            if place is None:
                self._give(depth, kind, wanted)

    def _explode(self, depth: int, kind: Type, wanted: Node, array: Array) -> None:
        """The elements into `rows`; an error gets the place of its element."""
        element = wanted.elements
        if element is None or not isinstance(kind, Array_):
            self.add(depth, f"raise {self.name_of(array.no_array)}({type(kind).__name__.lower()!r})")
            return
        if not _may_be_record(kind.items):
            if not array.may_be_bare:
                self.add(depth, f"raise {self.name_of(array.bare_elements)}()")
                return
            element = element[BARE_FIELD]
        self.add(depth, "try:")
        self.add(depth + 1, "while True:")
        self.add(depth + 2, "m = numbers[b[i]]; i += 1")
        self.add(depth + 2, "if m is None or m < 0: m, i = read_count(b, i - 1)")
        self.add(depth + 2, "if m == 0: break")
        self.add(depth + 2, "for _ in range(m):")
        self.clear(depth + 3, self._around, len(self.leaves))
        self._value(depth + 3, kind.items, element)
        self.add(depth + 3, f"rows.append({self.tuple_of(self._around, len(self.leaves))})")
        self.add(depth, "except BadMessage as error:")
        self.add(depth + 1, f"raise {self.name_of(array.in_element)}(len(rows), error) from None")

    def _record(self, depth: int, record: Record, wanted: Node) -> None:
        names = [name for name, _ in record.fields]
        last = max((names.index(name) for name in wanted if name in names), default=-1)
        for place, (name, kind) in enumerate(record.fields):
            if place > last and not self._is_all and wanted is self._root:
                break
            self._value(depth, kind, wanted.get(name, Node()))
        if not record.fields or (last < 0 and not self._is_all):
            self.add(depth, "pass")

    def _union(self, depth: int, union: Union, wanted: Node) -> None:
        self._number(depth, "n", "long")
        for place, branch in enumerate(union.branches):
            self.add(depth, f"{'elif' if place else 'if'} n == {place}:")
            if isinstance(branch, Primitive) and branch.kind == "null":
                self._null(depth + 1, wanted, is_root=depth == 1 and wanted is self._root)
            else:
                self._value(depth + 1, branch, wanted)
        self.add(depth, f"{'else' if union.branches else 'if True'}: no_branch(n, {len(union.branches)})")

    def _null(self, depth: int, wanted: Node, *, is_root: bool) -> None:
        self.add(depth, "no_record()" if is_root else "pass")
        for place in wanted.below():
            leaf = self.leaves[place]
            if leaf.absent is not leaf.null:
                self.add(depth, f"v{place} = {self.name_of(leaf.null)}")

    def _taken_by_one(self, kind: Type, wanted: Node) -> int | None:
        """The one field that such a value is, where it takes it as it is."""
        is_one = len(wanted.places) == 1 and not wanted and not isinstance(kind, Array_)
        return wanted.places[0] if is_one and gives(kind) in self.leaves[wanted.places[0]].takes else None

    def _give(self, depth: int, kind: Type, wanted: Node) -> None:
        """The value `v`, which was read, to the fields that it is."""
        given = gives(kind)
        for place in wanted.places:
            leaf = self.leaves[place]
            if leaf.is_json and _is_written_at_once(kind):
                self.add(depth, f"v{place} = encode(v)")
            elif given is None:
                self.add(depth, f"v{place} = {self.name_of(leaf.read)}(v)")
            else:
                taken = "v" if given in leaf.takes else f"{self.name_of(leaf.convert)}(v)"
                self.add(depth, f"v{place} = {taken}")
        for path, place in wanted.paths():  # into a map
            found = f"value_at(v, {self.name_of(path)})"
            self.add(depth, f"v{place} = {self.name_of(self.leaves[place].read)}({found})")

    def _read(self, depth: int, kind: Type, path: Path, name: str = "v") -> None:
        """One value into the variable of this name."""
        if isinstance(kind, Primitive) and kind.kind in ("string", "bytes"):
            self._length(depth)
            text = "b[i:e].decode()" if kind.kind == "string" else "b[i:e]"
            self.add(depth, f"e = i + n; {name} = {text}; i = e")
        elif isinstance(kind, Primitive) and kind.kind in ("int", "long"):
            self._number(depth, name, kind.kind)
        elif isinstance(kind, Primitive) and kind.kind == "boolean":
            self.add(depth, "n = b[i]; i += 1")
            self.add(depth, f"if n > 1: no_boolean({self.name_of('.'.join(path))}, n)")
            self.add(depth, f"{name} = n == 1")
        elif isinstance(kind, Array_) and isinstance(kind.items, Primitive):
            self._array(depth, kind.items, path)
            return
        else:
            self._try(depth, f"{name}, i = {self.name_of(kind.read)}(b, i)", path)
            return
        if kind.convert is not None:
            self._try(depth, f"{name} = {self.name_of(kind.convert)}({name})", path)

    def _array(self, depth: int, items: Primitive, path: Path) -> None:
        self.add(depth, "w = []")
        self.add(depth, "while True:")
        self.add(depth + 1, "m = numbers[b[i]]; i += 1")
        self.add(depth + 1, "if m is None or m < 0: m, i = read_count(b, i - 1)")
        self.add(depth + 1, "if m == 0: break")
        self.add(depth + 1, "for _ in range(m):")
        self._read(depth + 2, items, path)
        self.add(depth + 2, "w.append(v)")
        self.add(depth, "v = w")

    def _try(self, depth: int, line: str, path: Path) -> None:
        """A line whose errors get the field's path."""
        self.add(depth, f"try: {line}")
        self.add(depth, f"except BadMessage as error: raise located({self.name_of('.'.join(path))}, error) from None")

    def _skip(self, depth: int, kind: Type) -> None:
        if isinstance(kind, Primitive) and kind.kind in ("string", "bytes"):
            self._length(depth)
            self.add(depth, "i += n")
        elif isinstance(kind, Enum) or (isinstance(kind, Primitive) and kind.kind in ("int", "long")):
            self.add(depth, "while b[i] > 127: i += 1")
            self.add(depth, "i += 1")
        elif isinstance(kind, Fixed | Primitive):
            self.add(depth, f"i += {size_of(kind)}")
        else:
            self.add(depth, f"i = {self.name_of(kind.skip)}(b, i)")

    def _length(self, depth: int) -> None:
        self.add(depth, "n = lengths[b[i]]; i += 1")
        # A text of 64 to 8,191 bytes has a length of two.
        self.add(depth, "if n < 0:")
        self.add(depth + 1, "if b[i - 1] & 1 or b[i] > 127: n, i = read_length(b, i - 1)")
        self.add(depth + 1, "else: n = (b[i - 1] & 127 | b[i] << 7) >> 1; i += 1")

    def _number(self, depth: int, name: str, kind: str) -> None:
        self.add(depth, f"{name} = numbers[b[i]]; i += 1")
        self.add(depth, f"if {name} is None: {name}, i = read_{kind}(b, i - 1)")


def size_of(kind: Fixed | Primitive) -> int:
    """The bytes of a type that always has as many."""
    return kind.size if isinstance(kind, Fixed) else _SIZES[kind.kind]


_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_PLAIN: dict[str, type] = {
    "boolean": bool,
    "int": int,
    "long": int,
    "float": float,
    "double": float,
    "bytes": bytes,
    "string": str,
}


def gives(kind: Type) -> type | None:
    """The Python type of all values of a type; None where that is not said beforehand."""
    if isinstance(kind, Primitive) and kind.convert is not None:
        return type(kind.convert(0)) if kind.kind in ("int", "long") else None  # of a count always the same
    if isinstance(kind, Primitive):
        return _PLAIN.get(kind.kind)
    return str if isinstance(kind, Enum) else list if isinstance(kind, Array_) else None


def _is_written_at_once(kind: Type) -> bool:
    """Whether the encoder's JSON of a value is that of `json_text`: nothing in it is null, or has no word in JSON."""
    items = kind.items if isinstance(kind, Array_) else None
    return isinstance(items, Primitive) and items.convert is None and items.kind in ("string", "int", "long", "boolean")


def _no_boolean(path: str, value: int) -> None:
    raise BadMessage(f"{path}: a boolean is {value}, not 0 or 1")


def _left_over(data: bytes, at: int) -> None:
    if at > len(data):
        raise BadMessage(f"the message ends after {len(data)} bytes, before its schema does")
    raise BadMessage(f"the message has {len(data) - at} bytes more than its schema says")


def _no_branch(place: int, branches: int) -> None:
    raise BadMessage(f"branch {place} of a union that has {branches}")


def _no_record() -> None:
    raise BadMessage("the message is null, and no record")


def _located(path: str, error: BadMessage) -> BadMessage:
    return BadMessage(f"{path}: {error}")


_KNOWN: dict[str, Any] = {
    "lengths": SMALL_LENGTHS,
    "numbers": SMALL_NUMBERS,
    "read_length": read_length,
    "read_long": read_long,
    "read_int": read_int,
    "read_count": read_count,
    "value_at": value_at,
    "left_over": _left_over,
    "no_branch": _no_branch,
    "no_record": _no_record,
    "no_boolean": _no_boolean,
    "encode": encode_json,
    "located": _located,
    "BadMessage": BadMessage,
}
"""What every function knows."""
