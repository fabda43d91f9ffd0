"""Messages that carry some of their columns: public reports of other sinks, and what else can come between."""

from __future__ import annotations

import base64
import json
from typing import Any, ClassVar, Literal

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import (
    AppendModel,
    ConnectJson,
    Header,
    Model,
    RouteByTopic,
    StepContext,
    Stream,
    TargetTable,
    UpsertModel,
    field,
)
from kafka_ingest.errors import ConfigError
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import Position, TopicPartition
from kafka_ingest.streams.kept import own_text, place_text, position_in
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.made import making
from kafka_ingest_tests.support.partial import (
    PARTITIONS,
    PEOPLE,
    UNAVAILABLE,
    Person,
    Sent,
    forecast_and_outcome,
    found,
    wanted,
)

LATE, LATER = MORNING_MS + 5_000, MORNING_MS + 9_000


class Order(UpsertModel):
    """Of several reports: an id and what comes bit by bit."""

    __tablename__ = "t_order"
    delete_on_tombstone: ClassVar[bool] = True
    tombstone_key: ClassVar[Literal["json", "text"]] = "text"

    id: Mapped[int] = field(sa.Integer, primary_key=True)
    flavor: Mapped[str | None] = field(sa.String(20), keep_absent=True)
    item: Mapped[str | None] = field(sa.String(20), keep_absent=True)
    payload: Mapped[Any | None] = field(sa.JSON, keep_absent=UNAVAILABLE)
    image: Mapped[str | None] = field(sa.String(60), keep_absent=UNAVAILABLE)
    status: Mapped[str] = field(sa.String(10), keep_absent=True, default="new")


ORDERS = Stream(name="orders", topics="orders", routes={"orders": Order}, route_by=RouteByTopic())
COLUMNS = ("flavor", "item", "payload", "image", "status")


def rows(target: Target) -> dict[int, dict[str, Any]]:
    found = target.all(f"SELECT id, {', '.join(COLUMNS)} FROM t_order")
    return {key: dict(zip(COLUMNS, values, strict=True)) for key, *values in found}


def pinned(sink: SQLiteSink | None = None) -> Target:
    """Two partitions, of which nothing is loaded."""
    target = Target(ORDERS, sink)
    target.pin({TopicPartition("orders", 0): 0, TopicPartition("orders", 1): 0})
    return target


def received(*messages: Any, stream: Stream = ORDERS, at_once: bool = True) -> dict[int, dict[str, Any]]:
    target = Target(stream)
    for some in [messages] if at_once else [[each] for each in messages]:
        target.receive(*some)
    assert target.dead_letters() == []
    return rows(target)


EACH_WAY = pytest.mark.parametrize("at_once", [True, False], ids=["in one slice", "in several"])


def connect(**payload: Any) -> bytes:
    kinds = {"id": "int64", "flavor": "string", "item": "string"}
    fields = [{"field": name, "type": kind, "optional": name != "id"} for name, kind in kinds.items()]
    return json.dumps(
        {"schema": {"type": "struct", "optional": False, "version": 1, "fields": fields}, "payload": payload}
    ).encode()


@EACH_WAY
def test_fields_that_are_not_provided_are_not_overwritten_with_null(at_once: bool) -> None:
    """confluentinc/kafka-connect-jdbc#1067, its two messages."""
    stream = Stream(
        name="orders", topics="orders", routes={"orders": Order}, route_by=RouteByTopic(), value_format=ConnectJson()
    )
    found = received(connect(id=1, flavor="chocolate"), connect(id=1, item="cookie"), stream=stream, at_once=at_once)
    assert (found[1]["flavor"], found[1]["item"]) == ("chocolate", "cookie")


@EACH_WAY
def test_a_placeholder_in_a_json_column_is_no_json(at_once: bool) -> None:
    """confluentinc/kafka-connect-jdbc#1242: it was cast to jsonb, and the batch was aborted."""
    found = received(
        {"id": 14541, "payload": {"a": 1.50}, "image": "x"},
        {"id": 14541, "payload": UNAVAILABLE, "image": UNAVAILABLE, "item": "y"},
        at_once=at_once,
    )
    assert found[14541] == {"flavor": None, "item": "y", "payload": '{"a": 1.5}', "image": "x", "status": "new"}


