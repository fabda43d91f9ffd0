"""TargetTable: what it says of a model's table, and that it travels between processes."""

from __future__ import annotations

import decimal
import pickle

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import Model, UpsertModel, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, one, piped
from kafka_ingest.testing.models import MIXED, Account, Event, Everything, Slot
from kafka_ingest_tests.support.made import Make


def test_it_says_what_loading_a_table_needs_to_know() -> None:
    event, account = MIXED.targets
    assert (event.label, event.name, event.schema, event.identifier) == ("t_event", "t_event", None, "t_event")
    assert event.columns == (
        "name",
        "amount",
        "code",
        "_kafka_topic",
        "_kafka_partition",
        "_kafka_offset",
        "_kafka_timestamp",
    )
    assert (event.is_upsert, event.key, event.tombstones, event.model_name) == (False, (), None, "Event")
    assert (account.is_upsert, account.key) == (True, ("id",))
    assert account.tombstones is not None
    assert account.tombstones.fullname == "t_account_tombstones"
    assert [c.name for c in account.tombstones.primary_key] == ["id"]
    assert TargetTable.of(Slot).tombstones is None, "Slot does not delete on tombstones"
    assert (MIXED.route_of(event), MIXED.target_of("evt"), MIXED.target_of("?")) == ("event", event, None)


def test_a_table_of_a_schema_is_another_one_and_so_are_its_tombstones(made: Make) -> None:
    one, other = (
        TargetTable.of(made("news", UpsertModel, schema=schema, delete_on_tombstone=True)) for schema in ("a", "b")
    )
    assert (one.label, other.label) == ("a.news", "b.news")
    assert one != other
    assert one.tombstones is not None
    assert other.tombstones is not None
    assert (one.tombstones.fullname, other.tombstones.fullname) == ("a.news_tombstones", "b.news_tombstones")


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("a-b", None),
        ("a.b", None),
        ("a%b", None),
        ("a`b", None),
        ("2024", None),
        ("новости", None),
        ("b", "a"),
        ("a b", "s"),
    ],
)
def test_its_identifier_is_one_whatever_the_name(made: Make, name: str, schema: str | None) -> None:
    target = TargetTable.of(made(name, schema=schema))
    assert target.identifier.isascii()
    assert target.identifier.isidentifier()
    assert target.label == (name if schema is None else f"{schema}.{name}")


def test_identifiers_of_different_tables_differ(made: Make) -> None:
    names = [("a-b", None), ("a.b", None), ("a_b", None), ("b", "s"), ("a b", None)]
    assert len({TargetTable.of(made(name, schema=schema)).identifier for name, schema in names}) == len(names)


def test_a_slice_is_the_same_after_pickling_though_its_model_was_made_in_a_function(made: Make) -> None:
    made("parent", UpsertModel)
    model = made(
        "child",
        UpsertModel,
        schema="archive",
        delete_on_tombstone=True,
        constraints=(
            sa.CheckConstraint("level < 9", name="low"),
            sa.UniqueConstraint("parent", "level"),
            sa.ForeignKeyConstraint(["parent"], ["parent.id"]),
        ),
        columns={
            "parent": field(sa.String(8), index=True),
            "level": field(sa.Integer, default=lambda: 3, onupdate=lambda: 4, comment="how deep"),
            "price": field(sa.Numeric(8, 2), server_default="1.5", default=decimal.Decimal("2.5")),
        },
    )
    stream = Stream(name="made", topics="made", routes={"c": model})
    parsed = piped(
        stream, one({"type": "c", "id": "x", "parent": "p", "level": 1}, Msg(None, key=b'"y"'), topic="made")
    )
    again = pickle.loads(pickle.dumps(parsed))  # noqa: S301  our own bytes
    (target,) = stream.targets
    assert list(again.rows) == list(again.deletes) == [target]
    assert again.rows[target].equals(parsed.rows[target])
    assert again.deletes[target].equals(parsed.deletes[target])
    (travelled,) = again.rows
    assert (travelled, hash(travelled), str(travelled)) == (target, hash(target), "archive.child")
    for name in ("label", "name", "schema", "columns", "key", "is_upsert", "model_name", "identifier"):
        assert getattr(travelled, name) == getattr(target, name), name
    assert [(b.name, b.rule, b.default, str(b.column.type)) for b in travelled.bound] == [
        (b.name, b.rule, b.default, str(b.column.type)) for b in target.bound
    ]
    assert str(sa.select(travelled.table)) == str(sa.select(target.table))
    assert travelled.tombstones is not None
    assert travelled.tombstones.fullname == "archive.child_tombstones"
    assert travelled.table.c.level.comment == "how deep"


def test_a_default_that_is_a_plain_value_stands_in_and_a_function_does_not(made: Make) -> None:
    level = next(bound for bound in TargetTable.of(Everything).bound if bound.name == "level")
    assert level.default == 7
    model = made("functions", id=field(sa.String(8), default=lambda: "made up"))
    assert TargetTable.of(model).bound[0].default is None


def test_the_users_own_table_is_left_as_it_is() -> None:
    assert Everything.__table__.c.level.default is not None
    assert "t_account_tombstones" not in Model.metadata.tables
    assert TargetTable.of(Account).table is not Account.__table__
    assert TargetTable.of(Event) == TargetTable.of(Event)


@pytest.mark.parametrize("name", ["missing", "id", "_kafka_order"])
def test_an_order_field_is_an_integer_or_instant_of_the_models_own(made: Make, name: str) -> None:
    model = made("ordered", UpsertModel)
    model.order_by = name
    with pytest.raises(ConfigError, match=f"order_by='{name}' is no integer, DateTime or Date column of its own"):
        TargetTable.of(model)


def test_an_order_field_and_tombstones_exclude_each_other(made: Make) -> None:
    model = made("ordered", UpsertModel, delete_on_tombstone=True, columns={"version": field(sa.Integer)})
    model.order_by = "version"
    with pytest.raises(ConfigError, match="a tombstone has no field 'version' to be compared by"):
        TargetTable.of(model)
