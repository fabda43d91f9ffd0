"""Messages that carry some of their columns, any way to load them, and what has to stand in the table whichever it was."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, ClassVar, Literal

import numpy as np
import sqlalchemy as sa
from hypothesis import strategies as st
from sqlalchemy.orm import Mapped

from kafka_ingest.backfill.table_forecast import table_comparison
from kafka_ingest.ledger.tables import BATCHES, DEAD_LETTERS, OFFSETS
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.kept import PLACE_PREFIX, place_column
from kafka_ingest.streams.model import UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByHeader, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target

UNAVAILABLE = "__debezium_unavailable_value"


class Person(UpsertModel):
    __tablename__ = "t_person"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    whole: Mapped[int | None] = field(sa.Integer)
    number: Mapped[int | None] = field(sa.Integer, path="more.number", keep_absent=True)
    note: Mapped[str] = field(sa.String(40), default="?", keep_absent=UNAVAILABLE)
    doc: Mapped[Any | None] = field(sa.JSON, path="more.doc", keep_absent=True)
    at: Mapped[dt.datetime | None] = date_field(keep_absent=True)


class Versioned(UpsertModel):
    __tablename__ = "t_versioned"
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "version"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    version: Mapped[int | None] = field(sa.BigInteger)
    number: Mapped[int | None] = field(sa.Integer, keep_absent=True)
    note: Mapped[str | None] = field(sa.String(40), keep_absent=True)


class Timed(UpsertModel):
    __tablename__ = "t_timed"
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "changed"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    changed: Mapped[dt.datetime | None] = date_field()
    number: Mapped[int | None] = field(sa.Integer, keep_absent=True)


class ByDay(UpsertModel):
    __tablename__ = "t_kept_by_day"
    deletes: ClassVar[bool | None] = True
    order_by: ClassVar[str | None] = "day"

    id: Mapped[str] = field(sa.String(8), primary_key=True)
    day: Mapped[dt.date | None] = date_field(sa.Date)
    number: Mapped[int | None] = field(sa.Integer, keep_absent=True)


TOPIC = "people-1"
PARTITIONS = (TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 11))
PEOPLE = Stream(
    name="people",
    topics=TOPIC,
    routes={"person": Person, "versioned": Versioned, "timed": Timed, "dated": ByDay},
    route_by=RouteByHeader("type"),
    delete_when={"gone": True},
    max_dead_letter_ratio=1.0,
)
_COLUMNS = {
    Person: ("whole", "number", "note", "doc", "at"),
    Versioned: ("version", "number", "note"),
    Timed: ("changed", "number"),
    ByDay: ("day", "number"),
}
_ORDERS: dict[str, tuple[str, list[Any]]] = {
    "versioned": ("version", [None, -(2**63), -2, -1, 0, 7, 10, 2**63 - 1]),
    "timed": ("changed", [None, "1000-01-01", "2024-05-01 10:00:00.000001", "2024-05-01 10:00:00", "9999-12-31"]),
    "dated": ("day", [None, "1000-01-01", "2024-05-01", "2024-05-02", "9999-12-31"]),
}


@dataclass(frozen=True)
class Sent:
    """A message: the fields that it carries, or a tombstone; `stamp` in seconds, Kafka's timestamp. Where the model has an order
    of its own, the field `gone` makes it a delete."""

    key: str
    stamp: int
    carried: tuple[tuple[str, Any], ...] | None
    kind: str = "person"

    @property
    def msg(self) -> Msg:
        stamp = MORNING_MS + 1_000 * self.stamp
        kind: list[tuple[str, bytes | None]] = [("type", self.kind.encode())]
        if self.carried is None:
            return Msg(None, key=self.key.encode(), headers=kind, timestamp_ms=stamp)
        fields = dict(self.carried)
        more = {name: fields.pop(name) for name in ("number", "doc") if name in fields and self.kind == "person"}
        value = {"id": self.key} | fields | ({"more": more} if more else {})
        return Msg(value, headers=kind, timestamp_ms=stamp)

    @property
    def is_delete(self) -> bool:
        return self.carried is None or ("gone", True) in self.carried


Log = tuple[tuple[Sent, ...], ...]


@dataclass(frozen=True)
class Load:
    kind: Literal["live", "backfill"]
    spans: tuple[tuple[int, int, int], ...]
    """Partition's place in PARTITIONS, start, end; of live loads only the number of offsets counts."""


