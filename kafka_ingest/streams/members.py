"""Members of ENUM and SET columns."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from kafka_ingest.type_names import SqlType

_MYSQL = mysql.dialect()
_SHOWN_MEMBERS = 200
"""Characters of a list of members in an error."""


def listing_of(kind: SqlType) -> sa.Enum | mysql.SET | None:
    """The ENUM or SET that a type is, or is in MySQL (`with_variant`)."""
    found = kind if isinstance(kind, sa.Enum | mysql.SET) else kind.dialect_impl(_MYSQL)
    return found if isinstance(found, sa.Enum | mysql.SET) else None


def no_member(value: object, members: Sequence[str]) -> str:
    """What is wrong with a value that is none of the members."""
    shown = ", ".join(map(repr, members))
    if len(shown) > _SHOWN_MEMBERS:
        shown = f"{shown[:_SHOWN_MEMBERS]}… ({len(members)} members)"
    return f"{repr(value)[:60]} is not one of {shown}"
