"""Where a column's value comes from, when it is not a field of the message's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """The message's key: as text in UTF-8, or, with a path, a field of a key that is a JSON object. NULL where there is none."""

    path: str | None = None
    """Dotted path of the field."""

    def __str__(self) -> str:
        return "the message's key" if self.path is None else f"{self.path} of the message's key"


@dataclass(frozen=True, slots=True)
class Header:
    """A header, as text in UTF-8; of several with its name the last. NULL where the message has none."""

    name: str

    def __str__(self) -> str:
        return f"header {self.name}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A field of the message that stands around the row, where the stream has an envelope: `Envelope("source.lsn")`."""

    path: str
    """Dotted path from the message's top, where the column's own path begins at the row."""

    def __str__(self) -> str:
        return f"{self.path} of the envelope"


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic's name, as text."""

    def __str__(self) -> str:
        return "the topic"


@dataclass(frozen=True, slots=True)
class Partition:
    """The Kafka partition's number."""

    def __str__(self) -> str:
        return "the Kafka partition"


@dataclass(frozen=True, slots=True)
class Offset:
    """The message's offset."""

    def __str__(self) -> str:
        return "the offset"


@dataclass(frozen=True, slots=True)
class Timestamp:
    """The message's timestamp: an instant in a column of dates, else milliseconds since 1970. NULL where it has none."""

    def __str__(self) -> str:
        return "the message's timestamp"


@dataclass(frozen=True, slots=True)
class Constant:
    """The same value in every row, by the rules of the column's type."""

    value: Any

    def __str__(self) -> str:
        return f"always {self.value!r}"


@dataclass(frozen=True, slots=True)
class Database:
    """The database fills the column: by a default (`server_default`), AUTO_INCREMENT or an identity, a generated column, a
    trigger. It is never written, and nothing is asked of its values."""

    def __str__(self) -> str:
        return "the database"


Source = Key | Header | Envelope | Topic | Partition | Offset | Timestamp | Constant | Database
