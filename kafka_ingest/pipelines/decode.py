"""Bytes → frames: values decoded, messages routed by type, one frame per table. No I/O: writers' schemas are found by whoever
makes the decoder.

Rules (docs/messages.md, "What becomes of a message"; docs/formats.md for what is not JSON):
- a JSON value is one object in UTF-8, a byte order mark before it or none; anything else is a dead letter (`decode`), whose
  error names the cause where the bytes tell it (diagnosis.py);
- a field of the wrong JSON type is a dead letter; only an integer in a text column is taken, as its digits, and a number
  written as text in a Numeric column, as many producers keep decimals exact (numbers.py says what a number is);
- a missing field and a JSON null are NULL, but of kept columns a missing one is absent (streams/kept.py); a field no model names
  is skipped, and its text is not looked at;
- of duplicate keys the last counts; nesting deeper than the interpreter's recursion limit is a dead letter;
- a null value (tombstone) deletes where the model says so, else no route takes it; where deletes stand in the values
  (`Stream.delete_rules`), one that cannot be compared or told to be of a table is ignored, as the delete before it has said it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from itertools import compress, repeat
from operator import is_
from typing import Any

import numpy as np
import pandas as pd

from kafka_ingest.pipelines.decoded_rows import ElementRows, Rows
from kafka_ingest.pipelines.envelopes import EnvelopeReader, Judged
from kafka_ingest.pipelines.explode import model_array, parts_of
from kafka_ingest.pipelines.messages import Messages, Numbers, decode_each
from kafka_ingest.pipelines.parsed_slice import ParsedSlice
from kafka_ingest.pipelines.sources import source_columns
from kafka_ingest.pipelines.tombstones import KeyReaders, parse_keys
from kafka_ingest.pipelines.value_deletes import ValueDeletes, delete_bound
from kafka_ingest.slices import DeadLetter, RawSlice, position_columns
from kafka_ingest.streams.formats.arrays import BARE_FIELD, ArrayReader
from kafka_ingest.streams.formats.base import MessageReader
from kafka_ingest.streams.formats.leaves import Path, Wanted
from kafka_ingest.streams.formats.schemas import RegisteredSchema, Schemas, ids_of
from kafka_ingest.streams.json_schema import model_fields
from kafka_ingest.streams.stream import RouteByField, RouteByHeader, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.streams.tombstone_keys import key_schema

# Rows of messages that are several take at most so many times the bytes that a slice of messages may have, about.
_ROWS_SHARE = 2
# Messages decoded at a time: what they decode to is taken apart while it is still in the processor's cache. Fewer where they are
# large, more where they are of several tables, each of which costs something in each piece.
_AT_ONCE = 1_000
_LEAST_AT_ONCE = 100
_BYTES_AT_ONCE = 1 << 20
_MOST_TABLES = 4

_A_ROW = Judged("row")

FindSchemas = Callable[[Set[int]], Mapping[int, RegisteredSchema]]


def no_schemas(_ids: Set[int]) -> Mapping[int, RegisteredSchema]:
    """Where there is no registry."""
    return {}


class StreamDecoder:
    """Decodes the slices of one stream. Made once per process: making it compiles the models' decoders."""

    def __init__(self, stream: Stream, find_schemas: FindSchemas = no_schemas) -> None:
        """find_schemas: the schemas of these ids in the registry, those it knows. What it raises, `decode` does."""
        self._stream = stream
        self._find_schemas = find_schemas
        self._schemas = Schemas()
        rules, places = stream.delete_rules, stream.row_paths
        self._readers = {(t, row): self._rows_reader(t, row) for t in stream.targets for row in places}
        self._others = {t: source_columns(t, t.bound, stream.key_format, self._schemas) for t in stream.targets}
        self._key_readers = {
            t: KeyReaders(key_schema(t, stream.key_format), self._schemas)
            for t in stream.targets
            if rules.reads_message_keys(t)
        }
        self._deleting = [t for t in stream.targets if t in self._key_readers and rules.takes_tombstones(t)]
        by_value = [t for t in stream.targets if t.tombstones is not None] if rules.by_value else []
        old = () if stream.envelope is None or not stream.envelope.old else (stream.envelope.old,)
        self._delete_readers = {(t, row): self._delete_reader(t, row) for t in by_value for row in (*places, *old)}
        self._delete_others = {
            t: source_columns(t, delete_bound(t), stream.key_format, self._schemas) for t in by_value
        }
        self._envelope = EnvelopeReader(stream, self._reader)

    def _reader(self, wanted: Wanted) -> MessageReader:
        return self._stream.value_format.reader(wanted, self._schemas)

    def _rows_reader(self, target: TargetTable, row: Path) -> MessageReader | ArrayReader:
        if target.explode is None:
            return self._reader(_wanted(target, row))
        around, array = model_array(target, row, target.read)
        return self._stream.value_format.array_reader(Wanted(target.model_name, around), array, self._schemas)

    def _delete_reader(self, target: TargetTable, row: Path) -> MessageReader | ArrayReader:
        columns = [bound for bound in delete_bound(target) if bound.rule.is_in_value]
        name = f"delete of {target.model_name}"
        if target.explode is None:
            return self._reader(Wanted(name, model_fields(target, row, columns), is_all=False))
        around, array = model_array(target, row, columns)
        return self._stream.value_format.array_reader(Wanted(name, around, is_all=False), array, self._schemas)

    def decode(self, raw: RawSlice) -> ParsedSlice:
        """Every message of `raw` into exactly one of rows, deletes, dead letters and ignored. Never raises on data.

        Where messages are several rows each, it ends where the rows take twice the bytes that a slice may have: what is parsed is
        then the beginning of `raw`, as the result's own says.
        """
        self._learn_schemas(raw)
        parsed = ParsedSlice(raw=raw)
        is_tombstone = np.fromiter(map(is_, raw.values, repeat(None)), dtype=bool, count=len(raw))
        numbers = np.flatnonzero(~is_tombstone)
        ignored: list[Numbers] = []
        rows = {t: self._rows_of(t) for t in self._stream.targets}
        deletes = {t: ValueDeletes(t, self._delete_others[t], self._key_readers.get(t)) for t in self._delete_others}
        values = raw.values if len(numbers) == len(raw) else [value for value in raw.values if value is not None]
        cut, most_bytes = len(raw), _ROWS_SHARE * self._stream.batch.max_bytes
        for part in self._parts(values):
            types, judged, some = self._look(raw, Messages(numbers[part], values[part]), parsed)
            for name, what, chosen in _alike(types, judged, some):
                target = self._stream.target_of(name)
                if what.outcome == "nothing":
                    ignored.append(chosen.numbers)
                elif target is None:
                    self._unrouted(parsed, ignored, chosen.numbers, self._no_route(name), name)
                elif what.outcome == "bad":
                    parsed.dead_letters += [DeadLetter(n, "decode", what.error, name) for n in chosen.numbers.tolist()]
                elif what.outcome == "truncate":
                    parsed.truncates += [(n, target) for n in chosen.numbers.tolist()]
                elif what.outcome == "row" or not target.is_upsert:
                    reader = self._readers[target, what.row]
                    if what.may_move and target in deletes:
                        chosen = self._decode_moved(deletes[target], (target, what.row), chosen, parsed, str(name))
                    found, good = decode_each(reader, chosen, parsed.dead_letters, stage="decode", route=str(name))
                    if found:
                        rows[target].add(reader, found, good.numbers, str(name))
                elif target in deletes:
                    self._decode_deletes(deletes[target], (target, what.row), chosen, parsed.dead_letters, str(name))
                else:
                    ignored.append(chosen.numbers)
            if part.stop < len(numbers) and sum(each.bytes for each in rows.values()) > most_bytes:
                cut = int(numbers[part.stop])
                parsed.raw = raw = raw.split(cut)[0]
                break
        for target, each in rows.items():
            self._without_rows(each.empty, parsed, ignored)
            parsed.dead_letters += each.dead_letters
            frame = each.frame(raw, parsed.dead_letters) if each.numbers else ()
            if isinstance(frame, pd.DataFrame) and len(frame):
                parsed.rows[target] = frame
                if target.kept:
                    parsed.absent[target] = each.absent()
                if each.origins is not None:
                    parsed.origins[target] = each.origins
        for target, gone in deletes.items():
            self._without_rows(gone.empty, parsed, ignored)
            frame = gone.frame(raw, parsed.dead_letters)
            if isinstance(frame, pd.DataFrame) and len(frame):
                parsed.deletes[target] = frame
        self._decode_tombstones(parsed, np.flatnonzero(is_tombstone[:cut]), ignored)
        parsed.ignored = np.sort(np.concatenate(ignored)) if ignored else np.empty(0, dtype=np.int64)
        return parsed

    def decode_all(self, raw: RawSlice) -> Iterator[ParsedSlice]:
        """As `decode`, of the whole slice, one part after the other."""
        parsed = self.decode(raw)
        yield parsed
        while len(parsed.raw) < len(raw):
            raw = raw.split(len(parsed.raw))[1]
            parsed = self.decode(raw)
            yield parsed

    def _parts(self, values: Sequence[Any]) -> Iterator[slice]:
        """Which values are decoded together."""
        if any(target.explode is not None for target in self._stream.targets):
            return parts_of(values, _AT_ONCE)
        mean = sum(map(len, values)) // max(1, len(values))
        count = min(_AT_ONCE, max(_LEAST_AT_ONCE, _BYTES_AT_ONCE // max(1, mean)))
        count *= min(_MOST_TABLES, len(self._stream.targets))
        return (slice(start, start + count) for start in range(0, len(values), count))

    def _rows_of(self, target: TargetTable) -> Rows:
        kind = Rows if target.explode is None else ElementRows
        return kind(target, self._others[target], refuses_unavailable=self._envelope.is_judging)

    def _learn_schemas(self, raw: RawSlice) -> None:
        named: set[int] = set()
        if self._stream.value_format.is_registered:
            named |= ids_of(raw.values)
        if self._stream.key_format.is_registered:
            if any(others is not None and others.reads_keys for others in self._others.values()):
                named |= ids_of(raw.keys)
            elif self._delete_others:
                named |= ids_of(raw.keys)  # a delete may lack its key, and a reader learns of all schemas at once
            elif self._key_readers:
                named |= ids_of(key for key, value in zip(raw.keys, raw.values, strict=True) if value is None)
        missing = self._schemas.missing(named)
        if missing:
            self._schemas.add(self._find_schemas(missing))

    def _look(
        self, raw: RawSlice, messages: Messages, parsed: ParsedSlice
    ) -> tuple[list[str | int | None], list[Judged] | None, Messages]:
        """The type of each message, what it is, and those that can be told; the undecodable are gone. None: each is a row."""
        envelope, good = self._envelope, messages
        decoded: Sequence[object] = []
        if envelope.is_judging or isinstance(self._stream.route_by, RouteByField):
            decoded, good = decode_each(envelope.reader, messages, parsed.dead_letters, stage="route")
        types = envelope.types(decoded)
        if types is None:
            types = [self._outer_type(raw, n) for n in good.numbers.tolist()]
        return types, envelope.judge(decoded) if envelope.is_judging else None, good

    def _without_rows(self, numbers: list[Numbers], parsed: ParsedSlice, ignored: list[Numbers]) -> None:
        """What becomes of messages whose array is empty: with an envelope, each is a change of some row."""
        envelope = self._stream.envelope
        if envelope is None or not envelope.is_array:
            ignored += numbers
            return
        error = f"{'.'.join(envelope.row)} is empty or null: no row is there that was changed"
        parsed.dead_letters += [DeadLetter(n, "decode", error) for some in numbers for n in some.tolist()]

    def _decode_moved(
        self,
        deletes: ValueDeletes,
        place: tuple[TargetTable, Path],
        messages: Messages,
        parsed: ParsedSlice,
        route: str,
    ) -> Messages:
        """The keys that updates have changed. Returns the messages that could be read."""
        assert self._stream.envelope is not None  # noqa: S101  it has judged them to be updates
        reader, old_reader = self._delete_readers[place], self._delete_readers[place[0], self._stream.envelope.old]
        old, good = decode_each(old_reader, messages, parsed.dead_letters, stage="decode", route=route)
        rows, both = decode_each(reader, good, parsed.dead_letters, stage="decode", route=route)
        if len(both.numbers) < len(good.numbers):
            old = list(compress(old, np.isin(good.numbers, both.numbers).tolist()))
        if rows:
            deletes.add_moved(reader, rows, old_reader, old, both.numbers, route)
        return both

    def _decode_deletes(
        self,
        deletes: ValueDeletes,
        place: tuple[TargetTable, Path],
        messages: Messages,
        dead_letters: list[DeadLetter],
        route: str,
    ) -> None:
        reader = self._delete_readers[place]
        structs, good = decode_each(reader, messages, dead_letters, stage="decode", route=route)
        if structs:
            deletes.add(reader, structs, good.numbers, route)

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
        repeated: list[int] = []
        for number in numbers.tolist():
            target = self._tombstone_target(parsed.raw, number)
            if target in self._deleting:
                by_target.setdefault(target, []).append(number)
            elif self._stream.delete_rules.repeats(target):
                repeated.append(number)
            else:
                unrouted.append(number)
        if repeated:
            ignored.append(np.array(repeated, dtype=np.int64))
        if unrouted:
            error = "the value is null (a tombstone), and no model it could belong to deletes on tombstones"
            self._unrouted(parsed, ignored, np.array(unrouted, dtype=np.int64), error, None)
        for target, members in by_target.items():
            keys, errors = parse_keys(self._key_readers[target], parsed.raw, np.array(members, dtype=np.int64))
            parsed.dead_letters.extend(DeadLetter(n, "decode", error) for n, error in errors.items())
            if len(keys):
                found = keys.assign(**position_columns(parsed.raw, keys.index))
                others = parsed.deletes.get(target)
                parsed.deletes[target] = found if others is None else pd.concat([others, found]).sort_index()

    def _tombstone_target(self, raw: RawSlice, number: int) -> TargetTable | None:
        if isinstance(self._stream.route_by, RouteByField):
            return next(iter(self._deleting), None)
        return self._stream.target_of(self._outer_type(raw, number))


def _wanted(target: TargetTable, row: Path) -> Wanted:
    fields = model_fields(target, row)
    return Wanted(target.model_name, fields, BARE_FIELD if any(path == (BARE_FIELD,) for path, _ in fields) else None)


def _alike(
    types: list[str | int | None], judged: list[Judged] | None, messages: Messages
) -> Iterator[tuple[str | None, Judged, Messages]]:
    """Messages of the same type that are the same together. A number for a type counts as its digits."""
    if not judged or judged.count(judged[0]) == len(judged):  # the common case, at C speed
        what = judged[0] if judged else _A_ROW
        for name, chosen in _by_type(types, messages):
            yield name, what, chosen
        return
    places: dict[int, list[int]] = {}
    for place, each in enumerate(judged):
        places.setdefault(id(each), []).append(place)  # those that are judged alike are one object
    for some in places.values():
        for name, chosen in _by_type([types[place] for place in some], messages.at(some)):
            yield name, judged[some[0]], chosen


def _by_type(types: list[str | int | None], messages: Messages) -> Iterator[tuple[str | None, Messages]]:
    if types and types.count(types[0]) == len(types):
        yield _type_name(types[0]), messages
        return
    places: dict[str | int | None, list[int]] = {}
    for place, each in enumerate(types):
        places.setdefault(each, []).append(place)
    for each, chosen in places.items():
        yield _type_name(each), messages.at(chosen)


def _type_name(found: str | int | None) -> str | None:
    return None if found is None else str(found)
