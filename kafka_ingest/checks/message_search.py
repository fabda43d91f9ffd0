"""Messages of a topic, found in Kafka by key, field or offset: bounded ranges, read without joining a group. Writes nothing."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Literal

import numpy as np

from kafka_ingest.checks.documents import UNREADABLE, Documents, decode_json
from kafka_ingest.engine.stream_state import group_of
from kafka_ingest.errors import ConfigError
from kafka_ingest.kafka.consumer import open_consumer
from kafka_ingest.kafka.metadata import KafkaMetadata, Watermarks
from kafka_ingest.kafka.reader import RangeReader
from kafka_ingest.kafka.schema_registry import schema_finder
from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.settings import Settings
from kafka_ingest.slices import Headers, OffsetRange, Position, RawSlice, TopicPartition
from kafka_ingest.streams.formats.arrays import BARE_FIELD
from kafka_ingest.streams.stream import Stream

DEFAULT_LAST = 100_000
"""Offsets of each partition that are searched where nothing else is said, the last ones."""
MAX_LIMIT = 1_000

Meant = Literal["key", "field", "offset"]

_OFFSET = re.compile(r"(?:(?P<partition>[0-9]{1,9}):)?(?P<offset>[0-9]{1,18})")
# No braces, brackets and quotes: a key that is JSON may hold an = sign.
_FIELD = re.compile(r"""(?P<path>[^=\s{}\[\]"]+)=(?P<value>.*)""", re.DOTALL)
_HEX = re.compile(r"0x(?P<bytes>(?:[0-9A-Fa-f]{2})+)")

_NOTHING = object()


@dataclass(frozen=True, slots=True)
class AtOffset:
    """An offset, in one Kafka partition or in each."""

    offset: int
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class OfKey:
    """Messages with this key."""

    text: str

    def documents(self, stream: Stream, find_schemas: FindSchemas) -> Documents:
        """What reads the keys."""
        return Documents(stream.key_format, find_schemas)

    def numbers(self, raw: RawSlice, documents: Documents, _read: MessagesRead) -> list[int]:
        """The messages of the slice that are meant."""
        documents.learn(raw.keys)
        exact, wanted = self._exact(), _json_of(self.text)
        return [
            number
            for number, key in enumerate(raw.keys)
            if key is not None and (key in exact or self._is_same(key, documents, wanted))
        ]

    def _exact(self) -> frozenset[bytes]:
        """The text itself, what its hexadecimal digits say, and what serializers of integers make of it (4 and 8 bytes,
        big-endian)."""
        found = _bytes_of(self.text)
        if re.fullmatch(r"-?[0-9]{1,19}", self.text):
            for form in (">i", ">q"):
                with suppress(struct.error):
                    found.append(struct.pack(form, int(self.text)))
        return frozenset(found)

    def _is_same(self, key: bytes, documents: Documents, wanted: object) -> bool:
        """Whether a key says the same, whatever its format, white space, escapes and order of fields."""
        with suppress(*UNREADABLE):
            found = documents.whole(key)
            return found == self.text if isinstance(found, str) else found == wanted
        return False


@dataclass(frozen=True, slots=True)
class WithField:
    """Messages in which the field at a dotted path has this value, whether a model names it or not."""

    path: str
    text: str

    def documents(self, stream: Stream, find_schemas: FindSchemas) -> Documents:
        """What reads the values."""
        return Documents(stream.value_format, find_schemas, self.path)

    def numbers(self, raw: RawSlice, documents: Documents, read: MessagesRead) -> list[int]:
        """The messages of the slice that are meant."""
        documents.learn(raw.values)
        wanted = _json_of(self.text)
        texts = {self.text, *(base64.b64encode(each).decode() for each in _bytes_of(self.text))}
        found = []
        for number, value in enumerate(raw.values):
            if value is None:
                continue
            try:
                message = documents.whole(value)
            except UNREADABLE:
                read.undecodable += 1
                continue
            values = chain(_values_at(message, self.path), documents.field(value))
            if any(_says(each, texts, wanted) for each in values):
                found.append(number)
        return found


Wanted = OfKey | WithField | AtOffset


def wanted_of(topic: str, text: str, meant: Meant | None = None) -> Wanted:
    """What a text asks for: an offset (`N`, `P:N` or `topic[P]@N`), a field (`path=value`), else a key.

    meant: what the text is, where it could be more than one of these; a key of digits, or with an = sign.
    Raises ConfigError for an offset or a field that is none, and for a position in another topic.
    """
    if meant in (None, "offset"):
        position = Position.parse(text)
        if position is not None and position.topic == topic:
            return AtOffset(position.offset, position.partition)
        match = _OFFSET.fullmatch(text)
        if match is not None:
            return AtOffset(int(match["offset"]), None if match["partition"] is None else int(match["partition"]))
        if position is not None:
            raise ConfigError(f"{text!r} is a position in topic {position.topic}, and the search is in {topic}")
        if meant == "offset":
            raise ConfigError(f"{text!r} is no offset: write N, PARTITION:N or {topic}[PARTITION]@N")
    if meant in (None, "field"):
        match = _FIELD.fullmatch(text)
        if match is not None:
            return WithField(match["path"], match["value"])
        if meant == "field":
            raise ConfigError(f"{text!r} is no field: write PATH=VALUE, with dots in the path, as source.name=abc")
    return OfKey(text)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of each partition is searched: Kafka timestamps `[since, until)`, and of that at most the last offsets."""

    since: dt.datetime | None = None
    until: dt.datetime | None = None
    last: int | None = None
    """DEFAULT_LAST where it is left out and no time is given."""

    def ranges(self, marks: Mapping[TopicPartition, Watermarks], metadata: KafkaMetadata) -> tuple[OffsetRange, ...]:
        """What they come to in these logs, empty ranges left out. Raises ConfigError for bounds the wrong way round."""
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ConfigError(f"from is {self.since}, not before to, {self.until}", setting="from")
        low = {} if self.since is None else metadata.offsets_for_time(marks, self.since)
        high = {} if self.until is None else metadata.offsets_for_time(marks, self.until)
        last = DEFAULT_LAST if self.last is None and not low and not high else self.last
        ranges = []
        for tp, log in sorted(marks.items()):
            start, end = low.get(tp, log.low), high.get(tp, log.high)
            # -1: no message is so late. The log may have grown or lost its beginning between the questions.
            start, end = (log.high if offset < 0 else min(max(offset, log.low), log.high) for offset in (start, end))
            start = start if last is None else max(start, end - last)
            if start < end:
                ranges.append(OffsetRange(*tp, start, end))
        return tuple(ranges)


@dataclass(frozen=True, slots=True)
class Message:
    """One message as Kafka has it."""

    position: Position
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None


@dataclass(slots=True)
class MessagesRead:
    """What a search has read."""

    ranges: tuple[OffsetRange, ...]
    messages: int = 0
    undecodable: int = 0
    """Messages that are not of the stream's format, and so could not be searched for a field."""
    matched: int = 0
    found: list[Message] = field(default_factory=list)
    """Of those that matched the newest by Kafka timestamp, as many as the limit allows."""

    def add(self, raw: RawSlice, numbers: Sequence[int], limit: int) -> None:
        """Count a slice in which the messages of these numbers match."""
        self.messages += len(raw)
        self.matched += len(numbers)
        self.found += [_message(raw, number) for number in numbers]
        self.found.sort(key=lambda message: (message.timestamp_ms, message.position))
        del self.found[:-limit]


def search(
    stream: Stream,
    ranges: Sequence[OffsetRange],
    wanted: Wanted,
    *,
    settings: Settings,
    limit: int,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> MessagesRead:
    """Read the ranges slice by slice and keep what matches. Of an AtOffset every message of the ranges is meant.

    on_progress: told offsets done and all offsets, after each slice. Raises what broken infrastructure raises.
    """
    reading = MessagesRead(tuple(ranges))
    if not ranges:
        return reading
    total = sum(r.size for r in ranges)
    documents = None if isinstance(wanted, AtOffset) else wanted.documents(stream, schema_finder(settings))
    with closing(RangeReader(open_consumer(settings, group_of(stream, settings)))) as reader:
        reader.restart(ranges)
        while reader.remaining():
            raw = reader.read_slice(max_rows=stream.batch.max_rows, max_bytes=stream.batch.max_bytes)
            if isinstance(wanted, AtOffset) or documents is None:
                numbers: Sequence[int] = range(len(raw))
            else:
                numbers = wanted.numbers(raw, documents, reading)
            reading.add(raw, numbers, limit)
            on_progress(total - sum(r.size for r in reader.remaining()), total)
    return reading


def slice_of(messages: Sequence[Message]) -> RawSlice:
    """Messages as one slice, in their order, which is that of their positions."""
    by_partition = [list(some) for _, some in groupby(messages, key=lambda message: message.position.topic_partition)]
    ranges = tuple(
        OffsetRange(*some[0].position.topic_partition, some[0].position.offset, some[-1].position.offset + 1)
        for some in by_partition
    )
    return RawSlice(
        ranges=ranges,
        range_index=np.repeat(np.arange(len(ranges), dtype=np.int32), [len(some) for some in by_partition]),
        offsets=np.array([message.position.offset for message in messages], dtype=np.int64),
        timestamps_ms=np.array([message.timestamp_ms for message in messages], dtype=np.int64),
        keys=[message.key for message in messages],
        values=[message.value for message in messages],
        headers=[message.headers for message in messages],
        absent=tuple(r.size - len(some) for r, some in zip(ranges, by_partition, strict=True)),
    )


def _message(raw: RawSlice, number: int) -> Message:
    where = raw.ranges[raw.range_index[number]]
    return Message(
        Position(where.topic, where.partition, int(raw.offsets[number])),
        int(raw.timestamps_ms[number]),
        raw.keys[number],
        raw.values[number],
        raw.headers[number],
    )


def _json_of(text: str) -> object:
    """What the text is as JSON; _NOTHING where it is none."""
    try:
        return decode_json(text.encode("utf-8", "surrogateescape"))
    except UNREADABLE:
        return _NOTHING


def _bytes_of(text: str) -> list[bytes]:
    """The bytes that a text may mean: its own, and those that its hexadecimal digits say (`0x00ff`)."""
    found = [text.encode("utf-8", "surrogateescape")]
    match = _HEX.fullmatch(text)
    return found if match is None else [*found, bytes.fromhex(match["bytes"])]


def _values_at(message: object, path: str) -> Iterator[object]:
    """The values at a dotted path, in each element of an array; a field's own name may have dots, too. What is no object is the
    field `value`."""
    if isinstance(message, list):
        for element in message:
            yield from _values_at(element, path)
    if not isinstance(message, dict):
        if path == BARE_FIELD:
            yield message
        return
    if path in message:
        yield message[path]
    for match in re.finditer(r"\.", path):
        inner = message.get(path[: match.start()])
        if isinstance(inner, dict | list):
            yield from _values_at(inner, path[match.end() :])


def _says(value: object, texts: Collection[str], wanted: object) -> bool:
    """Whether a field's value is what the text says: a text as it stands, bytes in base64, anything else as JSON."""
    if isinstance(value, str):
        return value in texts
    return isinstance(value, bool) == isinstance(wanted, bool) and value == wanted


def as_text(wanted: Wanted) -> str:
    """What is searched, for a person."""
    if isinstance(wanted, OfKey):
        return f"key {json.dumps(wanted.text, ensure_ascii=False)}"
    if isinstance(wanted, WithField):
        return f"field {wanted.path} = {json.dumps(wanted.text, ensure_ascii=False)}"
    return f"offset {wanted.offset}" + ("" if wanted.partition is None else f" of partition {wanted.partition}")
