"""The bulk path on real servers: what was sent is what is read back, and nothing is ever cut, bent or left out silently."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, CheckConstraint, Float, Integer, Numeric, String, Text
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.ledger.positions import pin_positions
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.pipelines.decode import StreamDecoder
from kafka_ingest.pipelines.pipeline import run_pipeline
from kafka_ingest.sinks.base import RowsRejected
from kafka_ingest.sinks.load import LoadContext, load
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import LoadResult, OffsetRange, RawSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable

pytestmark = pytest.mark.services

NASTY = [
    "",
    " ",
    "NULL",
    '"NULL"',
    "\\N",
    "\\",
    '\\"',
    '"',
    '""',
    '","',
    "a,b",
    "a\nb",
    "a\r\nb",
    "\t",
    "\x00",
    "a\x00b",
    "\x1a",
    "\x1d",
    "\x1dN",
    "a\x1fb\x1ec\x1dd",
    "'",
    "it's; DROP TABLE x; --",
    "%s %(x)s {}",
    "naïve 中文 العربية ‮rtl‬",
    "😀👩‍👩‍👧‍👦",
    "\u2028\u2029\ufeff",
    "x" * 65_536,
    "长" * 30_000,
]

# Lone surrogates: high, low, the wrong way round, in a name, within a JSON column, as UTF-8 of their own (CESU-8).
LONE = [
    rb'{"text": "\ud800"}',
    rb'{"text": "a\udfff b", "short": "good"}',
    rb'{"short": "\ude00\ud83d"}',
    rb'{"short": "\ud83d\u0041"}',
    rb'{"data": {"k": "\udc00"}}',
    rb'{"data": {"\udbff": 1}}',
    rb'{"data": "\ud800"}',
    rb'{"nobody reads it": "\ud800"}',
    b'{"text": "\xed\xa0\x80"}',
    b'{"data": ["\xed\xa0\xbd\xed\xb8\x80"]}',
]


class Everything(AppendModel):
    """One column of each kind."""

    __tablename__ = "everything_bulk"
    text: Mapped[str | None] = field(Text(4_000_000))
    short: Mapped[str | None] = field(String(50))
    whole: Mapped[int | None] = field(sa.BigInteger)
    flag: Mapped[bool | None] = field(Boolean)
    ratio: Mapped[float | None] = field(Float(53))
    price: Mapped[Decimal | None] = field(Numeric(20, 6))
    data: Mapped[Any | None] = field(JSON)
    at: Mapped[dt.datetime | None] = date_field(on_error="null")


class Checked(AppendModel):
    """The database refuses what our validation cannot know of."""

    __tablename__ = "checked_bulk"
    __table_args__ = (CheckConstraint("number <> 13"),)
    number: Mapped[int] = field(Integer)
    name: Mapped[str | None] = field(String(20), unique=True)


class Latest(UpsertModel):
    """Keyed by business, with deletes."""

    __tablename__ = "latest_bulk"
    delete_on_tombstone = True
    tombstone_key = "text"
    id: Mapped[str] = field(String(64), primary_key=True)
    number: Mapped[int] = field(Integer)


STREAM = Stream(
    name="bulk",
    topics=("everything", "checked", "latest"),
    route_by=RouteByTopic(),
    routes={"everything": Everything, "checked": Checked, "latest": Latest},
    max_dead_letter_ratio=1.0,
)


@pytest.fixture(params=["load_data", "insert"])
def sink(request: pytest.FixtureRequest, database_url: str) -> Iterator[MySQLSink]:
    """By LOAD DATA and by INSERT, on both servers."""
    opened = open_sink(sa.make_url(database_url))
    assert isinstance(opened, MySQLSink)
    if request.param == "insert":
        opened.uses_load_data = False
    prepare_tables(opened, STREAM)
    with opened.engine.begin() as connection:
        starts = {TopicPartition(t, p): 0 for t in STREAM.topic_names for p in range(2)}
        pin_positions(connection, STREAM.name, starts, {}, run_id="r", now=dt.datetime.now(dt.timezone.utc))
    yield opened
    assert opened.uses_load_data is (request.param == "load_data")
    opened.close()


def raw_slice(
    topic: str, messages: list[tuple[bytes | None, bytes | None]], start: int = 0, partition: int = 0
) -> RawSlice:
    count = len(messages)
    return RawSlice(
        ranges=(OffsetRange(topic, partition, start, start + count),),
        range_index=np.zeros(count, dtype=np.int32),
        offsets=np.arange(start, start + count, dtype=np.int64),
        timestamps_ms=np.full(count, 1_714_550_400_000, dtype=np.int64),
        keys=[key for key, _ in messages],
        values=[value for _, value in messages],
        headers=[None] * count,
        absent=(0,),
    )


def ingest(sink: MySQLSink, raw: RawSlice, kind: Any = "live") -> LoadResult:
    parsed = run_pipeline(StreamDecoder(STREAM).decode(raw), STREAM)
    return load(sink, parsed, kind, LoadContext(STREAM, "run"))


def query(sink: MySQLSink, sql: str) -> list[Any]:
    with sink.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(sql))]


def test_every_class_of_character_comes_back_as_it_was_sent(sink: MySQLSink) -> None:
    values = [*NASTY, None]
    raw = raw_slice("everything", [(None, json.dumps({"text": v, "short": (v or "")[:50]}).encode()) for v in values])
    result = ingest(sink, raw)
    assert result.total("rows") == len(values)
    rows = query(sink, "SELECT text, short FROM everything_bulk ORDER BY _kafka_offset")
    assert rows == [(v, (v or "")[:50]) for v in values]


def test_every_class_of_character_comes_back_from_a_json_column_as_value_and_as_name(sink: MySQLSink) -> None:
    documents = [{"value": v, v[:100]: [v]} for v in NASTY]  # MySQL takes names of 64 KB at most
    ingest(sink, raw_slice("everything", [(None, json.dumps({"data": d}).encode()) for d in documents]))
    rows = query(sink, "SELECT data FROM everything_bulk ORDER BY _kafka_offset")
    assert [json.loads(text) for (text,) in rows] == documents


def test_every_class_of_character_comes_back_as_a_business_key(sink: MySQLSink) -> None:
    """Two keys that a collation or a trailing space could take for one stay two."""
    keys = sorted({v[:64] for v in NASTY} | {"\U0001f600", "E\u0301", "\xc9", "e\u0301", "null"})
    ingest(sink, raw_slice("latest", [message(key, number) for number, key in enumerate(keys)]))
    assert latest(sink) == {key: number for number, key in enumerate(keys)}


def test_every_class_of_character_comes_back_from_a_dead_letter(sink: MySQLSink) -> None:
    bodies = [v.encode() for v in NASTY if v] + LONE
    messages = [(body[:200], b"[" + body) for body in bodies]
    ingest(sink, raw_slice("everything", [(key, body) for key, body in messages]))
    rows = query(sink, "SELECT message_key, message_value FROM kafka_ingest_dead_letters ORDER BY kafka_offset")
    assert rows == messages


def test_half_a_surrogate_pair_which_no_text_column_can_hold_is_a_dead_letter_with_its_bytes(sink: MySQLSink) -> None:
    """And its neighbours load."""
    pair = rb'{"text": "\ud83d\ude00", "data": {"\ud83d\ude00": "\ud83d\ude00"}}'
    messages = [each for lone in LONE for each in (lone, pair)]
    result = ingest(sink, raw_slice("everything", [(None, each) for each in messages]))
    assert (result.total("rows"), result.total("dead_letters")) == (len(LONE), len(LONE))
    letters = query(sink, "SELECT kafka_offset, message_value FROM kafka_ingest_dead_letters ORDER BY 1")
    assert letters == [(2 * number, lone) for number, lone in enumerate(LONE)]
    rows = query(sink, "SELECT text, data FROM everything_bulk")
    assert [(text, json.loads(data)) for text, data in rows] == [("😀", {"😀": "😀"})] * len(LONE)


def test_every_type_comes_back_exactly(sink: MySQLSink) -> None:
    messages: list[dict[str, Any]] = [
        {
            "whole": 2**63 - 1,
            "flag": True,
            "ratio": 0.1,
            "data": {"k": ['"', "\\", None, 1e300]},
            "at": "2024-05-01T12:30:00.123456Z",
        },
        {"whole": -(2**63), "flag": False, "ratio": -1.7976931348623157e308, "data": [], "at": "1000-01-01"},
        {"whole": 0, "flag": None, "ratio": 5e-324, "data": "text", "at": "9999-12-31 23:59:59.999999"},
        {},
    ]
    texts = [json.dumps(m).encode() for m in messages]
    texts[0] = texts[0][:-1] + b', "price": 12345678901234.123456}'
    result = ingest(sink, raw_slice("everything", [(None, t) for t in texts]))
    assert result.total("rows") == 4
    rows = query(sink, "SELECT whole, flag, ratio, price, data, at FROM everything_bulk ORDER BY _kafka_offset")
    loaded = [(w, f, r, p, None if d is None else json.loads(d), a) for w, f, r, p, d, a in rows]
    assert loaded == [
        (
            2**63 - 1,
            1,
            0.1,
            Decimal("12345678901234.123456"),
            messages[0]["data"],
            dt.datetime(2024, 5, 1, 12, 30, 0, 123456),
        ),
        (-(2**63), 0, -1.7976931348623157e308, None, [], dt.datetime(1000, 1, 1)),
        (0, None, 5e-324, None, "text", dt.datetime(9999, 12, 31, 23, 59, 59, 999999)),
        (None, None, None, None, None, None),
    ]


def test_rows_the_database_refuses_are_found_by_bisection_and_the_rest_load(sink: MySQLSink) -> None:
    numbers = [13 if i in (3, 500, 999) else i + 100 for i in range(1_000)]
    messages = [json.dumps({"number": n, "name": f"n{i if i != 700 else 600}"}).encode() for i, n in enumerate(numbers)]
    result = ingest(sink, raw_slice("checked", [(None, m) for m in messages]))
    assert (result.total("rows"), result.total("dead_letters")) == (996, 4)
    letters = query(
        sink, "SELECT kafka_offset, stage, message_value FROM kafka_ingest_dead_letters ORDER BY kafka_offset"
    )
    assert letters == [(o, "database", messages[o]) for o in (3, 500, 700, 999)]
    assert query(sink, "SELECT COUNT(*), MIN(number) FROM checked_bulk") == [(996, 100)]


def test_loading_a_range_again_replaces_it(sink: MySQLSink) -> None:
    first = raw_slice("everything", [(None, json.dumps({"short": f"v{i}"}).encode()) for i in range(10)])
    ingest(sink, first)
    assert ingest(sink, first).counts == ()  # live: the ledger has it
    changed = raw_slice("everything", [(None, b'{"short": "new"}'), (None, b"broken")], start=4)
    result = ingest(sink, changed, "backfill")
    assert [c.kind for c in result.counts] == ["backfill"]
    rows = query(sink, "SELECT _kafka_offset, short FROM everything_bulk ORDER BY _kafka_offset")
    assert rows == [(i, "new" if i == 4 else f"v{i}") for i in range(10) if i != 5]


def latest(sink: MySQLSink) -> dict[str, int]:
    return dict(query(sink, "SELECT id, number FROM latest_bulk"))


def message(key: str, number: int) -> tuple[bytes, bytes]:
    return key.encode(), json.dumps({"id": key, "number": number}).encode()


def test_an_upsert_keeps_the_highest_position_whatever_the_order_of_loads(sink: MySQLSink) -> None:
    raw = raw_slice("latest", [message("a", 1), message("A", 2), message("a ", 3), message("a", 4), message("b", 5)])
    ingest(sink, raw)
    expected = {"a": 4, "A": 2, "a ": 3, "b": 5}  # keys differ by case and by a trailing space
    assert latest(sink) == expected
    ingest(sink, raw_slice("latest", [message("a", 1), message("A", 2)]), "backfill")
    assert latest(sink) == expected
    ingest(sink, raw_slice("latest", [message("b", 6)], start=5))
    assert latest(sink) == expected | {"b": 6}


def test_a_tombstone_deletes_and_a_backfill_does_not_bring_the_row_back(sink: MySQLSink) -> None:
    ingest(sink, raw_slice("latest", [message("a", 1), message("b", 2), (b"a", None), (b"c", None), message("c", 3)]))
    assert latest(sink) == {"b": 2, "c": 3}
    ingest(sink, raw_slice("latest", [message("a", 1), message("b", 2)]), "backfill")
    assert latest(sink) == {"b": 2, "c": 3}
    ingest(sink, raw_slice("latest", [message("a", 9)], start=5))
    assert latest(sink) == {"a": 9, "b": 2, "c": 3}


def test_load_data_never_stores_what_it_warned_about(database: LocalDatabase, database_url: str) -> None:
    opened = open_sink(sa.make_url(database_url))
    assert isinstance(opened, MySQLSink)
    prepare_tables(opened, STREAM)
    good = run_pipeline(StreamDecoder(STREAM).decode(raw_slice("everything", [(None, b'{"short": "ok"}')])), STREAM)
    rows = good.rows[TargetTable.of(Everything)]
    too_long = rows.assign(short=rows["short"].astype("string[pyarrow]").str.repeat(40))
    with opened.engine.connect() as connection:
        opened.prepare_staging(connection, [TargetTable.of(Everything)])
        with connection.begin(), pytest.raises(RowsRejected, match=r"1265|1406"), connection.begin_nested():
            opened.insert(connection, TargetTable.of(Everything), too_long)
        assert connection.execute(sa.text("SELECT COUNT(*) FROM everything_bulk")).scalar() == 0
    opened.close()


def test_where_the_server_forbids_local_infile_rows_go_by_insert(database: LocalDatabase, database_url: str) -> None:
    database.run_as_administrator("SET GLOBAL local_infile = OFF")
    try:
        opened = open_sink(sa.make_url(database_url))
        assert isinstance(opened, MySQLSink)
        prepare_tables(opened, STREAM)
        with opened.engine.begin() as connection:
            starts = {TopicPartition("everything", 0): 0}
            pin_positions(connection, "bulk", starts, {}, run_id="r", now=dt.datetime.now(dt.timezone.utc))
        result = ingest(opened, raw_slice("everything", [(None, b'{"short": "ok"}')]))
        assert result.total("rows") == 1
        assert opened.uses_load_data is False
        opened.close()
    finally:
        database.run_as_administrator("SET GLOBAL local_infile = ON")


def test_a_missing_column_names_the_alter_and_evolve_adds_it(database_url: str) -> None:
    opened = open_sink(sa.make_url(database_url))
    prepare_tables(opened, STREAM)
    with opened.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE everything_bulk DROP COLUMN ratio"))
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(opened, STREAM)
    alter = next(line.strip(" ;") for line in str(caught.value).splitlines() if "ALTER TABLE" in line)
    with opened.engine.begin() as connection:
        connection.execute(sa.text(alter))
        connection.execute(sa.text("ALTER TABLE everything_bulk DROP COLUMN at"))
    evolving = Stream(name="bulk", topics=STREAM.topics, route_by=RouteByTopic(), routes=STREAM.routes, evolve=True)
    prepare_tables(opened, evolving)
    prepare_tables(opened, STREAM)  # now it fits
    opened.close()
