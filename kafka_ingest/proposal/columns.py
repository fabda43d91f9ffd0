"""The columns of one model: of the fields in a sample, and of those that a schema declares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kafka_ingest.proposal.code import code
from kafka_ingest.proposal.dates import DateForm, date_form
from kafka_ingest.proposal.fields import MIN_MESSAGES, Field, Path, can_be_read, fields_of
from kafka_ingest.proposal.keys import NoKey, RowKey, row_key
from kafka_ingest.proposal.names import Names
from kafka_ingest.proposal.plan import Column, LeftOut
from kafka_ingest.proposal.row_size import fitted
from kafka_ingest.proposal.schemas import Declared
from kafka_ingest.proposal.types import (
    BIG_INTEGER,
    KEY_CHARACTERS,
    OURS,
    ColumnType,
    date_type,
    text_of,
    text_type,
    type_of,
)
from kafka_ingest.streams.model import PLACE_COLUMNS

_TEXT = text_of(2_001, 2_001)
_MOST_DOC = 200
_WIDE = 5
"""Columns that are saved where an object is kept whole."""


@dataclass(frozen=True, slots=True)
class Group:
    """The messages of one model."""

    messages: Sequence[Mapping[str, Any]]
    keys: Sequence[bytes | None]
    tombstones: int
    names: tuple[str, ...]
    """What its entity may be called."""
    ignored: frozenset[Path]
    """Fields that are no columns: the message type, where the model has only one."""


def columns_of(
    group: Group, declared: Sequence[Declared]
) -> tuple[tuple[Column, ...], RowKey | NoKey, tuple[LeftOut, ...]]:
    """The columns, the key, and the fields without a column. An object with many fields is kept whole where a row has no room
    for all of them."""
    whole = {each.path for each in declared if each.is_whole}
    while True:
        columns, key, left_out = _columns_of(group, declared, whole)
        kept, others = fitted(columns)
        widest = Counter(each.path[0] for each in columns if each.path is not None and len(each.path) > 1)
        if not others or not widest or widest.most_common(1)[0][1] < _WIDE:
            break
        top = (widest.most_common(1)[0][0],)
        whole.add(top)
        declared = [each for each in declared if each.path[0] != top[0]]
    left_out += [LeftOut(".".join(each.path or ()), "a row of MySQL has no room for more columns") for each in others]
    return tuple(kept), key, tuple(left_out)


def _columns_of(
    group: Group, declared: Sequence[Declared], whole: Collection[Path]
) -> tuple[list[Column], RowKey | NoKey, list[LeftOut]]:
    by_path = {each.path: each for each in declared}
    found = {field.path: field for field in fields_of(group.messages, whole) if field.path not in group.ignored}
    fields = {path: found.get(path) for path in (*by_path, *found) if path not in group.ignored}
    key = row_key(
        [each for path, each in fields.items() if each is not None and can_be_read(path)],
        group.keys,
        group.tombstones,
        group.names,
    )
    names = Names(PLACE_COLUMNS)
    columns = [message_key_column(names, group)] if isinstance(key, RowKey) and not key.paths else []
    left_out = []
    for path, field in fields.items():
        if field is not None and not field.seen and path not in by_path:
            left_out.append(LeftOut(".".join(path), "null in all messages: declare it once its type is known"))
            continue
        if not can_be_read(path):
            left_out.append(
                LeftOut(".".join(path), "no path leads to a name with quotes, backslashes or control characters")
            )
            continue
        columns.append(_column(path, field, by_path.get(path), names, len(group.messages)))
    if isinstance(key, RowKey):
        columns = [as_key(column, fields) if column.path in key.paths else column for column in columns]
        columns.sort(key=lambda column: not column.is_key)
    return columns, key, left_out


def _column(path: Path, field: Field | None, declared: Declared | None, names: Names, total: int) -> Column:
    seen = 0 if field is None else field.seen
    name = names.column(path)
    if declared is not None:
        return Column(
            attribute=name,
            name=name,
            type=_declared_type(field, declared),
            path=path,
            is_nullable=declared.is_nullable or seen < total,
            seen=seen,
            total=total,
            doc=None if declared.doc is None else declared.doc[:_MOST_DOC],
        )
    assert field is not None  # noqa: S101  else nothing knows of it
    kind = type_of(field)
    is_blank = kind.is_date and any(type(value) is str and not value.strip() for value in field.values)
    is_always = seen == total and total >= MIN_MESSAGES and not is_blank
    return Column(attribute=name, name=name, type=kind, path=path, is_nullable=not is_always, seen=seen, total=total)


def _declared_type(field: Field | None, declared: Declared) -> ColumnType:
    if field is not None and field.seen and not declared.is_certain:
        form = date_form(field)
        if isinstance(form, DateForm):
            return date_type(form)
    if declared.type is not None:
        return declared.type
    return _TEXT if field is None or not field.seen else type_of(field)


def message_key_column(names: Names, group: Group) -> Column:
    """The column of the message's own key."""
    texts = [(key or b"").decode("utf-8", "replace") for key in group.keys]
    name = names.column(("message_key",))
    return Column(
        attribute=name,
        name=name,
        type=_key_text_type(texts),
        path=None,
        source=code("Key()", Key=OURS),
        is_nullable=False,
        is_key=True,
        seen=len(texts),
        total=len(texts),
    )


def as_key(column: Column, fields: Mapping[Path, Field | None]) -> Column:
    """The column as one of the key: never NULL, and of a type that keys may have."""
    field = fields.get(column.path or ())
    kind = column.type
    if field is not None and kind.type is not None and not kind.type.text.startswith(("Uuid", "BigInteger")):
        kind = BIG_INTEGER if kind.python.text == "int" else _key_text_type(field.values)
    return replace(column, type=kind, is_nullable=False, is_key=True)


def _key_text_type(values: Sequence[Any]) -> ColumnType:
    found = text_type(values)
    if found.characters is not None and found.characters <= KEY_CHARACTERS:
        return found
    return replace(
        text_of(1, 1), type=code(f"String({KEY_CHARACTERS})", String="sqlalchemy"), characters=KEY_CHARACTERS
    )
