"""Bytes → frames: JSON decoded, messages routed by type, one frame per model. No I/O.

Rules (README, "What becomes of a message"):
- a value is one JSON object in UTF-8; anything else is a dead letter (`decode`);
- a field of the wrong JSON type is a dead letter; only an integer in a text column is taken, as its digits, and a number
  written as text in a Numeric column, as many producers keep decimals exact;
- a missing field and a JSON null are NULL; a field no model names is skipped, and its text is not looked at;
- of duplicate keys the last counts; nesting deeper than the interpreter's recursion limit is a dead letter;
- a null value (tombstone) deletes where the model says so, else no route takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from kafka_ingest.pipelines.schema import ROUTE_TYPE, json_schema, model_schema
from kafka_ingest.pipelines.tombstones import key_schema, parse_keys
from kafka_ingest.records import DeadLetter, ParsedSlice, RawSlice
from kafka_ingest.streams.model import Model, deletes_on_tombstone
from kafka_ingest.streams.stream import RouteByField, RouteByHeader, Stream

Numbers = npt.NDArray[np.int64]

# MySQL DATETIME holds the years 1000 to 9999 (manual, "The DATE, DATETIME, and TIMESTAMP Types"), in milliseconds here.
_MIN_TIMESTAMP_MS = -30_610_224_000_000
_MAX_TIMESTAMP_MS = 253_402_300_799_999


class StreamDecoder:
    """Decodes the slices of one stream. Made once per process: making it compiles the models' decoders."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._schemas = {model: model_schema(model, stream.timezone) for model in stream.models}
        self._keys = {model: key_schema(model) for model in stream.models if deletes_on_tombstone(model)}
        self._envelope = (
            json_schema("message", [(tuple(stream.route_by.path.split(".")), ROUTE_TYPE)])
            if isinstance(stream.route_by, RouteByField)
            else None
        )

    def decode(self, raw: RawSlice) -> ParsedSlice:
        """Every message of `raw` into exactly one of rows, deletes, dead letters and ignored. Never raises on data."""
        parsed = ParsedSlice(raw=raw)
        is_tombstone = np.fromiter((v is None for v in raw.values), dtype=bool, count=len(raw))
        numbers = np.flatnonzero(~is_tombstone)
        types, numbers = self._message_types(raw, numbers, parsed)
        ignored: list[Numbers] = []
        codes, names = pd.factorize(np.array([*types, None], dtype=object)[:-1])
        for code, name in [*enumerate(names), (-1, None)]:
            members = numbers[codes == code]
            if not len(members):
                continue
            model = self._stream.routes.get(str(name)) if name is not None else None
            if model is None:
                self._unrouted(parsed, ignored, members, self._no_route(name), None if name is None else str(name))
            else:
                self._decode_rows(parsed, model, members, str(name))
        self._decode_tombstones(parsed, np.flatnonzero(is_tombstone), ignored)
        parsed.rows = {model: frame.sort_index() for model, frame in parsed.rows.items()}
        parsed.ignored = np.sort(np.concatenate(ignored)) if ignored else np.empty(0, dtype=np.int64)
        return parsed

    def _message_types(
        self, raw: RawSlice, numbers: Numbers, parsed: ParsedSlice
    ) -> tuple[list[str | int | None], Numbers]:
        """The type of each message, and the numbers of those that have one or lack one; the undecodable are gone."""
        by = self._stream.route_by
        if self._envelope is None:
            return [self._outer_type(raw, int(n)) for n in numbers], numbers
        envelopes, good = decode_each(self._envelope.decode, raw, numbers, parsed.dead_letters, stage="route")
        assert isinstance(by, RouteByField)  # noqa: S101  only then is there an envelope
        return self._envelope.column(envelopes, 0), good

    def _outer_type(self, raw: RawSlice, number: int) -> str | None:
        """The type by topic or header."""
        by = self._stream.route_by
        if isinstance(by, RouteByHeader):
            found = [value for name, value in raw.headers[number] or () if name == by.name and value is not None]
            return found[-1].decode("utf-8", "replace") if found else None
        return raw.ranges[int(raw.range_index[number])].topic

    def _no_route(self, name: object) -> str:
        by = self._stream.route_by
        where = f"field {by.path!r}" if isinstance(by, RouteByField) else "the type"
        where = f"header {by.name!r}" if isinstance(by, RouteByHeader) else where
        if name is None:
            return f"{where} is missing, so no route takes the message"
        return f"no route for type {str(name)[:100]!r}; the stream has {', '.join(self._stream.routes)}"

    def _unrouted(
        self, parsed: ParsedSlice, ignored: list[Numbers], members: Numbers, error: str, route: str | None
    ) -> None:
        if self._stream.unrouted == "ignore":
            ignored.append(members)
        else:
            short = None if route is None else route[:100]
            parsed.dead_letters.extend(DeadLetter(int(n), "route", error, short) for n in members)

    def _decode_rows(self, parsed: ParsedSlice, model: type[Model], members: Numbers, route: str) -> None:
        schema, columns = self._schemas[model]
        structs, good = decode_each(
            schema.decode, parsed.raw, members, parsed.dead_letters, stage="decode", route=route
        )
        if not len(good):
            return
        data: dict[str, Any] = {
            bound.name: pd.Series(schema.column(structs, which), index=good, dtype=object)
            for which, bound in enumerate(columns)
        }
        frame = pd.DataFrame(data | position_columns(parsed.raw, good), index=good)
        parsed.rows[model] = pd.concat([parsed.rows[model], frame]) if model in parsed.rows else frame

    def _decode_tombstones(self, parsed: ParsedSlice, numbers: Numbers, ignored: list[Numbers]) -> None:
        by_model: dict[type[Model], list[int]] = {}
        unrouted: list[int] = []
        for number in numbers.tolist():
            model = self._tombstone_model(parsed.raw, number)
            (unrouted if model is None else by_model.setdefault(model, [])).append(number)
        if unrouted:
            error = "the value is null (a tombstone), and no model it could belong to deletes on tombstones"
            self._unrouted(parsed, ignored, np.array(unrouted, dtype=np.int64), error, None)
        for model, members in by_model.items():
            keys, errors = parse_keys(self._keys[model], [parsed.raw.keys[n] for n in members])
            parsed.dead_letters.extend(
                DeadLetter(n, "decode", error) for n, error in zip(members, errors, strict=True) if error is not None
            )
            good = np.array([n for n, e in zip(members, errors, strict=True) if e is None], dtype=np.int64)
            if len(good):
                frame = pd.DataFrame(keys, index=good, columns=list(self._keys[model]), dtype=object)
                parsed.deletes[model] = frame.assign(**position_columns(parsed.raw, good))

    def _tombstone_model(self, raw: RawSlice, number: int) -> type[Model] | None:
        if isinstance(self._stream.route_by, RouteByField):
            return next(iter(self._keys), None)
        model = self._stream.routes.get(self._outer_type(raw, number) or "")
        return model if model in self._keys else None


