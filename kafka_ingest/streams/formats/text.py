"""Text and bytes without any structure. A message is one value: the field `value`, or the key itself."""

from __future__ import annotations

from dataclasses import dataclass

from kafka_ingest.streams.formats.base import Format
from kafka_ingest.streams.formats.leaves import Path


@dataclass(frozen=True, slots=True)
class Text(Format):
    """The bytes are one text in UTF-8, nothing taken away."""

    def has_arrays(self, path: Path) -> bool:
        return False

    def read(self, data: bytes) -> str:
        return data.decode("utf-8")


@dataclass(frozen=True, slots=True)
class Bytes(Format):
    """The bytes are the value itself."""

    def has_arrays(self, path: Path) -> bool:
        return False

    def read(self, data: bytes) -> bytes:
        return data
