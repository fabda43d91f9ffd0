"""Column types of MySQL and MariaDB: whether a column of one type holds every value of another unchanged.

Types are compared as the server writes them (`information_schema.columns.column_type`) and as SQLAlchemy does in DDL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_INTEGER_BITS = {"tinyint": 8, "smallint": 16, "mediumint": 24, "int": 32, "bigint": 64}
_TEXT_BYTES = {"tinytext": (1 << 8) - 1, "text": (1 << 16) - 1, "mediumtext": (1 << 24) - 1, "longtext": (1 << 32) - 1}
_BLOB_BYTES = {"tinyblob": (1 << 8) - 1, "blob": (1 << 16) - 1, "mediumblob": (1 << 24) - 1, "longblob": (1 << 32) - 1}
_BINARIES = frozenset({"binary", "varbinary", *_BLOB_BYTES})
_UUID_CHARACTERS = 36
_TEXTS = frozenset({"char", "varchar", *_TEXT_BYTES})
# Manual, "Numeric Type Syntax", "String Data Type Syntax": other names of the same types.
_SYNONYMS = {
    "bool": "boolean",
    "integer": "int",
    "numeric": "decimal",
    "dec": "decimal",
    "fixed": "decimal",
    "real": "double",
    "double precision": "double",
    "nvarchar": "varchar",
    "nchar": "char",
}
# FLOAT(p) has eight bytes from here on (manual, "Floating-Point Types").
_DOUBLE_FROM_BITS = 25
# All of Unicode, in as many bytes as the TEXT types are declared for (UTF-16 has two for each letter).
_UNICODE = "utf8mb4"
_TYPE = re.compile(r"(?:national )?(double precision|[a-z0-9]+)\s*(?:\(((?:'(?:''|[^'])*'|[^')])*)\))?(.*)", re.DOTALL)
_PIECE = re.compile(r"'(?:''|[^'])*'|[^']+")
_MEMBER = re.compile(r"'((?:''|[^'])*)'")
_EXACT_COLLATION = re.compile(r"utf8mb4_0900_bin|.+_nopad_bin")


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type taken apart. `length` is the first number in its brackets, `scale` the second."""

    name: str
    length: int | None = None
    scale: int | None = None
    is_unsigned: bool = False
    members: tuple[str, ...] = ()
    charset: str | None = None
    collation: str | None = None

    @property
    def is_text(self) -> bool:
        """Whether its values are texts, with a character set."""
        return self.name in _TEXTS

    @property
    def is_exact(self) -> bool:
        """Whether texts are equal only where each byte is: 'a' is neither 'A' nor 'a ' (manual, "Unicode Character Sets",
        NO PAD; a plain `_bin` collation pads with blanks)."""
        return _EXACT_COLLATION.fullmatch(self.collation or "") is not None

    @property
    def _range(self) -> tuple[int, int]:
        if self.name == "boolean":
            return 0, 1
        bits = _INTEGER_BITS[self.name]
        return (0, (1 << bits) - 1) if self.is_unsigned else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def parse_type(text: str, charset: str | None = None, collation: str | None = None) -> ColumnType:
    """A type as DDL or the server has it. `charset` and `collation`: of a text type that does not name its own."""
    text = _PIECE.sub(lambda piece: piece[0] if piece[0].startswith("'") else piece[0].lower(), text)
    members = tuple(m.replace("''", "'") for m in _MEMBER.findall(text))
    found = _TYPE.match(text)
    if found is None:
        return ColumnType(text)
    name, inside, rest = found[1], found[2] or "", found[3].lower()
    name = _SYNONYMS.get(name, name)
    numbers = [] if members else [int(number) for number in re.findall(r"\d+", inside)]
    length, scale = (*numbers, None, None)[:2]
    if name == "float" and scale is None and length is not None:
        name, length = ("double" if length >= _DOUBLE_FROM_BITS else "float"), None
    if name == "decimal":
        length, scale = length or 10, scale or 0
    if name in _INTEGER_BITS or name == "boolean":
        length = None  # only how many digits some programs show
    if name not in _TEXTS and not members:
        return ColumnType(name, length, scale, "unsigned" in rest.split())
    own = re.search(r"character set (\w+)", rest)
    own_collation = re.search(r"collate (\w+)", rest)
    if own_collation is not None:
        collation = own_collation[1]
        charset = collation.split("_")[0]
    charset = own[1] if own is not None else charset
    return ColumnType(name, length, scale, members=members, charset=charset, collation=collation)


def change(have: ColumnType, want: ColumnType, *, is_mariadb: bool) -> str | None:
    """What a column of type `have` would do to a value of type `want`; None where it holds every one unchanged."""
    if have == want:
        return None
    if want.name in _INTEGER_BITS or want.name == "boolean":
        return _integer(have, want)
    if want.name in ("decimal", "float", "double"):
        return _number(have, want)
    if want.name == "json":
        is_json = have.name == "json" or (is_mariadb and have.name == "longtext" and have.charset == _UNICODE)
        return None if is_json else "JSON would be cut, refused or kept as something else"
    if want.is_text:
        return _text(have, want)
    if want.name in ("enum", "set"):
        lacking = [m for m in want.members if m not in have.members]
        if have.name != want.name:
            return "a member would be kept as something else"
        return f"it lacks {', '.join(map(repr, lacking))}" if lacking else _charset(have, want)
    if want.name in ("datetime", "timestamp", "time"):
        return _instant(have, want)
    if want.name in _BINARIES:
        return _bytes(have, want)
    if want.name in ("bit", "year"):
        return _small_number(have, want)
    if want.name == "uuid":
        return _uuid(have)
    same = (have.name, have.length, have.scale) == (want.name, want.length, want.scale)
    return None if same else "a value would be kept as something else"


