"""A table's row has to fit a page: MySQL refuses to make a table whose columns might not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kafka_ingest.proposal.code import code
from kafka_ingest.proposal.plan import Column
from kafka_ingest.proposal.types import SQL

# Half a page of InnoDB is 8,126 bytes, of which a text in pages of its own takes up to 40 and its length (MySQL manual, "Limits
# on Table Column Count and Row Size"); of the rest there is room for what we add, and for columns to come.
_PAGE_BYTES = 7_400
_LENGTH_BYTES = 3
# All VARCHARs together, four bytes a character, of 65,535 bytes. A Text counts for 12.
_VARCHAR_BYTES = 60_000
MOST_COLUMNS = 900


def fitted(columns: Sequence[Column]) -> tuple[list[Column], list[Column]]:
    """The columns that a row has room for, those in most messages first, and the others; the longest Strings are Text where
    they are too long together."""
    by_use = sorted(range(len(columns)), key=lambda at: (not columns[at].is_key, -columns[at].seen, at))
    size = 0
    kept: set[int] = set()
    for at in by_use:
        size += columns[at].type.row_bytes + _LENGTH_BYTES
        if size > _PAGE_BYTES or len(kept) >= MOST_COLUMNS:
            break
        kept.add(at)
    inside = [column for at, column in enumerate(columns) if at in kept]
    return _shortened(inside), [column for at, column in enumerate(columns) if at not in kept]


def _shortened(columns: list[Column]) -> list[Column]:
    size = sum(4 * (column.type.characters or 3) for column in columns)
    longest = sorted(range(len(columns)), key=lambda at: -(columns[at].type.characters or 0))
    for at in longest:
        column = columns[at]
        if size <= _VARCHAR_BYTES or column.type.characters is None:
            break
        if not column.is_key:
            size -= 4 * (column.type.characters - 3)
            columns[at] = replace(column, type=replace(column.type, type=code("Text", Text=SQL), characters=None))
    return columns
