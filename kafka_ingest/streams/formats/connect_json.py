"""What Kafka Connect's JsonConverter writes: `{"schema": …, "payload": …}`, or the payload alone (`schemas.enable=false`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from kafka_ingest.streams.formats.arrays import WHOLE, Array, ArrayReader, TupleArrayReader
from kafka_ingest.streams.formats.base import Format, MessageReader, TupleReader
from kafka_ingest.streams.formats.connect_values import Read, SchemaAt, compile_reader, decode_any, no_schema
from kafka_ingest.streams.formats.errors import BadMessage
from kafka_ingest.streams.formats.json_arrays import compile_array_reader
from kafka_ingest.streams.formats.leaves import Path, Wanted
from kafka_ingest.streams.formats.schemas import Schemas
from kafka_ingest.streams.json_schema import depth_limited


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    schema: msgspec.Raw
    payload: msgspec.Raw


_ENVELOPE = depth_limited(msgspec.json.Decoder(_Envelope).decode)
# A schema stands in each message; a topic has a few.
_MOST_SCHEMAS = 1_000


@dataclass(frozen=True, slots=True)
class ConnectJson(Format):
    """JSON of Kafka Connect's JsonConverter. With a schema in the message, its decimals, dates, times, timestamps and bytes are
    read as it says, Debezium's own types among them; a message without one is plain JSON."""

    def reader(self, wanted: Wanted, schemas: Schemas) -> MessageReader:
        return TupleReader(_decoder(lambda schema_at: compile_reader(schema_at, wanted)), 0)

    def array_reader(self, wanted: Wanted, array: Array, schemas: Schemas) -> ArrayReader:
        decode = _decoder(lambda schema_at: compile_array_reader(schema_at, wanted, array))
        return TupleArrayReader(decode, TupleReader(decode, 0))


def _decoder(compiled: Callable[[SchemaAt], Read]) -> Read:
    plain = compiled(no_schema)
    known: dict[bytes, Read] = {}

    def decode(data: bytes) -> tuple[Any, ...]:
        try:
            envelope = _ENVELOPE(data)
        except msgspec.ValidationError:
            return plain(data)  # no envelope, which has these two fields and no other
        schema, payload = bytes(envelope.schema), bytes(envelope.payload)
        if payload == b"null":
            raise BadMessage("the payload is null, and the message itself is not: no row and no tombstone")
        if schema == b"null":
            return plain(payload)
        read = known.get(schema)
        if read is None:
            if len(known) >= _MOST_SCHEMAS:
                known.clear()
            read = known[schema] = compiled(partial(_schema_at, decode_any(schema)))
        return read(payload)

    return decode


def _schema_at(schema: object, path: Path) -> Mapping[str, Any]:
    for part in path:
        if not isinstance(schema, dict):
            return {}
        if schema.get("type") == "map":
            schema = schema.get("values")
        elif part == WHOLE:
            schema = schema.get("items")
        else:
            fields = schema.get("fields")
            listed = fields if isinstance(fields, list) else ()
            schema = next((f for f in listed if isinstance(f, dict) and f.get("field") == part), None)
    return schema if isinstance(schema, dict) else {}
