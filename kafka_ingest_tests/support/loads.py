"""Messages of the stream `mixed`, and short ways to look at what became of them."""

from __future__ import annotations

from typing import Any

from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import Event
from kafka_ingest.testing.target import Target

P0, P1 = TopicPartition("mixed", 0), TopicPartition("mixed", 1)


def event(name: str, amount: int | None = None, code: str | None = None, **more: Any) -> Msg:
    return Msg({"type": "event", "name": name, "amount": amount, "code": code}, **more)


def account(key: str, balance: int, **more: Any) -> Msg:
    return Msg({"type": "account", "id": key, "balance": balance}, **more)


def gone(key: str, **more: Any) -> Msg:
    return Msg(None, key=key.encode(), **more)


def events(*names: str, start: int = 0, end: int | None = None, partition: int = 0) -> RawSlice:
    return raw_slice(Part([event(n) for n in names], start=start, end=end, partition=partition))


def names(target: Target) -> list[Any]:
    return [row[0] for row in target.rows(Event, "name")]


def balances(target: Target) -> dict[str, Any]:
    return dict(target.all("SELECT id, balance FROM t_account"))
