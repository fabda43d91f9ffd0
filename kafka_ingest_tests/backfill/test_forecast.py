"""A dry run foretells what the load then does, row for row; and it sees through what a database does to stored values."""

from __future__ import annotations

import random
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.progress import PaceMeter, duration_text, parse_tag
from kafka_ingest.backfill.row_diff import differs
from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.model import Model
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, one, piped, raw_slice
from kafka_ingest.testing.models import EVERYTHING, MIXED, Account, Event, Everything
from kafka_ingest.testing.target import Target


def foretell(target: Target, *slices: RawSlice) -> dict[str, TableForecast]:
    """The forecast of loading these slices in order."""
    found = {}
    with target.sink.engine.connect() as connection:
        for table in target.stream.targets:
            with closing(table_comparison(connection, target.sink, table)) as comparison:
                for raw in slices:
                    comparison.compare(piped(target.stream, raw))
                found[table.label] = comparison.result()
    return found


def rows_by_key(target: Target, model: type[Model]) -> dict[Any, Any]:
    keys = TargetTable.of(model).key or ("_kafka_topic", "_kafka_partition", "_kafka_offset")
    with target.sink.engine.connect() as connection:
        rows = connection.execute(sa.select(model.__table__)).mappings().all()
    return {tuple(r[k] for k in keys): dict(r) for r in rows}


def diff(before: dict[Any, Any], after: dict[Any, Any]) -> tuple[int, int, int]:
    """(added, changed, removed)."""
    common = before.keys() & after.keys()
    return (
        len(after.keys() - before.keys()),
        sum(before[k] != after[k] for k in common),
        len(before.keys() - after.keys()),
    )


def some_messages(chance: random.Random, count: int) -> list[Msg]:
    messages = []
    for _ in range(count):
        key = chance.choice("abcdef")
        kind = chance.random()
        if kind < 0.15:
            messages.append(Msg(None, key=key.encode()))
        elif kind < 0.25:
            messages.append(Msg(b"not JSON"))
        elif kind < 0.5:
            messages.append(Msg({"type": "event", "name": chance.choice("xy")}))
        else:
            messages.append(Msg({"type": "account", "id": key, "balance": chance.randrange(4)}))
    return messages


def timed(chance: random.Random, messages: list[Msg], since_ms: int) -> list[Msg]:
    """Clocks that never go back in a partition: only then is "newer" one order for keys that stand in two partitions."""
    stamps = sorted(since_ms + chance.randrange(50) * 1000 for _ in messages)
    return [Msg(m.value, m.key, timestamp_ms=t) for m, t in zip(messages, stamps, strict=True)]


@pytest.mark.parametrize("seed", range(12))
def test_the_forecast_of_slices_is_what_loading_them_does(seed: int) -> None:
    chance = random.Random(seed)
    target = Target(MIXED)
    target.pin({TopicPartition("mixed", p): 0 for p in (0, 1)})
    slices = [
        raw_slice(
            *(
                Part(timed(chance, some_messages(chance, 6), MORNING_MS + n * 50_000), partition=p, start=6 * n)
                for p in (0, 1)
            )
        )
        for n in range(4)
    ]
    for raw in slices[: chance.randrange(5)]:  # a part of it was loaded before
        target.load(raw)
    with target.sink.engine.begin() as connection:  # and was damaged since
        connection.execute(sa.update(Account.__table__).where(Account.__table__.c.id == "a").values(balance=99))
        connection.execute(sa.delete(Account.__table__).where(Account.__table__.c.id == "b"))
        connection.execute(sa.update(Event.__table__).where(Event.__table__.c["_kafka_offset"] == 3).values(name="?"))
        connection.execute(sa.delete(Event.__table__).where(Event.__table__.c["_kafka_offset"] == 7))
    before = {m: rows_by_key(target, m) for m in (Event, Account)}
    chosen = slices[chance.randrange(3) :]
    foretold = foretell(target, *chosen)
    assert {m: rows_by_key(target, m) for m in (Event, Account)} == before
    for raw in chosen:
        target.load(raw, "backfill")
    for model in (Event, Account):
        table = foretold[model.__table__.name]
        after = rows_by_key(target, model)
        assert (table.added, table.changed, table.removed) == diff(before[model], after), table
    again = foretell(target, *chosen)
    assert all((t.added, t.changed, t.removed) == (0, 0, 0) for t in again.values())
    assert again["t_event"].unchanged == sum(1 for k in rows_by_key(target, Event) if k[2] >= chosen[0].ranges[0].start)


