"""Names of columns, tables and classes, made of what messages call things: none that a database, Python or a model keeps."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.mysql.reserved_words import RESERVED_WORDS_MYSQL
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS as RESERVED_WORDS_POSTGRESQL

from kafka_ingest.streams.model import UpsertModel

# PostgreSQL: 63 bytes; MySQL: 64 characters. Room for a number behind it.
_MOST_BYTES = 58
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# What a module of ours has at its top, and a class body calls below a column of that name; and what its annotations are.
_IN_MODULES = frozenset({"field", "date_field", "dt", "str", "int", "float", "bool", "bytes"})
_CLASSES = frozenset(
    {"AppendModel", "UpsertModel", "Stream", "Mapped", "Any", "Decimal", "Cast", "Key", "Database", "RouteByTopic"}
)
_RESERVED = RESERVED_WORDS_MYSQL | RESERVED_WORDS_POSTGRESQL | _IN_MODULES


def snake_case(text: str) -> str:
    """`publishTime` as `publish_time`, letters of every script kept, everything else as `_`; may be empty."""
    parted = _WORDS.sub("_", unicodedata.normalize("NFKC", text))
    kept = "".join(c if _is_letter(c) else "_" for c in parted.lower())
    return re.sub("_+", "_", kept).strip("_")


def _is_letter(character: str) -> bool:
    # MySQL takes no characters beyond U+FFFF in names (manual, "Schema Object Names").
    return f"a{character}".isidentifier() and ord(character) <= 0xFFFF


class Names:
    """Gives names that differ, also where upper and lower case count as one."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.lower() for name in taken}

    def column(self, path: Sequence[str]) -> str:
        """The name of the column that reads a path."""
        return _free(_safe(_cut(snake_case("_".join(path)) or "field")), self._taken)


def _free(name: str, taken: set[str], *, before_number: str = "_") -> str:
    """The name, with a number where it is taken; it is taken then."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name.rstrip('_')}{before_number}{number}"
    taken.add(found)
    return found


def is_reserved(name: str) -> bool:
    """Whether a column cannot be called so without surprises: SQL that has to quote it, a keyword, an attribute of models."""
    return keyword.iskeyword(name) or name in _RESERVED or hasattr(UpsertModel, name)


def _safe(name: str) -> str:
    if not name.isidentifier():
        name = f"field_{name}"  # a digit first
    return f"{name}_" if is_reserved(name) else name


def _cut(name: str) -> str:
    return name.encode()[:_MOST_BYTES].decode("utf-8", "ignore").strip("_")


def table_name(stream: str, message_type: str | None, taken: set[str]) -> str:
    """The table of a message type; of the stream itself where there is one type only. None of `taken`, to which it is added."""
    own = snake_case(message_type or "")
    whole = snake_case(stream) or stream.lower()
    if own and own != whole:
        whole = own if own.startswith(f"{whole}_") else f"{whole}_{own}"
    return _free(_safe(_cut(whole)), taken)


def class_name(text: str, taken: set[str]) -> str:
    """`order_line` as `OrderLine`; none of `taken`, to which it is added, nor of what modules import."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = "".join(part[:1].upper() + part[1:] for part in snake_case(ascii_only).split("_")) or "Message"
    name = f"Message{name}" if name[0].isdigit() else name
    if name in _CLASSES or hasattr(sa, name) or keyword.iskeyword(name):
        name = f"{name}Row"
    return _free(name, taken, before_number="")
