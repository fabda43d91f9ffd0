"""Zigzag numbers of variable length: Avro's (1.12, "Binary Encoding"), and those of the registry's message indexes."""

from __future__ import annotations

from kafka_ingest.streams.formats.errors import BadMessage


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """The zigzag number at a place, and where it ends."""
    found = shift = 0
    while True:
        byte = data[at]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            if found >> 64:
                raise BadMessage("a number has more than 64 bits")
            return (found >> 1) ^ -(found & 1), at
        shift += 7
        if shift > 63:
            raise BadMessage("a number has more than 64 bits")
