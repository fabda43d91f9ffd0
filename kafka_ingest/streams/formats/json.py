"""JSON as it stands, and JSON behind the schema registry's prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from kafka_ingest.streams.formats.arrays import Array, ArrayReader, TupleArrayReader
from kafka_ingest.streams.formats.base import Format, MessageReader, TupleReader
from kafka_ingest.streams.formats.connect_values import (
    Read,
    compile_reader,
    has_connect_types,
    is_bare,
    object_or_bare,
)
from kafka_ingest.streams.formats.json_arrays import compile_array_reader, json_array_reader
from kafka_ingest.streams.formats.json_schema_types import JsonSchemaTypes
from kafka_ingest.streams.formats.leaves import Wanted
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES, Schemas
from kafka_ingest.streams.json_schema import JsonReader, json_schema

Decode = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Json(Format):
    """One JSON object in UTF-8."""

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        return json_schema(wanted.name, wanted.fields)

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        return json_array_reader(wanted, array)


@dataclass(frozen=True, slots=True)
class JsonSchema(Format):
    """A JSON object behind the schema registry's prefix, as `JsonSchemaSerializer` and Connect's JsonSchemaConverter write it.

    It is read as JSON is; of the schema only Connect's types are taken (decimals, dates, times, timestamps, bytes)."""

    is_registered: ClassVar[bool] = True

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        return _Prefixed(wanted, schemas)

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        known: dict[bytes, Read] = {}

        def decode(data: bytes) -> tuple[Any, ...]:
            prefix = data[:PREFIX_BYTES]
            read = known.get(prefix)
            if read is None:
                schema_at = JsonSchemaTypes(schemas.of(prefix, "JSON")).connect_schema
                read = known[prefix] = compile_array_reader(schema_at, wanted, array)
            return read(data[PREFIX_BYTES:])

        return TupleArrayReader(decode, TupleReader(decode, PREFIX_BYTES))


class _Prefixed:
    """Reads messages by their schema: where it has none of Connect's types as plain JSON, at that one's speed."""

    def __init__(self, wanted: Wanted, schemas: Schemas) -> None:
        self._wanted = wanted
        self._schemas = schemas
        self._json: JsonReader = json_schema(wanted.name, wanted.fields)
        self._reads_tuples = is_bare(wanted)
        bare = object_or_bare(wanted) if self._reads_tuples else None
        self.decode = self._reader(bare or self._json.decode)
        self.decode_long = self._reader(bare or self._json.decode_long)

    def _reader(self, plain: Decode) -> Decode:
        known: dict[bytes, Decode] = {}

        def decode(data: bytes) -> object:
            prefix = data[:PREFIX_BYTES]
            read = known.get(prefix)
            if read is None:
                read = known[prefix] = self._of_schema(prefix, plain)
            return read(data[PREFIX_BYTES:])

        return decode

    def _of_schema(self, prefix: bytes, plain: Decode) -> Decode:
        """Raises BadMessage where the prefix is none, or the registry has no such schema."""
        schema_at = JsonSchemaTypes(self._schemas.of(prefix, "JSON")).connect_schema
        if not has_connect_types(schema_at, self._wanted):
            return plain
        self._reads_tuples = True
        return compile_reader(schema_at, self._wanted)

    def json_of(self, value: bytes) -> bytes | None:
        return value[PREFIX_BYTES:]

    def column(self, decoded: Sequence[object], which: int) -> list[Any]:
        if not self._reads_tuples:
            return self._json.column(decoded, which)
        return [each[which] if isinstance(each, tuple) else self._json.column([each], which)[0] for each in decoded]
