"""Dead letters of ranges that are loaded again: they are forgotten, but for when they were published."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from kafka_ingest.ledger.range_sql import KEPT_STATEMENTS, range_conditions
from kafka_ingest.ledger.tables import DEAD_LETTERS
from kafka_ingest.slices import OffsetRange

_C = DEAD_LETTERS.c
_POSITION = (_C.topic, _C.kafka_partition, _C.kafka_offset)


def forget_letters(
    connection: sa.Connection, stream: str, ranges: Iterable[OffsetRange]
) -> dict[tuple[str, int, int], dt.datetime]:
    """Delete the dead letters of these ranges. Returns the time of publication of those that were published, by position.

    Looked for first, as by `delete_ranges`. The caller holds the lock of the ledger's rows, which every writer of letters takes.
    """
    told: dict[tuple[str, int, int], dt.datetime] = {}
    for condition, places in range_conditions(_POSITION, ranges):
        there, forgotten = _of_stream(condition)
        parameters = {"of_stream": stream, **places}
        rows = connection.execute(there, parameters).all()
        if rows:
            told |= {
                (r.topic, r.kafka_partition, r.kafka_offset): r.published_at for r in rows if r.published_at is not None
            }
            connection.execute(forgotten, parameters)
    return told


@lru_cache(KEPT_STATEMENTS)
def _of_stream(condition: sa.ColumnElement[bool]) -> tuple[sa.Select[Any], sa.Delete]:
    """What finds a stream's letters, and what deletes them."""
    mine = sa.and_(_C.stream == sa.bindparam("of_stream", type_=_C.stream.type), condition)
    there = sa.select(_C.topic, _C.kafka_partition, _C.kafka_offset, _C.published_at).where(mine)
    return there, sa.delete(DEAD_LETTERS).where(mine)
