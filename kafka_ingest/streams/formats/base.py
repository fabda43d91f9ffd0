"""Format: how the bytes of a message's value or key are read. No I/O: what a registry knows is handed in."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import Any, ClassVar, Protocol, TypeAlias, overload

import msgspec

from kafka_ingest.streams.formats.arrays import WHOLE, Array, ArrayReader, by_value
from kafka_ingest.streams.formats.leaves import ANY_VALUE, Path, Wanted, pick
from kafka_ingest.streams.formats.schemas import Schemas
from kafka_ingest.type_names import ArrowArray

Values: TypeAlias = "list[Any] | ArrowArray"
"""A column of decoded values, one of each message; as Arrow's large_string or large_binary where they are such."""

BAD_MESSAGE = (ValueError, msgspec.MsgspecError, RecursionError, decimal.InvalidOperation)
"""What a reader may raise for a message that it cannot read. UnicodeDecodeError and BadMessage are each a ValueError."""


def listed(values: Values) -> list[Any]:
    """As Python objects."""
    found: list[Any] = values if isinstance(values, list) else values.to_pylist()
    return found


class MessageReader(Protocol):
    """Reads the fields that a model wants out of bytes."""

    @property
    def decode(self) -> Callable[[bytes], object]:
        """One message's fields, in whatever form `column` takes. It raises one of BAD_MESSAGE."""

    @property
    def decode_long(self) -> Callable[[bytes], object]:
        """The same, for values that are long enough to be nested too deep."""

    def json_of(self, value: bytes) -> bytes | None:
        """The JSON that a value is, or was to be, for saying what is wrong with it; None where the format is another."""

    def column(self, decoded: Sequence[Any], which: int) -> list[Any]:
        """Field number `which` of every message that was decoded."""


@dataclass(frozen=True, slots=True)
class TupleReader:
    """A reader whose messages are tuples of the fields' values."""

    decode: Callable[[bytes], tuple[Any, ...]]
    json_prefix_bytes: int | None = None
    """Where JSON begins in a value; None where it holds none."""

    @property
    def decode_long(self) -> Callable[[bytes], tuple[Any, ...]]:
        return self.decode

    def json_of(self, value: bytes) -> bytes | None:
        return None if self.json_prefix_bytes is None else value[self.json_prefix_bytes :]

    def column(self, decoded: Sequence[tuple[Any, ...]], which: int) -> list[Any]:
        return list(map(itemgetter(which), decoded))


class ColumnBatch(Sequence[tuple[Any, ...]]):
    """Messages that were read all at once: tuples of the fields' values, held column by column."""

    def __init__(self, columns: Sequence[Values], count: int) -> None:
        self.columns = columns
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, which: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, which: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, which: int | slice) -> tuple[Any, ...] | list[tuple[Any, ...]]:
        return list(self)[which]

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*map(listed, self.columns), strict=True) if self.columns else repeat((), self._count)


@dataclass(frozen=True, slots=True)
class ColumnReader(TupleReader):
    """One that has a faster way to read many messages."""

    decode_together: Callable[[Sequence[bytes]], ColumnBatch | None] = field(kw_only=True)
    """None where one of them cannot be read: then `decode` tells which. For at least one message."""

    def column(self, decoded: Sequence[Any], which: int) -> list[Any]:
        return listed(self.values(decoded, which))

    def values(self, decoded: Sequence[Any], which: int) -> Values:
        """As `column`, as it is at hand."""
        return decoded.columns[which] if isinstance(decoded, ColumnBatch) else list(map(itemgetter(which), decoded))


class Format:
    """How bytes are read; a stream has one for values and one for keys.

    A format of your own is a frozen dataclass on top of this one with a `read`. What it gives goes by the same strict rules as
    any other message (docs/formats.md). Models may explode its lists.
    """

    is_registered: ClassVar[bool] = False
    """Whether the writer's schema has to be asked for, by the id that the bytes begin with."""

    def read(self, data: bytes) -> object:
        """What the bytes say: dict with str keys, list, str, int, float, Decimal, bool, bytes, date, datetime, time, UUID, None.

        Raises BadMessage, whose text is the dead letter's, or any ValueError.
        """
        raise NotImplementedError(f"{type(self).__name__} has no read()")

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        """Reads what is wanted. `schemas` has writers' schemas by id; those that come into it later are seen, too."""
        picked, bare = pick(wanted.fields), wanted.bare

        def decode(data: bytes) -> tuple[Any, ...]:
            message = self.read(data)
            return picked(message if isinstance(message, dict) or bare is None else {bare: message})

        return TupleReader(decode)

    def has_arrays(self, path: Path) -> bool:
        """Whether a message can have an array at a path, or, where that is empty, can be one."""
        return True

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        """As `reader`, for messages that are several rows. wanted: the fields around the array."""
        if array.path:
            fields = [*wanted.fields, (array.path, ANY_VALUE)]
            return by_value(self.reader(Wanted(wanted.name, fields), schemas), array, len(fields) - 1)
        whole = Wanted(wanted.name, [((WHOLE,), ANY_VALUE)], bare=WHOLE)
        return by_value(self.reader(whole, schemas), array, 0)
