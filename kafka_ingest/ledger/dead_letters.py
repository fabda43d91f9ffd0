"""Dead letters in the ledger: written beside the rows of their slice, found, read in bounded slices, locked, marked."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
import sqlalchemy as sa

from kafka_ingest.ledger.dead_letter_filter import Condition, waiting
from kafka_ingest.ledger.forgotten_letters import forget_letters
from kafka_ingest.ledger.range_sql import in_lists, range_conditions
from kafka_ingest.ledger.tables import DEAD_LETTERS, aware_utc, naive_utc
from kafka_ingest.ledger.version import VERSION, check_version
from kafka_ingest.slices import (
    DeadLetter,
    Headers,
    OffsetRange,
    Outcome,
    Position,
    RawSlice,
    TopicPartition,
    position_columns,
)
from kafka_ingest.type_names import SqlSelect

if TYPE_CHECKING:
    from pandas.api.typing import NaTType
    from typing_extensions import NotRequired

_C = DEAD_LETTERS.c
_BODIES = ("message_key", "message_value", "message_headers")
_ERROR_CHARACTERS = 4_000
# Bodies can be megabytes each; a statement has to stay under the server's max_allowed_packet (64 MiB by default).
_BYTES_A_STATEMENT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterInfo:
    """A dead letter without its bytes."""

    id: int
    stream: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: dt.datetime | None
    kafka_order: int | None
    """The message's order, in milliseconds (`RawSlice.orders`); None in entries of older versions."""
    route: str | None
    stage: str
    error: str
    run_id: str
    created_at: dt.datetime
    attempts: int
    replayed_at: dt.datetime | None
    replay_run_id: str | None
    replay_outcome: Outcome | None
    published_at: dt.datetime | None
    publish_error: str | None
    key_bytes: int | None
    value_bytes: int | None

    @property
    def position(self) -> str:
        """`topic[partition]@offset` of its message."""
        return str(Position(self.topic, self.kafka_partition, self.kafka_offset))

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.kafka_partition)

    @property
    def is_waiting(self) -> bool:
        """Whether no replay has made anything of it but a dead letter again."""
        return self.replay_outcome in (None, "dead_letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter(DeadLetterInfo):
    """A dead letter with its original bytes."""

    key: bytes | None
    value: bytes | None
    headers: Headers | None


@dataclass(frozen=True, slots=True)
class WaitingLetter:
    """A dead letter in a line."""

    position: str
    stage: str
    error: str


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters of a stream that failed alike."""

    stream: str
    stage: str
    error: str
    letters: int


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
    told = forget_letters(connection, stream, ranges)
    if not letters:
        return
    pending: list[_LetterRow] = []
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


class _LetterRow(TypedDict):
    stream: str
    topic: str
    kafka_partition: int
    kafka_offset: int
    kafka_timestamp: dt.datetime | None
    kafka_order: int
    route: str | None
    stage: str
    error: str
    message_key: bytes | None
    message_value: bytes | None
    message_headers: str | None
    run_id: str
    created_at: dt.datetime
    published_at: NotRequired[dt.datetime | None]


def _row(
    stream: str, raw: RawSlice, letter: DeadLetter, stamp: pd.Timestamp | NaTType, run_id: str, now: dt.datetime
) -> _LetterRow:
    number = letter.number
    where = raw.ranges[raw.range_index[number]]
    return {
        "stream": stream,
        "topic": where.topic,
        "kafka_partition": where.partition,
        "kafka_offset": int(raw.offsets[number]),
        "kafka_timestamp": stamp.to_pydatetime() if isinstance(stamp, pd.Timestamp) else None,
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
    """An error text as it is stored: it quotes the message, so what UTF-8 or a database's text (U+0000) cannot hold is escaped,
    and it is cut."""
    return text[:_ERROR_CHARACTERS].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


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


def bytes_document(data: bytes | None) -> dict[str, str | None] | None:
    """A message's bytes for programs: in base64, and as text where they are UTF-8."""
    if data is None:
        return None
    try:
        text: str | None = data.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    return {"base64": base64.b64encode(data).decode("ascii"), "text": text}


def has_dead_letters_table(connection: sa.Connection) -> bool:
    """False before the first run has made the ledger."""
    return sa.inspect(connection).has_table(DEAD_LETTERS.name)


def count(connection: sa.Connection, where: Condition, parameters: Mapping[str, object] | None = None) -> int:
    """How many dead letters the condition takes. parameters: of the condition, where it has some."""
    number = sa.select(sa.func.count()).select_from(DEAD_LETTERS).where(where)
    return int(connection.execute(number, parameters).scalar_one())


def count_waiting(connection: sa.Connection, stream: str, *, at_most: int | None = None) -> int:
    """How many letters of a stream wait to be replayed; counting ends at `at_most`."""
    mine = sa.select(_C.id).where(_C.stream == stream, waiting()).limit(at_most).subquery()
    return int(connection.execute(sa.select(sa.func.count()).select_from(mine)).scalar_one())


def count_waiting_in(connection: sa.Connection, stream: str, ranges: Iterable[OffsetRange]) -> int:
    """How many letters of a stream wait in these ranges; none before the first run has made the ledger."""
    if not has_dead_letters_table(connection):
        return 0
    within = range_conditions((_C.topic, _C.kafka_partition, _C.kafka_offset), ranges)
    mine = sa.and_(_C.stream == stream, waiting())
    return sum(count(connection, sa.and_(mine, condition), values) for condition, values in within)


def count_by_topic(connection: sa.Connection, where: Condition) -> dict[str, int]:
    """How many dead letters of each topic the condition takes; topics without one are left out."""
    rows = connection.execute(sa.select(_C.topic, sa.func.count()).where(where).group_by(_C.topic).order_by(_C.topic))
    return {topic: int(number) for topic, number in rows}


def last_id(connection: sa.Connection, where: Condition) -> int:
    """The newest dead letter's id; 0 where there is none."""
    return int(connection.execute(sa.select(sa.func.max(_C.id)).where(where)).scalar() or 0)


def groups(connection: sa.Connection, where: Condition, limit: int) -> list[DeadLetterGroup]:
    """Counts by stream, stage and error, most first."""
    number = sa.func.count().label("letters")
    query = sa.select(_C.stream, _C.stage, _C.error, number).where(where).group_by(_C.stream, _C.stage, _C.error)
    rows = connection.execute(query.order_by(number.desc(), _C.stream, _C.stage, _C.error).limit(limit))
    return [DeadLetterGroup(r.stream, r.stage, r.error, int(r.letters)) for r in rows]


def newest(connection: sa.Connection, where: Condition, limit: int) -> list[DeadLetterInfo]:
    """The dead letters recorded last, newest first, without their bytes."""
    rows = connection.execute(_info_query(connection).where(where).order_by(_C.id.desc()).limit(limit)).mappings()
    return [DeadLetterInfo(**_plain(row)) for row in rows]


def newest_waiting(connection: sa.Connection, stream: str, limit: int) -> list[WaitingLetter]:
    """Of the stream's letters that wait to be replayed those recorded last, newest first.

    However many wait or were replayed, so many of each outcome are read: the index of outcomes ends with the id.
    """
    outcomes = (_C.replay_outcome.is_(None), _C.replay_outcome == "dead_letter")  # together `waiting()`
    last = (sa.select(_C.id).where(_C.stream == stream, o).order_by(_C.id.desc()).limit(limit) for o in outcomes)
    ids = sa.union_all(*(sa.select(each.subquery()) for each in last)).subquery()
    shown = sa.select(_C.topic, _C.kafka_partition, _C.kafka_offset, _C.stage, _C.error)
    rows = connection.execute(shown.join(ids, ids.c.id == _C.id).order_by(_C.id.desc()).limit(limit))
    return [
        WaitingLetter(str(Position(topic, part, offset)), stage, error) for topic, part, offset, stage, error in rows
    ]


def read_dead_letters(connection: sa.Connection, where: Condition, limit: int) -> list[StoredDeadLetter]:
    """Dead letters with their bytes, in order of id. The caller bounds their size (`next_slice`) or their number."""
    query = _info_query(connection).add_columns(*(_C[name] for name in _BODIES))
    rows = connection.execute(query.where(where).order_by(_C.id).limit(limit)).mappings()
    return [_letter(dict(row)) for row in rows]


def next_slice(
    connection: sa.Connection, where: Condition, *, after_id: int, max_rows: int, max_bytes: int
) -> list[StoredDeadLetter]:
    """The next dead letters after an id, in order of id, bounded by number and size; a larger one comes alone."""
    weight = sum((sa.func.coalesce(sa.func.length(_C[name]), 0) for name in _BODIES), start=sa.literal(0))
    query = sa.select(_C.id, weight.label("weight")).where(where, _C.id > after_id).order_by(_C.id).limit(max_rows)
    ids: list[int] = []
    size = 0
    for row in connection.execute(query):
        size += int(row.weight)
        if ids and size > max_bytes:
            break
        ids.append(int(row.id))
    return [
        letter
        for part in in_lists(ids)
        for letter in read_dead_letters(connection, sa.and_(where, _C.id.in_(part)), len(part))
    ]


def lock(connection: sa.Connection, where: Condition, letters: Sequence[DeadLetterInfo]) -> set[int]:
    """Lock those of `letters` that still stand where they stood and still answer to `where`; returns their ids.

    In order of id, after the ledger's rows, so that nobody waits for anybody in a circle.
    """
    positions = {letter.id: letter.position for letter in letters}
    found = set()
    for part in in_lists(sorted(positions)):
        query = sa.select(_C.id, _C.topic, _C.kafka_partition, _C.kafka_offset).where(where, _C.id.in_(part))
        for r in connection.execute(query.order_by(_C.id).with_for_update()):
            if positions[r.id] == str(Position(r.topic, r.kafka_partition, r.kafka_offset)):
                found.add(int(r.id))
    return found


def mark_replayed(
    connection: sa.Connection,
    outcomes: Mapping[int, Outcome],
    still_dead: Mapping[int, DeadLetter],
    *,
    run_id: str,
    now: dt.datetime,
) -> None:
    """Note what became of each dead letter, by id; one that failed again gets its new stage and error."""
    by_change: dict[tuple[Outcome, str | None, str | None, str | None], list[int]] = {}
    for number, outcome in outcomes.items():
        dead = still_dead.get(number)
        change = (None, None, None) if dead is None else (dead.stage, printable(dead.error), dead.route)
        by_change.setdefault((outcome, *change), []).append(number)
    for (outcome, stage, error, route), ids in by_change.items():
        values: dict[str, object] = {
            "attempts": _C.attempts + 1,
            "replayed_at": naive_utc(now),
            "replay_run_id": run_id,
            "replay_outcome": outcome,
        }
        if stage is not None:
            values |= {"stage": stage, "error": error, "route": route}
        for part in in_lists(sorted(ids)):
            connection.execute(sa.update(DEAD_LETTERS).where(_C.id.in_(part)).values(**values))


def mark_published(
    connection: sa.Connection, published: Iterable[int], refused: Mapping[int, str], *, now: dt.datetime
) -> None:
    """Note which dead letters the dead-letter topic has, and which it will never take."""
    for part in in_lists(sorted(published)):
        connection.execute(sa.update(DEAD_LETTERS).where(_C.id.in_(part)).values(published_at=naive_utc(now)))
    for number, error in sorted(refused.items()):
        connection.execute(sa.update(DEAD_LETTERS).where(_C.id == number).values(publish_error=printable(error)))


def _info_query(connection: sa.Connection) -> SqlSelect:
    """A person may look before a run has brought an older ledger up to date, which has no order of messages."""
    lacking = () if check_version(connection) == VERSION else (_C.kafka_order.name,)
    bare = [sa.null().label(c.name) if c.name in lacking else c for c in DEAD_LETTERS.columns if c.name not in _BODIES]
    return sa.select(
        *bare,
        sa.func.length(_C.message_key).label("key_bytes"),
        sa.func.length(_C.message_value).label("value_bytes"),
    )


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row with its instants as UTC."""
    return {name: aware_utc(value) if isinstance(value, dt.datetime) else value for name, value in row.items()}


def _letter(row: dict[str, Any]) -> StoredDeadLetter:
    key, value, headers = (row.pop(name) for name in _BODIES)
    return StoredDeadLetter(**_plain(row), key=key, value=value, headers=decode_headers(headers))
