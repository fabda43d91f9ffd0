"""Avro in the schema registry's wire format."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from kafka_ingest.streams.formats.arrays import Array, ArrayReader, TupleArrayReader
from kafka_ingest.streams.formats.avro_columns import AvroColumns, joined
from kafka_ingest.streams.formats.avro_source import Read, compile_reader
from kafka_ingest.streams.formats.avro_types import parse_schema
from kafka_ingest.streams.formats.base import BAD_MESSAGE, ColumnBatch, ColumnReader, Format, MessageReader, TupleReader
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.leaves import Wanted
from kafka_ingest.streams.formats.schemas import PREFIX_BYTES, Schemas

_ENDS_EARLY = (IndexError, struct.error)


@dataclass(frozen=True, slots=True)
class Avro(Format):
    """Avro in the schema registry's wire format, each message read by its writer's schema; fields are taken by name."""

    is_registered: ClassVar[bool] = True

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        return ColumnReader(_decoder(wanted, None, schemas), decode_together=_together(wanted, schemas))

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        decode = _decoder(wanted, array, schemas)
        return TupleArrayReader(decode, TupleReader(decode))


def _decoder(wanted: Wanted, array: Array | None, schemas: Schemas) -> Read:
    known: dict[bytes, Read] = {}

    def decode(data: bytes) -> tuple[Any, ...]:
        prefix = data[:PREFIX_BYTES]
        try:
            read = known[prefix]
        except KeyError:
            root = parse_schema(schemas.of(prefix, "AVRO"))
            read = known[prefix] = compile_reader(root, wanted, array)
        try:
            return read(data)
        except _ENDS_EARLY:
            raise BadMessage(f"the message ends after {len(data)} bytes, before its schema does") from None

    return decode


def _together(wanted: Wanted, schemas: Schemas) -> Callable[[Sequence[bytes]], ColumnBatch | None]:
    known: dict[bytes, AvroColumns] = {}

    def columns(prefix: bytes) -> AvroColumns:
        if prefix not in known:
            known[prefix] = AvroColumns(parse_schema(schemas.of(prefix, "AVRO")), wanted)
        return known[prefix]

    def decode(messages: Sequence[bytes]) -> ColumnBatch | None:
        prefixes = [message[:PREFIX_BYTES] for message in messages]
        try:
            if prefixes.count(prefixes[0]) == len(prefixes):
                return ColumnBatch(columns(prefixes[0]).read(messages), len(messages))
            places = {each: [at for at, prefix in enumerate(prefixes) if prefix == each] for each in set(prefixes)}
            parts = [(np.array(some), columns(p).read([messages[at] for at in some])) for p, some in places.items()]
        except (*BAD_MESSAGE, *_ENDS_EARLY):
            return None  # `decode` says which message it is
        whole = [joined([(some, found[at]) for some, found in parts]) for at in range(len(wanted.fields))]
        return ColumnBatch(whole, len(messages))

    return decode