def _integer(have: ColumnType, want: ColumnType) -> str | None:
    if have.name not in _INTEGER_BITS:
        return "a number would be rounded or kept as something else"
    (low, high), (least, most) = have._range, want._range
    return None if low <= least and most <= high else f"it holds {low} to {high} only"


def _number(have: ColumnType, want: ColumnType) -> str | None:
    if have.is_unsigned and not want.is_unsigned:
        return "numbers below 0 do not fit"
    if want.name == "decimal":
        if have.name != "decimal":
            return "decimals would be rounded or kept as something else"
        assert have.length and want.length and have.scale is not None and want.scale is not None  # noqa: S101, PT018  as parsed
        if have.scale < want.scale:
            return f"decimals would be rounded to {have.scale}"
        whole = have.length - have.scale
        return None if whole >= want.length - want.scale else f"only {whole} digits fit before the point"
    if have.name not in ("double", want.name):
        return (
            "a number would be rounded: 16777217 to 16777216" if have.name == "float" else "a number would be rounded"
        )
    is_cut = have.scale is not None and (have.name, have.length, have.scale) != (want.name, want.length, want.scale)
    return f"a number would be rounded to {have.scale} decimals" if is_cut else None


# What these make of text, without a word.
_TEXT_MISREAD = {
    **dict.fromkeys(_INTEGER_BITS, "the text '4.7' would become 5"),
    "decimal": "the text '1e2' would become 100",
    "float": "the text '1.10' would become 1.1",
    "double": "the text '1.10' would become 1.1",
    "time": "the text '0930' would become 00:09:30",
    "date": "the text '240501' would become 2024-05-01",
    "datetime": "the text '240501' would become 2024-05-01 00:00:00",
    "timestamp": "the text '240501' would become 2024-05-01 00:00:00",
    "year": "the text '24' would become 2024",
    "enum": "the text '2' may become the second member",
    "set": "the text '3' may become the first two members",
}


def _text(have: ColumnType, want: ColumnType) -> str | None:
    if not have.is_text:
        return _TEXT_MISREAD.get(have.name, "text would be refused or kept as something else")
    if have.name == "char" and want.name != "char":
        return "blanks at the end would be cut"
    if have.length is not None and have.name in ("char", "varchar"):
        characters = want.length if want.length is not None else _TEXT_BYTES.get(want.name, 0)
        if have.length < characters:
            return f"longer text does not fit {have.length} characters"
    else:
        most = _TEXT_BYTES[have.name]
        wanted = _TEXT_BYTES.get(want.name, 0) if want.length is None else want.length * _character_bytes(have.charset)
        if most < wanted:
            return f"longer text does not fit {most} bytes"
    return _charset(have, want)


def _character_bytes(charset: str | None) -> int:
    """The most bytes a character takes."""
    return 4 if charset == _UNICODE else 3 if charset in ("utf8", "utf8mb3") else 2


def _charset(have: ColumnType, want: ColumnType) -> str | None:
    if have.charset == _UNICODE or have.charset == want.charset or want.charset in (None, "ascii"):
        return None
    return f"its characters are {have.charset}, and {want.charset} is wanted"


def _bytes(have: ColumnType, want: ColumnType) -> str | None:
    if have.name not in _BINARIES:
        return "bytes would be refused, or read as text"
    if have.name == "binary" and (want.name != "binary" or have.length != want.length):
        return "a shorter value would be filled up with zeros"
    most, wanted = _binary_bytes(have), _binary_bytes(want)
    return f"longer values do not fit {most} bytes" if most < wanted else None


def _binary_bytes(kind: ColumnType) -> int:
    if (
        kind.name == "blob" and kind.length is not None
    ):  # as it is declared: the server takes the smallest BLOB that fits
        return kind.length
    return _BLOB_BYTES.get(kind.name, kind.length or 1)


def _small_number(have: ColumnType, want: ColumnType) -> str | None:
    low, high = (0, (1 << (want.length or 1)) - 1) if want.name == "bit" else (0, 2155)
    if have.name in _INTEGER_BITS:
        least, most = have._range
        return None if least <= low and high <= most else f"it holds {least} to {most} only"
    if have.name != want.name:
        return "a number would be kept as something else"
    is_narrow = want.name == "bit" and (have.length or 1) < (want.length or 1)
    return f"it holds {have.length or 1} bits only" if is_narrow else None


def _uuid(have: ColumnType) -> str | None:
    if have.name == "uuid" or have.name in _TEXT_BYTES:
        return None
    if have.name not in ("char", "varchar"):
        return "a UUID's text would be refused, or kept as something else; BINARY(16) takes Cast(bytes_from='uuid')"
    return None if (have.length or 1) >= _UUID_CHARACTERS else f"a UUID has {_UUID_CHARACTERS} characters"


def _instant(have: ColumnType, want: ColumnType) -> str | None:
    if have.name == "timestamp" and want.name == "datetime":
        return "instants before 1970 or after 2038 do not fit"
    if have.name != want.name and (have.name, want.name) != ("datetime", "timestamp"):
        return "an instant would be cut or kept as something else"
    if (have.length or 0) < (want.length or 0):
        return f"23:59:59.999999 would be rounded or cut to {have.length or 0} decimals, into the next day or year even"
    return None
