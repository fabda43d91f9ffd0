"""Dead letters that stand in the ledger: found by filter, read in bounded slices, locked, marked."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.records import DeadLetter, Headers, Outcome, Stage, TopicPartition
from kafka_ingest.sinks.dead_letters import decode_headers, printable
from kafka_ingest.sinks.ledger import DEAD_LETTERS, aware_utc, naive_utc
from kafka_ingest.sinks.ledger_version import VERSION, check_version
from kafka_ingest.sinks.ranges import in_lists

Status = Literal["waiting", "replayed", "all"]
"""`waiting`: never replayed, or still a dead letter after it. `replayed`: became a row, a delete or ignored."""

_C = DEAD_LETTERS.c
_BODIES = ("message_key", "message_value", "message_headers")


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which dead letters. Everything left out is not looked at; instants are `[since, until)`."""

    stream: str | None = None
    topics: tuple[str, ...] = ()
    partition: int | None = None
    first_offset: int | None = None
    end_offset: int | None = None
    """Exclusive."""
    route: str | None = None
    stage: Stage | None = None
    error: str | None = None
    """A part of the error text, or a whole LIKE pattern where it has a `%`."""
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    clock: Literal["created", "kafka"] = "created"
    """Whether `since` and `until` mean when the letter was recorded, or the message's Kafka timestamp."""
    status: Status = "waiting"

    def __post_init__(self) -> None:
        for name, instant in (("from", self.since), ("to", self.until)):
            if instant is not None and instant.tzinfo is None:
                raise ConfigError(f"{name}={instant} needs a time zone")
        if self.since and self.until and self.since >= self.until:
            raise ConfigError(f"nothing lies between {self.since} and {self.until}: `from` has to be before `to`")


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterInfo:
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
        return f"{self.topic}[{self.kafka_partition}]@{self.kafka_offset}"

    @property
    def topic_partition(self) -> TopicPartition:
        return TopicPartition(self.topic, self.kafka_partition)

    @property
    def is_waiting(self) -> bool:
        return self.replay_outcome in (None, "dead_letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(LetterInfo):
    """A dead letter with its original bytes."""

    key: bytes | None
    value: bytes | None
    headers: Headers | None


@dataclass(frozen=True, slots=True)
class LetterGroup:
    """Letters of a stream that failed alike."""

    stream: str
    stage: str
    error: str
    letters: int


Condition = sa.ColumnElement[bool]


def waiting() -> Condition:
    """Letters a replay would take."""
    return sa.or_(_C.replay_outcome.is_(None), _C.replay_outcome == "dead_letter")


def conditions(wanted: LetterFilter) -> Condition:
    """A filter as SQL."""
    instant = _C.created_at if wanted.clock == "created" else _C.kafka_timestamp
    exact: list[tuple[sa.ColumnElement[Any], object]] = [
        (_C.stream, wanted.stream),
        (_C.kafka_partition, wanted.partition),
        (_C.route, wanted.route),
        (_C.stage, wanted.stage),
    ]
    found = [column == value for column, value in exact if value is not None]
    if wanted.topics:
        found.append(_C.topic.in_(wanted.topics))
    if wanted.first_offset is not None:
        found.append(_C.kafka_offset >= wanted.first_offset)
    if wanted.end_offset is not None:
        found.append(_C.kafka_offset < wanted.end_offset)
    if wanted.error is not None:
        is_pattern = "%" in wanted.error
        found.append(_C.error.like(wanted.error) if is_pattern else _C.error.icontains(wanted.error, autoescape=True))
    if wanted.since is not None:
        found.append(instant >= naive_utc(wanted.since))
    if wanted.until is not None:
        found.append(instant < naive_utc(wanted.until))
    if wanted.status != "all":
        found.append(waiting() if wanted.status == "waiting" else sa.not_(waiting()))
    return sa.and_(sa.true(), *found)


def has_letters_table(connection: sa.Connection) -> bool:
    """False before the first run has made the ledger."""
    return sa.inspect(connection).has_table(DEAD_LETTERS.name)


def count(connection: sa.Connection, where: Condition) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(DEAD_LETTERS).where(where)).scalar_one())


def count_by_topic(connection: sa.Connection, where: Condition) -> dict[str, int]:
    rows = connection.execute(sa.select(_C.topic, sa.func.count()).where(where).group_by(_C.topic).order_by(_C.topic))
    return {topic: int(number) for topic, number in rows}


def last_id(connection: sa.Connection, where: Condition) -> int:
    """The newest letter's id; 0 where there is none."""
    return int(connection.execute(sa.select(sa.func.max(_C.id)).where(where)).scalar() or 0)


def groups(connection: sa.Connection, where: Condition, limit: int) -> list[LetterGroup]:
    """Counts by stream, stage and error, most first."""
    number = sa.func.count().label("letters")
    query = sa.select(_C.stream, _C.stage, _C.error, number).where(where).group_by(_C.stream, _C.stage, _C.error)
    rows = connection.execute(query.order_by(number.desc(), _C.stream, _C.stage, _C.error).limit(limit))
    return [LetterGroup(r.stream, r.stage, r.error, int(r.letters)) for r in rows]


