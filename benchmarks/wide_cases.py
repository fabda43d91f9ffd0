"""What is wide or large about a stream, as the cases of `benchmarks.wide`: models, streams and messages."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from benchmarks.messages import news
from kafka_ingest.streams.information import STREAM as NEWS
from kafka_ingest.streams.model import AppendModel, date_field, field
from kafka_ingest.streams.stream import RouteByField, Stream

COLUMNS = 200
TABLES = 50
# Values that differ; the messages of a case repeat them.
_BODIES = 1_000
_LARGE_BODIES = 8
_LARGE = 1_000_000
_DAY = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)


@dataclass(frozen=True, slots=True)
class Case:
    """One topic and what loads it."""

    name: str
    stream: Stream
    """Its topic has the case's name."""
    values: Callable[[], Iterator[bytes]]
    """The values that differ, of messages in the order they are sent."""
    messages: int
    """How many, unless the command line says otherwise."""
    partitions: int = 4


# What ten columns of the wide table are, in turn, and their value in a message.
_KINDS: tuple[tuple[Callable[[], sa.orm.MappedColumn[object]], Callable[[random.Random], object]], ...] = (
    (lambda: field(sa.String(40)), lambda draw: f"{draw.getrandbits(60):015x}"),
    (lambda: field(sa.String(40)), lambda draw: draw.choice(("open", "closed", "待定"))),
    (lambda: field(sa.String(40)), lambda draw: None if draw.random() < 0.5 else "note"),
    (lambda: field(sa.Integer), lambda draw: draw.randrange(-1_000_000, 1_000_000)),
    (lambda: field(sa.Integer), lambda draw: draw.randrange(100)),
    (lambda: field(sa.BigInteger), lambda draw: draw.getrandbits(50)),
    (lambda: field(sa.Float), lambda draw: draw.random()),
    (lambda: field(sa.Numeric(12, 2)), lambda draw: draw.randrange(10**8) / 100),
    (lambda: field(sa.Boolean), lambda draw: draw.random() < 0.5),
    (date_field, lambda draw: f"{_DAY + dt.timedelta(seconds=draw.getrandbits(24)):%Y-%m-%dT%H:%M:%SZ}"),
)


def _wide_model() -> type[AppendModel]:
    columns = {f"column_{n:03}": _KINDS[n % len(_KINDS)][0]() for n in range(COLUMNS)}
    for column in columns.values():
        column.column.nullable = True
    return type("Wide", (AppendModel,), {"__tablename__": "wide", **columns})


def _wide_values() -> Iterator[bytes]:
    draw = random.Random(1)
    for _ in range(_BODIES):
        values = {f"column_{n:03}": _KINDS[n % len(_KINDS)][1](draw) for n in range(COLUMNS)}
        yield json.dumps({"type": "wide"} | values, ensure_ascii=False, separators=(",", ":")).encode()


def _large_news(size: int, bodies: int) -> Iterator[bytes]:
    """News of about `size` bytes: every second one is ASCII."""
    for number, value in enumerate(itertools.islice(news(), bodies)):
        fields = json.loads(value)
        text = "orders grew faster than expected, " if number % 2 else fields["content"]
        copies = max(1, (size - len(value)) // len(text.encode()))
        yield json.dumps(fields | {"content": text * copies}, ensure_ascii=False, separators=(",", ":")).encode()


def _table_model(number: int) -> type[AppendModel]:
    columns = {
        "id": field(sa.String(64)),
        "title": field(sa.String(500)),
        "score": field(sa.Integer),
        "published_at": date_field(path="publishTime", timezone="Asia/Shanghai"),
    }
    return type(f"Table{number}", (AppendModel,), {"__tablename__": f"table_{number:02}", **columns})


def _tables_values() -> Iterator[bytes]:
    """The table of each message is drawn: none of them comes in a row."""
    draw = random.Random(1)
    for value in itertools.islice(news(), _BODIES):
        fields = json.loads(value) | {"type": f"table_{draw.randrange(TABLES):02}"}
        yield json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _news(topic: str) -> Stream:
    return dataclasses.replace(NEWS, name=topic, topics=topic, routes={"information": NEWS.routes["information"]})


def _by_type(topic: str, routes: dict[str, type[AppendModel]]) -> Stream:
    return Stream(name=topic, topics=topic, routes=routes, route_by=RouteByField("type"))


CASES = (
    Case("plain", _news("plain"), lambda: itertools.islice(news(), _BODIES), 400_000),
    Case("columns", _by_type("columns", {"wide": _wide_model()}), _wide_values, 60_000),
    Case("large", _news("large"), lambda: _large_news(20_000, _BODIES), 20_000),
    Case("huge", _news("huge"), lambda: _large_news(_LARGE, _LARGE_BODIES), 400),
    Case("partitions", _news("partitions"), lambda: itertools.islice(news(), _BODIES), 400_000, partitions=1_000),
    Case(
        "tables",
        _by_type("tables", {f"table_{n:02}": _table_model(n) for n in range(TABLES)}),
        _tables_values,
        300_000,
    ),
)
