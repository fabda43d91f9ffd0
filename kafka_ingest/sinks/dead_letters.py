"""Dead letters into the ledger: original bytes beside the error, in the load's transaction."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.pipelines.decode import position_columns
from kafka_ingest.records import DeadLetter, Headers, OffsetRange, RawSlice
from kafka_ingest.sinks.ledger import DEAD_LETTERS, naive_utc
from kafka_ingest.sinks.ranges import range_conditions

_ERROR_CHARACTERS = 4_000
# Bodies can be megabytes each; a statement has to stay under the server's max_allowed_packet (64 MiB by default).
_BYTES_A_STATEMENT = 4 * 1024 * 1024


def replace_dead_letters(
    connection: sa.Connection,
    stream: str,
    raw: RawSlice,
    ranges: Iterable[OffsetRange],
    letters: Sequence[DeadLetter],
    *,
    run_id: str,
    now: dt.datetime,
) -> None:
    """Leave exactly `letters` in these ranges: loading a range again forgets what was wrong with it before, and what a
    replay made of it. Only that a message was published stays known, so that it is not published again."""
    told = _forget(connection, stream, ranges)
    pending: list[dict[str, Any]] = []
    size = 0
    letters = sorted(letters, key=lambda one: one.number)
    numbers = np.array([letter.number for letter in letters], dtype=np.int64)
    for letter, stamp in zip(letters, position_columns(raw, numbers)["_kafka_timestamp"], strict=True):
        row = _row(stream, raw, letter, stamp, run_id, now)
        row["published_at"] = told.get((row["topic"], row["kafka_partition"], row["kafka_offset"]))
        weight = len(row["message_value"] or b"") + len(row["message_key"] or b"")
        if pending and size + weight > _BYTES_A_STATEMENT:
            connection.execute(sa.insert(DEAD_LETTERS), pending)
            pending, size = [], 0
        pending.append(row)
        size += weight
    if pending:
        connection.execute(sa.insert(DEAD_LETTERS), pending)


def _forget(
    connection: sa.Connection, stream: str, ranges: Iterable[OffsetRange]
) -> dict[tuple[str, int, int], dt.datetime]:
    """Delete the letters of these ranges; when each of them was published that was."""
    c = DEAD_LETTERS.c
    told: dict[tuple[str, int, int], dt.datetime] = {}
    for condition in range_conditions((c.topic, c.kafka_partition, c.kafka_offset), ranges):
        mine = sa.and_(c.stream == stream, condition)
        published = sa.select(c.topic, c.kafka_partition, c.kafka_offset, c.published_at)
        rows = connection.execute(published.where(mine, c.published_at.is_not(None)))
        told |= {(r.topic, r.kafka_partition, r.kafka_offset): r.published_at for r in rows}
        connection.execute(sa.delete(DEAD_LETTERS).where(mine))
    return told


def _row(stream: str, raw: RawSlice, letter: DeadLetter, stamp: Any, run_id: str, now: dt.datetime) -> dict[str, Any]:
    number = letter.number
    where = raw.ranges[raw.range_index[number]]
    return {
        "stream": stream,
        "topic": where.topic,
        "kafka_partition": where.partition,
        "kafka_offset": int(raw.offsets[number]),
        "kafka_timestamp": None if stamp is pd.NaT else stamp.to_pydatetime(),
        "kafka_order": int(raw.orders[number]),
        "route": letter.route,
        "stage": letter.stage,
        "error": printable(letter.error),
        "message_key": raw.keys[number],
        "message_value": raw.values[number],
        "message_headers": encode_headers(raw.headers[number]),
        "run_id": run_id,
        "created_at": naive_utc(now),
    }


def printable(text: str) -> str:
    """An error text as it is stored: it quotes the message, so what UTF-8 cannot hold is escaped, and it is cut."""
    return text[:_ERROR_CHARACTERS].encode("utf-8", "backslashreplace").decode("utf-8")


def encode_headers(headers: Headers | None) -> str | None:
    """Headers as JSON; values in base64, as they are bytes; order and repeats kept."""
    if headers is None:
        return None
    return json.dumps([[n, None if v is None else base64.b64encode(v).decode("ascii")] for n, v in headers])


def decode_headers(text: str | None) -> Headers | None:
    """The headers `encode_headers` wrote."""
    if text is None:
        return None
    return [(name, None if value is None else base64.b64decode(value)) for name, value in json.loads(text)]