@pytest.mark.parametrize(
    "written", [[UNAVAILABLE], base64.b64encode(UNAVAILABLE.encode()).decode()], ids=["in an array", "as bytes"]
)
def test_a_placeholder_in_an_array_or_in_base64_is_one(written: Any) -> None:
    """risingwavelabs/risingwave#22852, airbytehq/airbyte#30518."""
    kept = {"payload": ["a"]} if isinstance(written, list) else {"image": "QQ=="}
    gone = dict.fromkeys(kept, written)
    found = received({"id": 1} | kept, {"id": 1} | gone)
    assert (found[1]["payload"], found[1]["image"]) == ('["a"]' if "payload" in kept else None, kept.get("image"))


def test_messages_with_and_without_placeholders_mix_in_one_slice() -> None:
    """artie-labs/transfer#100: a batch with both lost one of them."""
    found = received(
        {"id": 123, "item": "bar", "image": "world"},
        {"id": 123, "item": "baz", "image": UNAVAILABLE},
        {"id": 124, "item": "one", "image": UNAVAILABLE},
        {"id": 123, "item": "qux", "image": "there"},
        {"id": 123, "item": "end", "image": UNAVAILABLE},
    )
    assert {key: (row["item"], row["image"]) for key, row in found.items()} == {
        123: ("end", "there"),
        124: ("one", None),
    }


@EACH_WAY
def test_an_explicit_null_sets_null(at_once: bool) -> None:
    """apache/paimon#3374: a true partial update means that null can update a column."""
    found = received({"id": 1, "flavor": "a", "item": "b"}, {"id": 1, "flavor": None}, at_once=at_once)
    assert (found[1]["flavor"], found[1]["item"]) == (None, "b")


@EACH_WAY
def test_columns_that_come_one_by_one_are_one_row(at_once: bool) -> None:
    """StarRocks/starrocks-connector-for-apache-flink#428, scylladb/kafka-connect-scylladb#16, ClickHouse/ClickHouse#57240."""
    found = received({"id": 1, "flavor": "f"}, {"id": 1, "item": "i"}, {"id": 1, "image": "m"}, at_once=at_once)
    assert found[1] == {"flavor": "f", "item": "i", "payload": None, "image": "m", "status": "new"}


def test_a_message_that_comes_late_fills_what_no_later_one_carries() -> None:
    """apache/pinot#11877, ClickHouse/ClickHouse#87894: an older message was dropped whole, or overwrote newer values."""
    target = pinned()
    target.load(raw_slice(Part([Msg({"id": 1, "flavor": "new"}, timestamp_ms=LATER)], "orders", 0)))
    target.load(raw_slice(Part([Msg({"id": 1, "flavor": "old", "item": "old"}, timestamp_ms=LATE)], "orders", 1)))
    assert rows(target)[1] == {"flavor": "new", "item": "old", "payload": None, "image": None, "status": "new"}
    assert target.all("SELECT _kafka_partition, _kafka_place_flavor FROM t_order") == [(0, None)]


@EACH_WAY
def test_a_row_that_is_made_anew_has_only_what_came_after_the_delete(at_once: bool) -> None:
    """apache/paimon#4247."""
    found = received(
        Msg({"id": 1, "flavor": "a", "item": "b", "status": "paid"}),
        Msg(None, key=b"1"),
        Msg({"id": 1, "item": "c"}),
        at_once=at_once,
    )
    assert found[1] == {"flavor": None, "item": "c", "payload": None, "image": None, "status": "new"}


