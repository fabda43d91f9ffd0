"""Avro messages of one schema, read all at once and column by column.

Where the next field of each message begins is an array of numbers, and each step of the schema moves all of them on: a number or
the length of a text is a few operations over the array, and a column of texts is cut out of the messages by Arrow. What has no
such form (arrays, maps, a record that is a column) is read message by message, by a function compiled for it alone.

Where a message breaks a rule none is read: then they are read one by one, which says which it is, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kafka_ingest.streams.formats.avro_source import ReadValues, compile_values, gives, size_of, wanted_of
from kafka_ingest.streams.formats.avro_types import Enum, Fixed, Primitive, Record, Type, Union
from kafka_ingest.streams.formats.base import Values, listed
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Leaf, Node, Wanted, leaf_at
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES
from kafka_ingest.type_names import ArrowArray

Places = npt.NDArray[np.int64]
# Of the tenth byte of a number, which has the last one of 64 bits.
_LAST_SHIFT = 63


@dataclass(slots=True)
class _Cursor:
    """Some messages, and where in each the next value begins."""

    data: bytes
    """All messages, one after the other."""
    bytes: npt.NDArray[np.uint8]
    ends: Places
    """Where each message ends."""
    at: Places
    columns: dict[int, Values] = field(default_factory=dict)
    """What has been read, by the number of the field."""

    def part(self, chosen: Places) -> _Cursor:
        """Some of the messages, in the same order."""
        return _Cursor(self.data, self.bytes, self.ends[chosen], self.at[chosen])


Step = Callable[[_Cursor], None]
"""Reads or steps over one value of each message."""


class AvroColumns:
    """Reads what is wanted of messages that were written by one schema."""

    def __init__(self, root: Type, wanted: Wanted) -> None:
        """Raises BadMessage as `wanted_of` does."""
        top = wanted_of(root, wanted)
        self._read = _Steps(wanted, None if top.places else top).of(root, top)
        self._wanted = wanted

    def read(self, messages: Sequence[bytes]) -> list[Values]:
        """The columns, in the order of the wanted fields. messages: with their prefix, at least one.

        Raises BadMessage, IndexError or any ValueError where one of them has to be read alone.
        """
        data = b"".join(messages)
        ends = np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)))
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        cursor = _Cursor(data, np.frombuffer(data, np.uint8), ends, starts + PREFIX_BYTES)
        self._read(cursor)
        if not (cursor.at == ends if self._wanted.is_all else cursor.at <= ends).all():
            raise _broken()
        return [cursor.columns[place] for place in range(len(self._wanted.fields))]


class _Steps:
    """Makes the steps of a schema."""

    def __init__(self, wanted: Wanted, root: Node | None) -> None:
        self._wanted = wanted
        self._root = root
        self._leaves = [leaf_at(*each) for each in wanted.fields]
        self._skipped: set[int] = set()

    def of(self, kind: Type, wanted: Node) -> Step:
        """The step over a value, of which this is wanted."""
        if isinstance(kind, Union):
            return self._union(kind, wanted)
        if not wanted.below():
            return self._skip(kind)
        if isinstance(kind, Record) and not wanted.places:
            return self._record(kind, wanted)
        if isinstance(kind, Primitive | Enum | Fixed) and not wanted:
            return _giving(kind, [(place, self._leaves[place]) for place in wanted.places])
        return _each(compile_values(kind, wanted, self._wanted), wanted.below())

    def _record(self, record: Record, wanted: Node) -> Step:
        names = [name for name, _ in record.fields]
        some = record.fields
        if wanted is self._root and not self._wanted.is_all:  # nothing behind the last one that is wanted is looked at
            some = some[: 1 + max((names.index(name) for name in wanted if name in names), default=-1)]
        steps = [self.of(kind, wanted.get(name, Node())) for name, kind in some]
        missing = [place for name, node in wanted.items() if name not in names for place in node.below()]
        steps.append(_filling({place: self._leaves[place].absent for place in missing}))

        def step(cursor: _Cursor) -> None:
            for each in steps:
                each(cursor)

        return step

    def _union(self, union: Union, wanted: Node) -> Step:
        steps = [self._branch(branch, wanted) for branch in union.branches]
        below = wanted.below()

        def step(cursor: _Cursor) -> None:
            chosen = _numbers(cursor)
            if chosen.min() < 0 or chosen.max() >= len(steps):
                raise _broken()
            if (chosen == chosen[0]).all():
                steps[chosen[0]](cursor)
                return
            found = []
            for branch in np.unique(chosen).tolist():
                places = np.flatnonzero(chosen == branch)
                part = cursor.part(places)
                steps[branch](part)
                cursor.at[places] = part.at
                found.append((places, part.columns))
            for which in below:
                cursor.columns[which] = joined([(places, columns[which]) for places, columns in found])

        return step

    def _branch(self, branch: Type, wanted: Node) -> Step:
        if not (isinstance(branch, Primitive) and branch.kind == "null"):
            return self.of(branch, wanted)
        if wanted is self._root:
            return _refuse
        return _filling({place: self._leaves[place].null for place in wanted.below()})

    def _skip(self, kind: Type) -> Step:
        if isinstance(kind, Enum) or (isinstance(kind, Primitive) and kind.kind in ("int", "long")):
            return _skip_number
        if isinstance(kind, Primitive) and kind.kind in ("string", "bytes"):
            return _skip_text
        if isinstance(kind, Primitive | Fixed):
            return _moving(size_of(kind))
        if isinstance(kind, Record) and id(kind) not in self._skipped:  # a record that holds itself has no end
            self._skipped.add(id(kind))
            step = self._record(kind, Node())
            self._skipped.discard(id(kind))
            return step
        return _each(lambda data, starts: ((), [kind.skip(data, at) for at in starts]), [])


def _broken() -> BadMessage:
    return BadMessage("a message breaks a rule")


def _refuse(_cursor: _Cursor) -> None:
    raise _broken()


def _numbers(cursor: _Cursor) -> npt.NDArray[np.int64]:
    """An integer of each message (Avro 1.12, "Binary Encoding")."""
    first = cursor.bytes[cursor.at]
    at = cursor.at = cursor.at + 1
    found = (first & 127).astype(np.uint64)
    longer, shift = np.flatnonzero(first > 127), 7
    while len(longer):
        byte = cursor.bytes[at[longer]]
        if shift == _LAST_SHIFT and (byte > 1).any():
            raise _broken()  # more than 64 bits
        at[longer] += 1
        found[longer] |= (byte & 127).astype(np.uint64) << np.uint64(shift)
        longer, shift = longer[byte > 127], shift + 7
    return (found >> np.uint64(1)).view(np.int64) ^ -(found & np.uint64(1)).view(np.int64)


def _spans(cursor: _Cursor, size: int | None = None) -> tuple[Places, Places]:
    """Where some bytes of each message begin and end. size: how many; None where their number stands before them."""
    lengths = _numbers(cursor) if size is None else size
    start, end = cursor.at, cursor.at + lengths
    if (end < start).any() or (end > cursor.ends).any():
        raise _broken()
    cursor.at = end
    return start, end


def _cut(cursor: _Cursor, start: Places, end: Places) -> ArrowArray:
    """These bytes of each message. They stand in the data one behind the other, with gaps between: every other piece is one."""
    offsets = np.empty(2 * len(start), np.int64)
    offsets[0::2], offsets[1::2] = start, end
    buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(cursor.data)]
    pieces = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)
    return pieces.take(np.arange(0, len(offsets), 2))


def _skip_number(cursor: _Cursor) -> None:
    _numbers(cursor)


def _skip_text(cursor: _Cursor) -> None:
    _spans(cursor)


def _moving(size: int) -> Step:
    def step(cursor: _Cursor) -> None:
        cursor.at = cursor.at + size

    return step


def _filling(values: Mapping[int, object]) -> Step:
    """Reads nothing: by the number of the field, what each message has."""

    def step(cursor: _Cursor) -> None:
        for place, value in values.items():
            cursor.columns[place] = [value] * len(cursor.at)

    return step


def _giving(kind: Primitive | Enum | Fixed, leaves: Sequence[tuple[int, Leaf]]) -> Step:
    """The step over a value that is some fields of the model."""
    read, given = _reader(kind), gives(kind)

    def step(cursor: _Cursor) -> None:
        values = read(cursor)
        for place, leaf in leaves:
            cursor.columns[place] = values if given in leaf.takes else list(map(leaf.read, listed(values)))

    return step


def _reader(kind: Primitive | Enum | Fixed) -> Callable[[_Cursor], Values]:
    plain = (
        _fixed(kind.size)
        if isinstance(kind, Fixed)
        else _symbols(kind)
        if isinstance(kind, Enum)
        else _PLAIN[kind.kind]
    )
    convert = None if isinstance(kind, Enum) else kind.convert
    if convert is None:
        return plain
    return lambda cursor: list(map(convert, listed(plain(cursor))))


def _symbols(kind: Enum) -> Callable[[_Cursor], Values]:
    symbols = pa.array(kind.symbols, pa.large_string())

    def read(cursor: _Cursor) -> ArrowArray:
        numbers = _numbers(cursor)
        if (numbers < 0).any():
            raise _broken()
        return symbols.take(numbers)  # raises for one that is too large

    return read


def _fixed(size: int) -> Callable[[_Cursor], Values]:
    return lambda cursor: _cut(cursor, *_spans(cursor, size))


def _texts(cursor: _Cursor) -> ArrowArray:
    return _cut(cursor, *_spans(cursor)).cast(pa.large_string())  # which checks that it is UTF-8


def _bytes(cursor: _Cursor) -> ArrowArray:
    return _cut(cursor, *_spans(cursor))


def _longs(cursor: _Cursor) -> list[int]:
    found: list[int] = _numbers(cursor).tolist()
    return found


def _ints(cursor: _Cursor) -> list[int]:
    numbers = _numbers(cursor)
    if (numbers != numbers.astype(np.int32)).any():
        raise _broken()
    found: list[int] = numbers.tolist()
    return found


def _booleans(cursor: _Cursor) -> list[bool]:
    byte = cursor.bytes[cursor.at]
    cursor.at = cursor.at + 1
    if (byte > 1).any():
        raise _broken()
    found: list[bool] = (byte == 1).tolist()
    return found


def _floats(kind: np.dtype[Any]) -> Callable[[_Cursor], Values]:
    def read(cursor: _Cursor) -> list[float]:
        start, _ = _spans(cursor, kind.itemsize)
        found: list[float] = cursor.bytes[start[:, np.newaxis] + np.arange(kind.itemsize)].view(kind).ravel().tolist()
        return found

    return read


def _nulls(cursor: _Cursor) -> list[None]:
    return [None] * len(cursor.at)


_PLAIN: dict[str, Callable[[_Cursor], Values]] = {
    "null": _nulls,
    "boolean": _booleans,
    "int": _ints,
    "long": _longs,
    "float": _floats(np.dtype("<f4")),
    "double": _floats(np.dtype("<f8")),
    "bytes": _bytes,
    "string": _texts,
}


def _each(read: ReadValues, places: Sequence[int]) -> Step:
    """The step over a value that is read message by message. places: of the fields whose columns `read` gives."""

    def step(cursor: _Cursor) -> None:
        columns, ends = read(cursor.data, cursor.at.tolist())
        cursor.at = np.array(ends, np.int64)
        cursor.columns.update(zip(places, columns, strict=True))

    return step


def joined(parts: Sequence[tuple[Places, Values]]) -> Values:
    """One column of several messages' parts, each with its messages' places."""
    places = np.concatenate([each for each, _ in parts])
    arrays = [array for _, values in parts if (array := _as_text(values)) is not None]
    if len(arrays) == len(parts):
        return pa.concat_arrays(arrays).take(np.argsort(places))
    found: list[Any] = [None] * len(places)
    for some, values in parts:
        for place, value in zip(some.tolist(), listed(values), strict=True):
            found[place] = value
    return found


def _as_text(values: Values) -> ArrowArray | None:
    """Texts, or nothing but nulls; None for anything else."""
    if isinstance(values, list):
        is_null = values[0] is None and values.count(None) == len(values)
        return pa.nulls(len(values), pa.large_string()) if is_null else None
    return values if values.type == pa.large_string() else None
