"""Messages' values and keys as JSON documents, whatever a stream's formats are: what a search looks into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from kafka_ingest.pipelines.decode import FindSchemas
from kafka_ingest.pipelines.diagnosis import BYTE_ORDER_MARK
from kafka_ingest.streams.formats.arrays import BARE_FIELD
from kafka_ingest.streams.formats.base import BAD_MESSAGE, Format, MessageReader
from kafka_ingest.streams.formats.connect_json import ConnectJson
from kafka_ingest.streams.formats.json import Json, JsonSchema
from kafka_ingest.streams.formats.leaves import Path, Wanted
from kafka_ingest.streams.formats.schemas import Schemas, ids_of
from kafka_ingest.streams.json_schema import json_decoder

UNREADABLE = BAD_MESSAGE
"""What reading a document raises where the bytes are not of the format."""

decode_json = json_decoder(Any)
_ANYTHING: tuple[object, object] = (msgspec.Raw, msgspec.Raw())


class Documents:
    """Reads the values, or the keys, of one search."""

    def __init__(self, format_: Format, find_schemas: FindSchemas, path: str | None = None) -> None:
        """path: the field that is looked for, where it is one."""
        self._find_schemas = find_schemas
        self._format = format_
        self._schemas = Schemas()
        self._is_json = isinstance(format_, Json | JsonSchema | ConnectJson)
        # JSON itself says nothing of dates and decimals, which the two others write into it: those are read field by field.
        self._field = self._reader(tuple(path.split("."))) if path and self._is_json and format_ != Json() else None
        self._whole = self._reader((BARE_FIELD,) if self._is_json else ())

    def _reader(self, path: Path) -> MessageReader:
        return self._format.reader(Wanted("the search", [(path, _ANYTHING)], BARE_FIELD), self._schemas)

    def learn(self, messages: Iterable[bytes | None]) -> None:
        """Ask for the schemas that these name. Raises what a registry that does not answer does."""
        if self._format.is_registered:
            missing = self._schemas.missing(ids_of(messages))
            if missing:
                self._schemas.add(self._find_schemas(missing))

    def whole(self, data: bytes) -> object:
        """The message as JSON has it; bytes are base64, dates ISO 8601. Raises one of UNREADABLE."""
        if not self._is_json:
            return self._first(self._whole, data)
        text = self._whole.json_of(data)
        found = decode_json((data if text is None else text).removeprefix(BYTE_ORDER_MARK))
        is_envelope = isinstance(self._format, ConnectJson) and isinstance(found, dict) and found.keys() == _ENVELOPE
        return found["payload"] if is_envelope else found  # type: ignore[index]

    def field(self, data: bytes) -> Iterator[object]:
        """The field that is looked for, as the stream's own reader has it, where that is more than the document says."""
        if self._field is None:
            return
        try:
            yield self._first(self._field, data)
        except UNREADABLE:  # an object above it is none, or the field has no JSON
            return

    @staticmethod
    def _first(reader: MessageReader, data: bytes) -> object:
        (text,) = reader.column([reader.decode_long(data)], 0)
        return decode_json(bytes(text)) if text else None


_ENVELOPE = {"schema", "payload"}