def test_a_delete_that_comes_late_takes_what_came_before_it() -> None:
    target = pinned()
    first = Msg({"id": 1, "flavor": "a", "status": "paid"}, timestamp_ms=MORNING_MS)
    target.load(raw_slice(Part([first, Msg({"id": 1, "item": "c"}, timestamp_ms=LATER)], "orders", 0)))
    assert rows(target)[1]["flavor"] == "a"
    delete = raw_slice(Part([Msg(None, key=b"1", timestamp_ms=LATE)], "orders", 1))
    for _ in range(2):
        target.load(delete, "backfill")
        assert rows(target)[1] == {"flavor": None, "item": "c", "payload": None, "image": None, "status": "new"}
        target.load(raw_slice(Part([first], "orders", 0)), "backfill")


def test_a_default_stands_only_where_no_message_has_carried_the_column() -> None:
    """ClickHouse/ClickHouse#86254: given once, with the first message, and kept."""
    found = received(
        {"id": 1, "status": "paid"},
        {"id": 1, "item": "x"},
        {"id": 2},
        {"id": 3, "status": "x"},
        {"id": 3, "status": None},
    )
    assert {key: row["status"] for key, row in found.items()} == {1: "paid", 2: "new", 3: "new"}


def test_a_row_of_a_table_without_places_keeps_its_values_and_its_gaps_can_be_filled() -> None:
    """Columns that are kept from today on: the row was whole, and what is NULL in it may not have been carried."""
    sink = SQLiteSink(sa.make_url("sqlite://"))
    with sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE t_order (id INTEGER PRIMARY KEY, flavor VARCHAR(20), item VARCHAR(20), payload TEXT, "
            "image VARCHAR(60), status VARCHAR(10) NOT NULL, "
            "_kafka_topic VARCHAR(280) NOT NULL, _kafka_partition INTEGER NOT NULL, "
            "_kafka_offset BIGINT NOT NULL, _kafka_timestamp DATETIME, _kafka_order BIGINT)"
        )
        connection.exec_driver_sql(
            f"INSERT INTO t_order VALUES (1, 'at 1', NULL, NULL, NULL, 'paid', 'orders', 0, 1, NULL, {MORNING_MS + 1_000})"
        )
    target = pinned(sink)
    log = [{"id": 1, "flavor": "at 0", "item": "at 0"}, {"id": 1, "flavor": "at 1", "status": "paid"}]
    target.load(raw_slice(Part([Msg(log[0])], "orders", 0)), "backfill")
    assert (rows(target)[1]["flavor"], rows(target)[1]["item"]) == ("at 1", "at 0")
    target.load(raw_slice(Part(list(map(Msg, log)), "orders", 0)), "backfill")
    assert (rows(target)[1]["flavor"], rows(target)[1]["item"]) == ("at 1", "at 0")


def test_a_value_that_a_step_gives_is_carried() -> None:
    def upper(frame: Any, _context: StepContext) -> Any:
        frame["item"] = frame["item"].str.upper()
        frame["flavor"] = "given"
        return frame

    stream = Stream(name="orders", topics="orders", routes={"orders": Order}, route_by=RouteByTopic(), steps=(upper,))
    found = received({"id": 1, "item": "a", "flavor": "b"}, {"id": 1}, stream=stream)
    assert (found[1]["item"], found[1]["flavor"]) == ("A", "given")


def test_what_the_database_refuses_is_tried_again_message_by_message() -> None:
    target = Target(ORDERS)
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER t BEFORE UPDATE ON t_order WHEN NEW.item = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        connection.exec_driver_sql(
            "CREATE TRIGGER u BEFORE INSERT ON t_order WHEN NEW.item = 'bad' BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    target.receive(
        {"id": 1, "flavor": "a", "item": "good"}, {"id": 1, "item": "bad", "flavor": "b"}, {"id": 1, "image": "c"}
    )
    assert [letter[:2] for letter in target.dead_letters()] == [("orders[0]@1", "database")]
    assert rows(target)[1] == {"flavor": "a", "item": "good", "payload": None, "image": "c", "status": "new"}


