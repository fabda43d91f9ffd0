"""Writers' schemas, as a schema registry has them, and the prefix by which a message names its own.

The wire format of Confluent's serializers: a zero byte, the schema's id in four bytes, big-endian; then the message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from kafka_ingest.streams.formats.errors import BadMessage

PREFIX_BYTES = 5


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema with all that it refers to."""

    id: int
    kind: str
    """AVRO, PROTOBUF or JSON."""
    text: str
    references: tuple[tuple[str, RegisteredSchema], ...] = ()
    """What it imports, by the name it does so, each with its own; the id of such a one is 0 where it is not known."""


class Schemas:
    """Those that the messages of a stream have named so far."""

    def __init__(self, known: Mapping[int, RegisteredSchema] | None = None) -> None:
        self._known = dict(known or {})

    def missing(self, ids: Set[int]) -> Set[int]:
        """Those of `ids` that have to be asked for."""
        return ids - self._known.keys()

    def add(self, found: Mapping[int, RegisteredSchema]) -> None:
        """Keep these. What the registry does not know is not kept: it may be there for the next slice."""
        self._known.update(found)

    def of(self, prefix: bytes, kind: str) -> RegisteredSchema:
        """The schema that a prefix names. Raises BadMessage where it is no prefix, or no schema of that kind has the id."""
        number = id_of(prefix)
        if number is None:
            raise BadMessage(no_prefix(prefix))
        schema = self._known.get(number)
        if schema is None:
            raise BadMessage(f"the schema registry has no schema with id {number}, which the message names")
        if schema.kind != kind:
            raise BadMessage(f"schema {number} is of type {schema.kind}, and the stream's format is {kind}")
        return schema


def id_of(prefix: bytes) -> int | None:
    """The schema's id; None where the bytes do not begin as the wire format does."""
    return int.from_bytes(prefix[1:PREFIX_BYTES], "big") if len(prefix) >= PREFIX_BYTES and prefix[0] == 0 else None


def ids_of(messages: Iterable[bytes | None]) -> set[int]:
    """The ids that messages name."""
    prefixes = {message[:PREFIX_BYTES] for message in messages if message is not None}
    return {number for prefix in prefixes if (number := id_of(prefix)) is not None}


def no_prefix(data: bytes) -> str:
    """What is wrong with bytes that do not begin as the wire format does."""
    return (
        f"begins with {data[:PREFIX_BYTES]!r}, not with the zero byte and the schema's id of the schema registry's wire format; "
        "was it written by another serializer?"
    )
