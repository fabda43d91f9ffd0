"""Looking for a secret in everything a Dagster wrote down, in every form it could have there."""

from __future__ import annotations

import base64
import html
import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, quote_plus

# The outermost characters of a secret share their base64 digits with what stands beside it.
_PADS = (0, 1, 2)


def forms(secret: str) -> set[bytes]:
    """The secret as it stands, and as URLs, JSON, Python, HTML and base64 write it, wherever in a text it begins."""
    texts = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        html.escape(secret),
    }
    found = {text.encode() for text in texts} | {secret.encode("latin-1")}
    for pad in _PADS:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(b"\0" * pad + secret.encode())
            whole = encoded[4 if pad else 0 :].rstrip(b"=")
            found.add(whole[:-1])
    return found


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file's bytes, and every cell of every SQLite database, unpacked where it is packed."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        yield str(path), content
        if content.startswith(b"SQLite format 3\0"):
            yield from _cells(path)


def _cells(path: Path) -> Iterator[tuple[str, bytes]]:
    """Long values lie in pieces all over the file, so the bytes of the file alone do not show them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        tables = [row[0].decode() for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for number, row in enumerate(connection.execute(f'SELECT * FROM "{table}"')):
                for cell in row:
                    if isinstance(cell, bytes):
                        yield f"{path}:{table}:{number}", _unpacked(cell)


def _unpacked(cell: bytes) -> bytes:
    if cell[:1] != b"\x78":
        return cell
    try:
        return zlib.decompress(cell)
    except zlib.error:
        return cell


def leaks(secret: str, places: list[tuple[str, bytes]]) -> list[str]:
    """Where it stands; the secret itself is not in what is returned."""
    wanted = forms(secret)
    return [where for where, content in places if any(form in content for form in wanted)]
