"""Dead letters into the ledger: original bytes beside the error, in the load's transaction."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from kafka_ingest.pipelines.decode import position_columns
from kafka_ingest.records import DeadLetter, Headers, OffsetRange, RawSlice
from kafka_ingest.sinks.ledger import DEAD_LETTERS, naive_utc

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
    """Leave exactly `letters` in these ranges: loading a range again forgets what was wrong with it before."""
    for each in ranges:
        connection.execute(
            sa.delete(DEAD_LETTERS).where(
                DEAD_LETTERS.c.stream == stream,
                DEAD_LETTERS.c.topic == each.topic,
                DEAD_LETTERS.c.kafka_partition == each.partition,
                DEAD_LETTERS.c.kafka_offset >= each.start,
                DEAD_LETTERS.c.kafka_offset < each.end,
            )
        )
    pending: list[dict[str, Any]] = []
    size = 0
    for letter in sorted(letters, key=lambda one: one.number):
        row = _row(stream, raw, letter, run_id, now)
        weight = len(row["message_value"] or b"") + len(row["message_key"] or b"")
        if pending and size + weight > _BYTES_A_STATEMENT:
            connection.execute(sa.insert(DEAD_LETTERS), pending)
            pending, size = [], 0
        pending.append(row)
        size += weight
    if pending:
        connection.execute(sa.insert(DEAD_LETTERS), pending)


def _row(stream: str, raw: RawSlice, letter: DeadLetter, run_id: str, now: dt.datetime) -> dict[str, Any]:
    number = letter.number
    where = raw.ranges[raw.range_index[number]]
    stamp = position_columns(raw, [number])["_kafka_timestamp"].iloc[0]
    return {
        "stream": stream,
        "topic": where.topic,
        "kafka_partition": where.partition,
        "kafka_offset": int(raw.offsets[number]),
        "kafka_timestamp": None if stamp is None or stamp != stamp else stamp.to_pydatetime(),
        "route": letter.route,
        "stage": letter.stage,
        "error": _printable(letter.error),
        "message_key": raw.keys[number],
        "message_value": raw.values[number],
        "message_headers": encode_headers(raw.headers[number]),
        "run_id": run_id,
        "created_at": naive_utc(now),
    }


def _printable(text: str) -> str:
    """Error texts quote the message; what UTF-8 cannot hold is escaped."""
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
