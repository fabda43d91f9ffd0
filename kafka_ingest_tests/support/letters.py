"""Streams that fail and streams that are fixed, and short ways to replay what the first left behind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd

from kafka_ingest.engine.replay import plan_replay, replay
from kafka_ingest.ledger import dead_letters
from kafka_ingest.ledger.dead_letter_filter import DeadLetterFilter, conditions
from kafka_ingest.ledger.dead_letters import StoredDeadLetter
from kafka_ingest.sinks.replay_proposal import ReplayResult
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.streams.step import StepContext
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED, Event
from kafka_ingest.testing.target import NOW, Target

LATER = NOW + dt.timedelta(hours=1)

FIXED = replace(MIXED, max_dead_letter_ratio=1.0)
"""Takes events, also as `evt`, and accounts, which tombstones delete."""


def refuse_all(rows: pd.DataFrame, context: StepContext) -> pd.DataFrame:
    """A step with a bug: it refuses every row."""
    context.reject(pd.Series("the step was wrong", index=rows.index))
    return rows.iloc[:0]


BROKEN = replace(FIXED, steps=(refuse_all,))
"""Every message becomes a dead letter but tombstones."""

NO_ROUTES = replace(FIXED, routes={"other": Event})
"""Every message is a dead letter, tombstones too."""


def event(name: str, amount: int | None = 1, **fields: Any) -> dict[str, Any]:
    return {"type": "event", "name": name, "amount": amount} | fields


def account(key: str, balance: int) -> dict[str, Any]:
    return {"type": "account", "id": key, "balance": balance}


def run_replay(
    target: Target,
    stream: Stream = FIXED,
    wanted: DeadLetterFilter | None = None,
    *,
    run_id: str = "replay",
    limit: int | None = None,
    dry_run: bool = False,
    at_step: Callable[[str], None] = lambda _step: None,
) -> list[ReplayResult]:
    plan = plan_replay(target.sink, stream, wanted or DeadLetterFilter(), run_id=run_id, limit=limit)
    return list(replay(target.sink, plan, run_id=run_id, dry_run=dry_run, now=lambda: LATER, at_step=at_step))


def became(results: list[ReplayResult]) -> dict[str, str]:
    """Position → outcome."""
    return {letter.position: letter.outcome for result in results for letter in result.letters}


def kept(target: Target, wanted: DeadLetterFilter | None = None) -> list[StoredDeadLetter]:
    """Dead letters of the table, by default all of them, in order of id."""
    with target.sink.engine.connect() as connection:
        return dead_letters.read_dead_letters(connection, conditions(wanted or DeadLetterFilter(status="all")), 10_000)


def dump(target: Target) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for the ledger's version, which has the time of its making."""
    tables = target.all(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'kafka_ingest_ledger'"
    )
    return {name: sorted(target.all(f'SELECT * FROM "{name}"'), key=repr) for (name,) in tables}


def loaded(stream: Stream = BROKEN, *parts: Part, sink: SQLiteSink | None = None) -> Target:
    """A database where `stream` has loaded these ranges, by default three events and an account, into dead letters."""
    target = Target(FIXED, sink)
    ranges = parts or (Part([Msg(event("a")), Msg(event("b")), Msg(event("c")), Msg(account("x", 5))]),)
    raw = raw_slice(*ranges)
    target.pin({r.topic_partition: r.start for r in raw.ranges})
    target.load(raw, stream=stream)
    return target


def names(target: Target) -> list[str]:
    """Of the events in the table, in order of Kafka position."""
    return [name for (name,) in target.rows(Event, "name")]
