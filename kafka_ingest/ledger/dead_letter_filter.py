"""Which dead letters: by what a person says of them, and as conditions of SQL."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.ledger.tables import DEAD_LETTERS, naive_utc
from kafka_ingest.slices import Position, Stage
from kafka_ingest.type_names import SqlExpression

Status = Literal["waiting", "replayed", "all"]
"""`waiting`: never replayed, or still a dead letter after it. `replayed`: became a row, a delete or ignored."""

_C = DEAD_LETTERS.c


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
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
    """Whether `since` and `until` mean when the dead letter was recorded, or the message's Kafka timestamp."""
    status: Status = "waiting"

    def __post_init__(self) -> None:
        for name, instant in (("from", self.since), ("to", self.until)):
            if instant is not None and instant.tzinfo is None:
                raise ConfigError(f"{name}={instant} needs a time zone", setting=name)
        if self.since and self.until and self.since >= self.until:
            raise ConfigError(f"nothing lies between {self.since} and {self.until}: `from` has to be before `to`")


Condition = sa.ColumnElement[bool]


def waiting() -> Condition:
    """Dead letters a replay would take."""
    return sa.or_(_C.replay_outcome.is_(None), _C.replay_outcome == "dead_letter")


def conditions(wanted: DeadLetterFilter) -> Condition:
    """A filter as SQL."""
    instant = _C.created_at if wanted.clock == "created" else _C.kafka_timestamp
    exact: list[tuple[SqlExpression, object]] = [
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


def unpublished(stream: str) -> Condition:
    """Dead letters of a stream that still wait and that its dead-letter topic has neither got nor refused."""
    return sa.and_(_C.stream == stream, _C.published_at.is_(None), _C.publish_error.is_(None), waiting())


def tried_by(run_id: str) -> Condition:
    """Dead letters this run has replayed already."""
    return sa.and_(_C.replay_run_id.is_not(None), _C.replay_run_id == run_id)


def not_tried_by(run_id: str) -> Condition:
    """The others."""
    return sa.or_(_C.replay_run_id.is_(None), _C.replay_run_id != run_id)


def up_to(newest_id: int) -> Condition:
    """Dead letters recorded before or with this one."""
    return _C.id <= newest_id


def with_id(number: int) -> Condition:
    """The dead letter with this id."""
    return _C.id == number


def at_position(position: Position) -> Condition:
    """The letter of the message that stands here."""
    return sa.and_(
        _C.topic == position.topic,
        _C.kafka_partition == position.partition,
        _C.kafka_offset == position.offset,
    )