def test_every_column_type_is_unchanged_once_loaded_and_changed_once_damaged() -> None:
    message = {
        "type": "e", "id": "é", "note": "x", "small": 1, "number": 2, "big": 2**62, "ratio": 0.1, "price": 1.5,
        "flag": True,
        "data": {"b": [1, 2.0, None], "a": "ü"}, "source": {"name": "s", "seen": "2024-05-01T00:00:00.000001Z"}, "a.b": "d",
        "at": "2024-05-01 12:00",
    }  # fmt: skip
    raw = one(message, {"type": "e", "id": "none"}, topic="everything")
    target = Target(EVERYTHING)
    target.pin({TopicPartition("everything", 0): 0})
    assert foretell(target, raw)["t_everything"] == TableForecast(added=2)
    target.load(raw)
    assert foretell(target, raw)["t_everything"] == TableForecast(unchanged=2)
    names = [c.name for c in Everything.__table__.columns if c.nullable and not c.name.startswith("_kafka")]
    for name in names:
        with target.sink.engine.connect() as connection, connection.begin() as transaction:
            quoted = connection.dialect.identifier_preparer.quote(name)
            connection.exec_driver_sql(f"UPDATE t_everything SET {quoted} = NULL")
            with closing(table_comparison(connection, target.sink, TargetTable.of(Everything))) as comparison:
                comparison.compare(piped(EVERYTHING, raw))
                assert comparison.result() == TableForecast(changed=1, unchanged=1), name
            transaction.rollback()


@pytest.mark.parametrize(
    ("kind", "new", "old", "expected"),
    [
        (sa.JSON(), '{"a": 1, "b": [2]}', '{"b":[2.0],"a":1}', False),
        (sa.JSON(), '{"a": 1}', '{"a": true}', True),
        (sa.JSON(), "1e2", "100", False),
        (sa.JSON(), "123456789012345678901", "1.2345678901234568e20", False),
        (sa.JSON(), None, "{}", True),
        (sa.JSON(), "[1]", "[1", True),
        (sa.Numeric(12, 4), "1.5", "1.5000", False),
        (sa.Numeric(12, 4), "1.5", "1.5001", True),
        (sa.Numeric(12, 4), "10", "10.0", False),
        (sa.Text(), "a", "a ", True),
        (sa.Text(), None, None, False),
        (sa.Text(), "", None, True),
    ],
)
def test_values_are_compared_by_what_they_mean(
    kind: sa.types.TypeEngine[Any], new: Any, old: Any, expected: bool
) -> None:
    found = differs(kind, pa.array([new, None], pa.string()), [old, None], is_single_float=False)
    assert found.tolist() == [expected, False]


def test_a_float_of_four_bytes_is_compared_in_four_bytes() -> None:
    new, stored = pa.array([0.1, 0.1], pa.float64()), [float(np.float32(0.1)), 0.1001]
    assert differs(sa.Float(), new, stored, is_single_float=True).tolist() == [False, True]
    assert differs(sa.Float(), new, stored, is_single_float=False).tolist() == [True, True]
    assert differs(sa.Double(), new, [0.1, 0.1001], is_single_float=False).tolist() == [False, True]


def test_mysql_keeps_short_floats_in_four_bytes_and_sqlite_none() -> None:
    kinds: tuple[sa.types.TypeEngine[Any], ...] = (
        sa.Float(),
        sa.Float(24),
        sa.Float(25),
        sa.Double(),
        sa.Numeric(10, 2),
    )
    mysql = MySQLSink(sa.make_url("mysql+pymysql://nobody@127.0.0.1:1/x"))
    assert [mysql.is_single_float(kind) for kind in kinds] == [True, True, False, False, False]
    assert not any(SQLiteSink(sa.make_url("sqlite://")).is_single_float(kind) for kind in kinds)


def test_pace_counts_what_was_done_before_the_clock_started_but_not_in_the_rate() -> None:
    now = [100.0]
    meter = PaceMeter(5_000, done=1_000, clock=lambda: now[0])
    assert str(meter.look()) == "20% of 5,000 messages"
    now[0] = 110.0
    meter.add(900)
    look = meter.look(elsewhere=100)
    assert (look.tag, look.messages_per_second, look.seconds_left) == ("2000/5000", 100.0, 30.0)
    assert str(look) == "40% of 5,000 messages, 100 messages/s, 30 s left"
    assert parse_tag(look.tag) == (2000, 5000)
    assert [parse_tag(t) for t in (None, "", "5", "a/b")] == [None] * 4
    assert [duration_text(s) for s in (0.4, 200, 7500)] == ["0 s", "3 min 20 s", "2 h 5 min"]
    assert PaceMeter(0).look().ratio == 1.0
