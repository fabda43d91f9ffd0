"""Bytes → frames: JSON decoded, messages routed by type, one frame per table. No I/O.

Rules (docs/messages.md, "What becomes of a message"):
- a value is one JSON object in UTF-8; anything else is a dead letter (`decode`);
- a field of the wrong JSON type is a dead letter; only an integer in a text column is taken, as its digits, and a number
  written as text in a Numeric column, as many producers keep decimals exact (numbers.py says what a number is);
- a missing field and a JSON null are NULL; a field no model names is skipped, and its text is not looked at;
- of duplicate keys the last counts; nesting deeper than the interpreter's recursion limit is a dead letter;
- a null value (tombstone) deletes where the model says so, else no route takes it.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import is_
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.columns import Column
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.tombstones import parse_keys
from kafka_ingest.slices import DeadLetter, RawSlice, position_columns
from kafka_ingest.streams.json_schema import (
    DECODE_ERRORS,
    MAX_DEPTH,
    ROUTE_TYPE,
    JsonSchema,
    depth_limited,
    json_schema,
    model_schema,
)
from kafka_ingest.streams.stream import RouteByField, RouteByHeader, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import key_schema

Numbers = npt.NDArray[np.int64]

# Messages decoded at a time: what they decode to is taken apart while it is still in the processor's cache.
_AT_ONCE = 1_000


class StreamDecoder:
    """Decodes the slices of one stream. Made once per process: making it compiles the models' decoders."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._schemas = {target: model_schema(target) for target in stream.targets}
        self._keys = {t: key_schema(t) for t in stream.targets if t.tombstones is not None}
        self._envelope = (
            json_schema("message", [(tuple(stream.route_by.path.split(".")), ROUTE_TYPE)])
            if isinstance(stream.route_by, RouteByField)
            else None
        )

    def decode(self, raw: RawSlice) -> ParsedSlice:
        """Every message of `raw` into exactly one of rows, deletes, dead letters and ignored. Never raises on data."""
        parsed = ParsedSlice(raw=raw)
        is_tombstone = np.fromiter(map(is_, raw.values, repeat(None)), dtype=bool, count=len(raw))
        numbers = np.flatnonzero(~is_tombstone)
        ignored: list[Numbers] = []
        rows = {target: _Rows(target, self._schemas[target]) for target in self._stream.targets}
        values = raw.values if len(numbers) == len(raw) else [value for value in raw.values if value is not None]
        for start in range(0, len(numbers), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            types, some = self._message_types(raw, Messages(numbers[part], values[part]), parsed)
            for name, chosen in _by_type(types, some):
                target = self._stream.target_of(name)
                if target is None:
                    self._unrouted(parsed, ignored, chosen.numbers, self._no_route(name), name)
                else:
                    rows[target].decode(chosen, parsed.dead_letters, str(name))
        parsed.rows = {target: each.frame(raw) for target, each in rows.items() if each.numbers}
        self._decode_tombstones(parsed, np.flatnonzero(is_tombstone), ignored)
        parsed.ignored = np.sort(np.concatenate(ignored)) if ignored else np.empty(0, dtype=np.int64)
        return parsed

    def _message_types(
        self, raw: RawSlice, messages: Messages, parsed: ParsedSlice
    ) -> tuple[list[str | int | None], Messages]:
        """The type of each message, and those that have one or lack one; the undecodable are gone."""
        by = self._stream.route_by
        if self._envelope is None:
            return [self._outer_type(raw, n) for n in messages.numbers.tolist()], messages
        envelopes, good = decode_each(self._envelope.decode, messages, parsed.dead_letters, stage="route")
        assert isinstance(by, RouteByField)  # noqa: S101  only then is there an envelope
        return self._envelope.column(envelopes, 0), good

    def _outer_type(self, raw: RawSlice, number: int) -> str | None:
        """The type by topic or header."""
        by = self._stream.route_by
        if isinstance(by, RouteByHeader):
            found = [value for name, value in raw.headers[number] or () if name == by.name and value is not None]
            return found[-1].decode("utf-8", "replace") if found else None
        return raw.ranges[int(raw.range_index[number])].topic

    def _no_route(self, name: str | None) -> str:
        by = self._stream.route_by
        where = f"field {by.path!r}" if isinstance(by, RouteByField) else "the type"
        where = f"header {by.name!r}" if isinstance(by, RouteByHeader) else where
        if name is None:
            return f"{where} is missing, so no route takes the message"
        return f"no route for type {name[:100]!r}; the stream has {', '.join(self._stream.routes)}"

    def _unrouted(
        self, parsed: ParsedSlice, ignored: list[Numbers], members: Numbers, error: str, route: str | None
    ) -> None:
        if self._stream.unrouted == "ignore":
            ignored.append(members)
        else:
            short = None if route is None else route[:100]
            parsed.dead_letters.extend(DeadLetter(int(n), "route", error, short) for n in members)

    def _decode_tombstones(self, parsed: ParsedSlice, numbers: Numbers, ignored: list[Numbers]) -> None:
        by_target: dict[TargetTable, list[int]] = {}
        unrouted: list[int] = []
        for number in numbers.tolist():
            target = self._tombstone_target(parsed.raw, number)
            (unrouted if target is None else by_target.setdefault(target, [])).append(number)
        if unrouted:
            error = "the value is null (a tombstone), and no model it could belong to deletes on tombstones"
            self._unrouted(parsed, ignored, np.array(unrouted, dtype=np.int64), error, None)
        for target, members in by_target.items():
            keys, errors = parse_keys(self._keys[target], {n: parsed.raw.keys[n] for n in members})
            parsed.dead_letters.extend(DeadLetter(n, "decode", error) for n, error in errors.items())
            if len(keys):
                parsed.deletes[target] = keys.assign(**position_columns(parsed.raw, keys.index))

    def _tombstone_target(self, raw: RawSlice, number: int) -> TargetTable | None:
        if isinstance(self._stream.route_by, RouteByField):
            return next(iter(self._keys), None)
        target = self._stream.target_of(self._outer_type(raw, number))
        return target if target in self._keys else None


class _Rows:
    """The rows of one table as they are decoded, column by column."""

    def __init__(self, target: TargetTable, schema: JsonSchema) -> None:
        self._schema = schema
        self._columns = {bound.name: Column(bound) for bound in target.bound}
        self.numbers: list[Numbers] = []

    def decode(self, messages: Messages, dead_letters: list[DeadLetter], route: str) -> None:
        """Take in messages of this table's type; those that cannot be decoded become dead letters with this route."""
        structs, good = decode_each(self._schema.decode, messages, dead_letters, stage="decode", route=route)
        if not structs:
            return
        self.numbers.append(good.numbers)
        for which, column in enumerate(self._columns.values()):
            column.add(self._schema.column(structs, which))

    def frame(self, raw: RawSlice) -> pd.DataFrame:
        """In order of message number."""
        index = pd.Index(np.concatenate(self.numbers))
        columns = {name: column.series(index) for name, column in self._columns.items()}
        frame = pd.DataFrame(columns | position_columns(raw, index), copy=False)
        return frame if index.is_monotonic_increasing else frame.sort_index()


def _by_type(types: list[str | int | None], messages: Messages) -> Iterator[tuple[str | None, Messages]]:
    """Messages of the same type together. A number for a type counts as its digits."""
    if types and types.count(types[0]) == len(types):  # the common case, at C speed
        yield _type_name(types[0]), messages
        return
    places: dict[str | int | None, list[int]] = {}
    for place, each in enumerate(types):
        places.setdefault(each, []).append(place)
    for each, chosen in places.items():
        yield _type_name(each), messages.at(chosen)


def _type_name(found: str | int | None) -> str | None:
    return None if found is None else str(found)


@dataclass(frozen=True, slots=True)
class Messages:
    """Some messages of a slice: their numbers, and their values, none of them null."""

    numbers: Numbers
    values: Sequence[Any]

    def at(self, places: list[int]) -> Messages:
        """Those at these places among them."""
        return Messages(self.numbers[places], [self.values[place] for place in places])


def decode_each(
    decode: Callable[[bytes], object],
    messages: Messages,
    dead_letters: list[DeadLetter],
    *,
    stage: str,
    route: str | None = None,
) -> tuple[list[object], Messages]:
    """Decode many messages at C speed: only those that break the loop are looked at one by one.

    Returns what was decoded and the messages it came from; the others are appended to `dead_letters`.
    """
    numbers, values = messages.numbers, messages.values
    if max(map(len, values), default=0) > 2 * MAX_DEPTH:  # no shorter one can be too deep
        decode = depth_limited(decode)
    rest = iter(values)
    decoded: list[object] = []
    bad: list[int] = []
    while True:
        try:
            # extend() keeps what it appended before the iterator raised, so len(decoded) is where it stopped.
            decoded.extend(map(decode, rest))
            break
        except DECODE_ERRORS as error:
            at = len(decoded) + len(bad)
            is_type_error = isinstance(error, msgspec.ValidationError) and "$" in str(error)
            dead_letters.append(
                DeadLetter(
                    number=int(numbers[at]),
                    stage="route" if is_type_error and stage == "route" else "decode",
                    error=_explain(error, values[at]),
                    route=route,
                )
            )
            bad.append(at)
    if not bad:
        return decoded, messages
    refused = set(bad)
    return decoded, messages.at([place for place in range(len(values)) if place not in refused])


def _explain(error: Exception, value: bytes | None) -> str:
    if not value:
        return "the value is empty; a message is one JSON object"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start} of a string"
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    if isinstance(error, decimal.InvalidOperation):
        return "a number has an exponent beyond any column"
    return f"not JSON: {error}"