def newest(connection: sa.Connection, where: Condition, limit: int) -> list[LetterInfo]:
    """The letters recorded last, newest first, without their bytes."""
    rows = connection.execute(_info_query(connection).where(where).order_by(_C.id.desc()).limit(limit)).mappings()
    return [LetterInfo(**_plain(row)) for row in rows]


def read(connection: sa.Connection, where: Condition, limit: int) -> list[Letter]:
    """Letters with their bytes, in order of id. The caller bounds their size (`next_slice`) or their number."""
    query = _info_query(connection).add_columns(*(_C[name] for name in _BODIES))
    rows = connection.execute(query.where(where).order_by(_C.id).limit(limit)).mappings()
    return [_letter(dict(row)) for row in rows]


def next_slice(
    connection: sa.Connection, where: Condition, *, after_id: int, max_rows: int, max_bytes: int
) -> list[Letter]:
    """The next letters after an id, in order of id, bounded by number and size; a larger one comes alone."""
    weight = sum((sa.func.coalesce(sa.func.length(_C[name]), 0) for name in _BODIES), start=sa.literal(0))
    query = sa.select(_C.id, weight.label("weight")).where(where, _C.id > after_id).order_by(_C.id).limit(max_rows)
    ids: list[int] = []
    size = 0
    for row in connection.execute(query):
        size += int(row.weight)
        if ids and size > max_bytes:
            break
        ids.append(int(row.id))
    return [letter for part in in_lists(ids) for letter in read(connection, sa.and_(where, _C.id.in_(part)), len(part))]


def lock(connection: sa.Connection, where: Condition, letters: Sequence[LetterInfo]) -> set[int]:
    """Lock those of `letters` that still stand where they stood and still answer to `where`; returns their ids.

    In order of id, after the ledger's rows, so that nobody waits for anybody in a circle.
    """
    positions = {letter.id: letter.position for letter in letters}
    found = set()
    for part in in_lists(sorted(positions)):
        query = sa.select(_C.id, _C.topic, _C.kafka_partition, _C.kafka_offset).where(where, _C.id.in_(part))
        for r in connection.execute(query.order_by(_C.id).with_for_update()):
            if positions[r.id] == f"{r.topic}[{r.kafka_partition}]@{r.kafka_offset}":
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
    """Note what became of each letter, by id; one that failed again gets its new stage and error."""
    by_change: dict[tuple[Outcome, str | None, str | None, str | None], list[int]] = {}
    for number, outcome in outcomes.items():
        dead = still_dead.get(number)
        change = (None, None, None) if dead is None else (dead.stage, printable(dead.error), dead.route)
        by_change.setdefault((outcome, *change), []).append(number)
    for (outcome, stage, error, route), ids in by_change.items():
        values: dict[str, Any] = {
            "attempts": _C.attempts + 1,
            "replayed_at": naive_utc(now),
            "replay_run_id": run_id,
            "replay_outcome": outcome,
        }
        if stage is not None:
            values |= {"stage": stage, "error": error, "route": route}
        for part in in_lists(sorted(ids)):
            connection.execute(sa.update(DEAD_LETTERS).where(_C.id.in_(part)).values(**values))


def unpublished(stream: str) -> Condition:
    """Letters of a stream that still wait and that its dead-letter topic has neither got nor refused."""
    return sa.and_(_C.stream == stream, _C.published_at.is_(None), _C.publish_error.is_(None), waiting())


def mark_published(
    connection: sa.Connection, published: Iterable[int], refused: Mapping[int, str], *, now: dt.datetime
) -> None:
    """Note which letters the dead-letter topic has, and which it will never take."""
    for part in in_lists(sorted(published)):
        connection.execute(sa.update(DEAD_LETTERS).where(_C.id.in_(part)).values(published_at=naive_utc(now)))
    for number, error in sorted(refused.items()):
        connection.execute(sa.update(DEAD_LETTERS).where(_C.id == number).values(publish_error=printable(error)))


def tried_by(run_id: str) -> Condition:
    """Letters this run has replayed already."""
    return sa.and_(_C.replay_run_id.is_not(None), _C.replay_run_id == run_id)


def not_tried_by(run_id: str) -> Condition:
    """The others."""
    return sa.or_(_C.replay_run_id.is_(None), _C.replay_run_id != run_id)


def up_to(newest_id: int) -> Condition:
    """Letters recorded before or with this one."""
    return _C.id <= newest_id


def with_id(number: int) -> Condition:
    return _C.id == number


def at_position(topic: str, partition: int, offset: int) -> Condition:
    return sa.and_(_C.topic == topic, _C.kafka_partition == partition, _C.kafka_offset == offset)


def _info_query(connection: sa.Connection) -> sa.Select[Any]:
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


def _letter(row: dict[str, Any]) -> Letter:
    key, value, headers = (row.pop(name) for name in _BODIES)
    return Letter(**_plain(row), key=key, value=value, headers=decode_headers(headers))