def decode_each(
    decode: Callable[[bytes], Any],
    raw: RawSlice,
    numbers: Numbers,
    dead_letters: list[DeadLetter],
    *,
    stage: str,
    route: str | None = None,
) -> tuple[list[Any], Numbers]:
    """Decode many messages at C speed: only those that break the loop are looked at one by one.

    Returns what was decoded and the numbers it came from; the others are appended to `dead_letters`.
    """
    values = raw.values if len(numbers) == len(raw) else [raw.values[n] for n in numbers.tolist()]
    rest = iter(values)
    decoded: list[Any] = []
    bad: list[int] = []
    while True:
        try:
            # extend() keeps what it appended before the iterator raised, so len(decoded) is where it stopped.
            decoded.extend(map(decode, rest))  # type: ignore[arg-type]
            break
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
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
    return decoded, np.delete(numbers, bad) if bad else numbers


def _explain(error: Exception, value: bytes | None) -> str:
    if not value:
        return "the value is empty; a message is one JSON object"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8: {error.reason} at byte {error.start} of a string"
    if isinstance(error, msgspec.ValidationError):
        return str(error)
    return f"not JSON: {error}"


def position_columns(raw: RawSlice, numbers: Sequence[int] | Numbers) -> dict[str, Any]:
    """The `_kafka_*` columns of these messages. A Kafka timestamp MySQL cannot hold is NULL."""
    index = raw.range_index[numbers]
    topics = np.array([r.topic for r in raw.ranges], dtype=object)
    partitions = np.array([r.partition for r in raw.ranges], dtype=np.int32)
    stamps = raw.timestamps_ms[numbers]
    fits = (stamps != -1) & (stamps >= _MIN_TIMESTAMP_MS) & (stamps <= _MAX_TIMESTAMP_MS)
    instants = np.where(fits, stamps, 0).astype("datetime64[ms]").astype("datetime64[us]")
    instants[~fits] = np.datetime64("NaT", "us")
    return {
        "_kafka_topic": pd.Series(topics[index], index=numbers, dtype=object),
        "_kafka_partition": pd.Series(partitions[index], index=numbers),
        "_kafka_offset": pd.Series(raw.offsets[numbers], index=numbers),
        "_kafka_timestamp": pd.Series(instants, index=numbers),
    }