def _carried(kind: str) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    numbers = st.sampled_from([None, 1, 2, 3])
    fields: dict[str, st.SearchStrategy[Any]] = {"number": numbers}
    if kind == "person":
        fields |= {
            "whole": numbers,
            "note": st.sampled_from([None, "x", "y", UNAVAILABLE]),
            "doc": st.sampled_from([None, {"a": 1}, []]),
            "at": st.sampled_from([None, "2024-05-01T10:00:00Z", "2024-05-02T10:00:00Z"]),
        }
    else:
        name, values = _ORDERS[kind]
        fields |= {name: st.sampled_from(values)}
        fields |= {"note": st.sampled_from([None, "x", "y"])} if kind == "versioned" else {}
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: tuple(sorted(found.items())))


def _gone(kind: str) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    name, values = _ORDERS[kind]
    return st.sampled_from(values[1:]).map(lambda value: ((name, value), ("gone", True)))


def _ordered(kind: str) -> st.SearchStrategy[Sent]:
    carried = st.one_of(_carried(kind), _carried(kind), _gone(kind))
    return st.builds(Sent, st.just("k"), st.integers(0, 4), carried, st.just(kind))


_SENT = st.one_of(
    st.builds(Sent, st.sampled_from("kK"), st.integers(0, 4), _carried("person")),
    st.builds(Sent, st.sampled_from("kK"), st.integers(0, 4), st.none()),
    *map(_ordered, _ORDERS),
)
LOGS: st.SearchStrategy[Log] = st.lists(st.lists(_SENT, min_size=1, max_size=8).map(tuple), min_size=2, max_size=2).map(
    tuple
)


@st.composite
def plans(draw: st.DrawFn, log: Log) -> list[Load]:
    """Live runs and backfills, also of what no live run has come to yet; some slices have both partitions."""
    found = []
    for _ in range(draw(st.integers(0, 6))):
        spans = []
        for place in draw(st.sampled_from([(0,), (1,), (0, 1)])):
            start = draw(st.integers(0, len(log[place]) - 1))
            spans.append((place, start, draw(st.integers(start + 1, len(log[place])))))
        found.append(Load(draw(st.sampled_from(["live", "backfill"])), tuple(spans)))
    return found


def apply(target: Target, log: Log, plan: Sequence[Load]) -> None:
    """Load so, and then live what is left."""
    if not target.offsets():
        target.pin(dict.fromkeys(PARTITIONS, 0))
    for load in (*plan, Load("live", tuple((place, 0, len(own)) for place, own in enumerate(log)))):
        following = list(target.offsets().values())
        spans = [
            (place, following[place], min(following[place] + end - start, len(log[place])))
            if load.kind == "live"
            else (place, start, end)
            for place, start, end in load.spans
        ]
        if spans := [span for span in spans if span[1] < span[2]]:
            target.load(slice_of(log, spans), load.kind)


def forecast_and_outcome(target: Target, log: Log, spans: Sequence[tuple[int, int, int]]) -> tuple[Any, Any]:
    """Rows added, changed and removed by a backfill, table by table: as it is forecast, and as it is; it is loaded."""
    parsed = piped(target.stream, slice_of(log, spans))
    forecasts = []
    with target.sink.engine.connect() as connection:
        for table in target.stream.targets:
            with closing(table_comparison(connection, target.sink, table)) as comparison:
                comparison.compare(parsed)
                result = comparison.result()
            forecasts.append((result.added, result.changed, result.removed))
    before = _whole_rows(target)
    target.load(parsed.raw, "backfill")
    outcomes = []
    for old, new in zip(before, _whole_rows(target), strict=True):
        changed = sum(old[key] != new[key] for key in old.keys() & new.keys())
        outcomes.append((len(new.keys() - old.keys()), changed, len(old.keys() - new.keys())))
    return forecasts, outcomes


def _whole_rows(target: Target) -> list[dict[str, Any]]:
    """Table by table, of each key its columns and position, without the places of kept columns."""
    found = []
    for table in target.stream.targets:
        names = ", ".join(name for name in table.columns if not name.startswith(PLACE_PREFIX))
        found.append({row[0]: row for row in target.all(f"SELECT {names} FROM {table.name}")})
    return found