@pytest.mark.parametrize(
    ("kind", "days"),
    [("versioned", (-2, -1, 7)), ("dated", ("1000-01-01", "2024-05-01", "2024-05-02"))],
)
def test_a_delete_in_the_models_own_order_takes_what_came_before_it(kind: str, days: tuple[Any, ...]) -> None:
    """So says the forecast of a backfill of it, too."""
    name = "version" if kind == "versioned" else "day"
    first, delete, last = (
        ((name, day), *more) for day, more in zip(days, ((("number", 1),), (("gone", True),), ()), strict=True)
    )
    log = ((Sent("k", 1, last, kind),), (Sent("k", 2, first, kind), Sent("k", 3, delete, kind)))
    target = Target(PEOPLE)
    target.pin(dict.fromkeys(PARTITIONS, 0))
    for spans, changes in (([(0, 0, 1)], (1, 0, 0)), ([(1, 0, 1)], (0, 1, 0)), ([(1, 1, 2)], (0, 1, 0))):
        forecast, outcome = forecast_and_outcome(target, log, spans)
        assert forecast == outcome
        assert changes in outcome
    assert found(target) == wanted(log)


def test_a_sink_that_replaces_whole_rows_refuses_the_model() -> None:
    class Plain(SQLiteSink):
        keeps_columns: ClassVar[bool] = False

    with pytest.raises(ConfigError, match=r"Person has columns with keep_absent .* and Plain replaces whole rows only"):
        Target(PEOPLE, Plain(sa.make_url("sqlite://")))


def test_places_sort_as_messages_do() -> None:
    positions = [
        Position(topic, p, o) for topic in ("a", "a-b", "a.b", "ab") for p in (0, 9, 10) for o in (0, 9, 10, 10**12)
    ]
    for owns in ([""], [own_text(v) for v in (None, -(2**63), -10, -9, -1, 0, 9, 10, 2**63, 2**64 - 1)]):
        texts = [place_text(order, at, own) for own in owns for order in (-1, 0, 9, MORNING_MS) for at in positions]
        assert texts == sorted(texts)
        assert max(map(len, texts)) < 360
        own_type = sa.BigInteger() if len(owns) > 1 else None
        assert [position_in(text, own_type) for text in texts] == positions * (len(texts) // len(positions))
    for own, kind in ((None, sa.Date()), ("2024-05-01", sa.Date()), ("2024-05-01 10:00:00.000000", sa.DateTime())):
        assert position_in(place_text(5, positions[3], own_text(own)), kind) == positions[3]


@pytest.mark.parametrize(
    ("base", "name", "options", "said"),
    [
        (UpsertModel, "value", {"nullable": False}, "let it be nullable, or give it a default"),
        (UpsertModel, "value", {"primary_key": True, "nullable": False}, "every message has to carry it"),
        (UpsertModel, "value", {"keep_absent": ""}, "an empty text is a value"),
        (UpsertModel, "value", {"source": Header("h")}, "only a field of the row can be absent"),
        (UpsertModel, "v" * 51, {}, "may have 50 characters"),
        (AppendModel, "value", {}, "use UpsertModel"),
    ],
)
def test_a_column_that_cannot_be_kept_is_refused(
    base: type[Model], name: str, options: dict[str, Any], said: str
) -> None:
    """Or of which it would depend on who came first what the table holds."""
    column = field(sa.Integer, **({"keep_absent": True, "nullable": True} | options))
    with making() as make:
        model = make("t_refused", base, columns={name: column})
        with pytest.raises(ConfigError, match=said):
            TargetTable.of(model)


def test_a_kept_column_of_an_exploded_array_is_refused() -> None:
    column = field(sa.Integer, path="values.n", nullable=True, keep_absent=True)
    with making() as make:
        model = make("t_refused", UpsertModel, columns={"n": column}, explode="values")
        with pytest.raises(ConfigError, match="whose elements are whole rows"):
            TargetTable.of(model)


def test_each_kept_column_has_its_place_at_the_end_of_the_table() -> None:
    names = Person.__table__.c.keys()
    assert names[-4:] == [f"_kafka_place_{name}" for name in ("number", "note", "doc", "at")]