def clear(target: Target) -> None:
    """Tables and ledger as new."""
    tables = [table for each in target.stream.targets for table in each.tables]
    with target.sink.engine.begin() as connection:
        for table in (*tables, OFFSETS, BATCHES, DEAD_LETTERS):
            connection.execute(sa.delete(table))


def slice_of(log: Log, spans: Sequence[tuple[int, int, int]]) -> RawSlice:
    """The messages of these spans, of which each is a partition's place in PARTITIONS, start and end."""
    parts = [
        Part([m.msg for m in log[place][start:end]], TOPIC, PARTITIONS[place].partition, start)
        for place, start, end in spans
    ]
    orders = [_orders(log[place])[start:end] for place, start, end in spans]
    return replace(raw_slice(*parts), orders=np.array([each for some in orders for each in some], dtype=np.int64))


def _orders(messages: Sequence[Sent]) -> list[int]:
    return [MORNING_MS + 1_000 * stamp for stamp in accumulate((m.stamp for m in messages), max)]


def wanted(log: Log) -> dict[str, dict[str, tuple[Any, ...]]]:
    """Table → key → the values of its columns, by applying the messages one by one in the total order."""
    in_order = sorted(
        (order, place, offset, message)
        for place, messages in enumerate(log)
        for offset, (order, message) in enumerate(zip(_orders(messages), messages, strict=True))
    )
    tables: dict[str, dict[str, dict[str, Any]]] = {"person": {}, **{kind: {} for kind in _ORDERS}}
    for kind, rows in tables.items():
        mine = [m for *_, m in in_order if m.kind == kind]
        if kind in _ORDERS:  # stable, so that equal ones keep their order; NULL is before all
            values = _ORDERS[kind][1]
            ranked = sorted(values, key=lambda value: (value is not None, value))
            mine.sort(key=lambda m: ranked.index(dict(m.carried or ()).get(_ORDERS[kind][0])))
        for message in mine:
            if message.is_delete:
                rows.pop(message.key, None)
                continue
            fields = {n: v for n, v in message.carried or () if v != UNAVAILABLE}
            row = rows.setdefault(message.key, {"number": None, "note": None, "doc": None, "at": None})
            row |= {"whole": None, "version": None, "changed": None, "day": None} | fields
    return {
        model.__tablename__: {
            key: tuple(_stored(model, name, row[name]) for name in names) for key, row in tables[kind].items()
        }
        for (model, names), kind in zip(_COLUMNS.items(), tables, strict=True)
    }


def _stored(model: type[UpsertModel], name: str, value: Any) -> Any:
    if name in ("at", "changed"):
        return None if value is None else dt.datetime.fromisoformat(value).replace(tzinfo=None)
    if name == "day":
        return None if value is None else dt.date.fromisoformat(value)
    return "?" if value is None and name == "note" and model is Person else value


def found(target: Target) -> dict[str, dict[str, tuple[Any, ...]]]:
    """The same, as the tables have it."""
    tables: dict[str, dict[str, tuple[Any, ...]]] = {}
    with target.sink.engine.connect() as connection:
        for model, names in _COLUMNS.items():
            rows = connection.execute(sa.select(*(model.__table__.c[name] for name in ("id", *names)))).mappings()
            tables[model.__tablename__] = {row["id"]: tuple(_read(name, row[name]) for name in names) for row in rows}
    return tables


def _read(name: str, value: Any) -> Any:
    return json.loads(value) if name == "doc" and isinstance(value, str) else value


def places(target: Target) -> dict[str, list[tuple[Any, ...]]]:
    """Of each row its key, its own message and the places of its kept columns."""
    tables: dict[str, list[tuple[Any, ...]]] = {}
    for model, names in _COLUMNS.items():
        columns = [place_column(name) for name in names if place_column(name) in model.__table__.c]
        picked = ", ".join(["id", "_kafka_partition", "_kafka_offset", *columns])
        tables[model.__tablename__] = target.all(f"SELECT {picked} FROM {model.__tablename__} ORDER BY id")
    return tables


def shown(log: Log) -> str:
    return "\n".join(
        f"{PARTITIONS[place]}@{offset}: {json.dumps([m.key, m.stamp, m.carried])}"
        for place, messages in enumerate(log)
        for offset, m in enumerate(messages)
    )
