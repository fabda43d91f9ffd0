"""Canal's flat messages, as its FlatMessage writes them: arrays of rows, whose values are all texts."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest import AppendModel, Canal, Cast, Debezium, Envelope, RouteByField, Stream, UpsertModel, field
from kafka_ingest.errors import ConfigError, SourceTruncated
from kafka_ingest.testing.messages import letters_of, one, outcomes, piped
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.envelopes.world import TOPIC, change, stream

TEXT = Cast(from_text=True)


class Product(UpsertModel):
    """The table of Flink's and Canal's documentation."""

    __tablename__ = "products"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True, cast=TEXT)
    name: Mapped[str | None] = field(sa.String(255))
    weight: Mapped[Decimal | None] = field(sa.Numeric(6, 2))
    es: Mapped[int | None] = field(sa.BigInteger, source=Envelope("es"))


class ProductLog(AppendModel):
    """A row for each changed row."""

    __tablename__ = "product_log"
    metadata = sa.MetaData()
    explode: ClassVar[Any] = "[]"

    id: Mapped[int] = field(sa.Integer, cast=TEXT)
    kind: Mapped[str] = field(sa.String(10), source=Envelope("type"))


def canal(model: type[Any] = Product, **more: Any) -> Stream:
    return Stream(
        name="canal",
        topics="canal",
        route_by=RouteByField("table"),
        routes={"products": model},
        envelope=Canal(),
        max_dead_letter_ratio=1.0,
        **more,
    )


def row(number: int, name: str = "scooter", weight: str | None = "5.18") -> dict[str, Any]:
    return {"id": str(number), "name": name, "weight": weight}


def message(kind: str, *data: Any, old: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "data": list(data) or None,
        "database": "inventory",
        "es": 1589373560000,
        "id": 9,
        "isDdl": False,
        "mysqlType": {"id": "INTEGER", "name": "VARCHAR(255)", "weight": "FLOAT"},
        "old": old,
        "pkNames": ["id"],
        "sql": "",
        "sqlType": {"id": 4, "name": 12, "weight": 7},
        "table": "products",
        "ts": 1589373560798,
        "type": kind,
    } | more


def products(target: Target) -> list[Any]:
    return target.all("SELECT id, name, weight FROM products ORDER BY id")


def test_every_row_of_a_message_is_written_or_deleted() -> None:
    target = Target(canal())
    target.receive(message("INSERT", row(1), row(2), row(111)), message("INSERT", row(3, weight=None)))
    target.receive(
        message("UPDATE", row(111, weight="5.15"), row(2, "car"), old=[{"weight": "5.18"}, {"name": "scooter"}])
    )
    target.receive(message("DELETE", row(1), row(3)))
    assert products(target) == [(2, "car", "5.18"), (111, "scooter", "5.15")]
    assert target.rows(Product, "es") == [(1589373560000,)] * 2
    assert [batch[2:4] for batch in target.batches()] == [(2, 0), (1, 0), (0, 1)]


def test_a_backfill_does_not_bring_deleted_rows_back() -> None:
    target = Target(canal())
    first = [message("INSERT", row(1), row(2))]
    target.receive(*first)
    target.receive(message("DELETE", row(1), row(2)))
    target.load(one(*first, topic="canal"), "backfill")
    assert products(target) == []


def test_within_a_slice_the_last_message_of_a_key_counts() -> None:
    target = Target(canal())
    target.receive(
        message("INSERT", row(1), row(2)), message("DELETE", row(2), row(1)), message("INSERT", row(2, "new"))
    )
    assert products(target) == [(2, "new", "5.18")]


def test_a_log_has_a_row_for_each() -> None:
    target = Target(canal(ProductLog))
    target.receive(message("INSERT", row(1), row(2)), message("DELETE", row(2)))
    assert target.rows(ProductLog, "id", "kind", "_kafka_index") == [
        (1, "INSERT", 0),
        (2, "INSERT", 1),
        (2, "DELETE", 0),
    ]


@pytest.mark.parametrize("kind", ["CREATE", "ALTER", "RENAME", "CINDEX", "DINDEX", "QUERY"])
def test_statements_that_leave_the_rows_are_ignored(kind: str) -> None:
    found = message(kind, isDdl=True, sql="ALTER TABLE products ADD x INT", mysqlType=None, sqlType=None)
    assert piped(canal(), one(found, topic="canal")).ignored.tolist() == [0]


@pytest.mark.parametrize("kind", ["TRUNCATE", "ERASE"])
def test_a_truncated_or_dropped_table_is_refused(kind: str) -> None:
    with pytest.raises(SourceTruncated):
        Target(canal()).receive(message(kind, isDdl=True, sql="TRUNCATE products"))


def test_one_bad_row_makes_a_dead_letter_of_the_whole_message() -> None:
    target = Target(canal())
    target.receive(message("INSERT", row(1), row(2) | {"id": "x"}), message("DELETE", row(1), row(2) | {"id": None}))
    assert products(target) == []
    assert [letter[:2] for letter in target.dead_letters()] == [("canal[0]@0", "decode"), ("canal[0]@1", "decode")]


@pytest.mark.parametrize("kind", ["INSERT", "UPDATE", "DELETE"])
def test_a_change_without_a_row_is_a_dead_letter(kind: str) -> None:
    """apache/flink-cdc#3788: a sink wrote the deleted row into `old`, and its readers failed."""
    found = piped(canal(), one(message(kind, old=[row(8)]), topic="canal"))
    assert outcomes(found) == [0]
    ((_, error),) = letters_of(found).values()
    assert error in (
        "data is empty or null: no row is there that was changed",
        "delete: data and old have different numbers of rows",
    )


def test_changed_keys_delete_the_rows_of_the_old_ones() -> None:
    target = Target(canal())
    target.receive(message("INSERT", row(1), row(2), row(3)))
    # UPDATE products SET id = id + 1 ORDER BY id DESC: what was one row's new key is another one's old.
    moved = message("UPDATE", row(4), row(3), row(2), old=[{"id": "3"}, {"id": "2"}, {"id": "1"}])
    target.receive(moved)
    assert [found[0] for found in products(target)] == [2, 3, 4]
    target.receive(message("UPDATE", row(2, "x"), row(9), old=[{"name": "scooter"}, {"id": "4"}]))
    assert [found[:2] for found in products(target)] == [(2, "x"), (3, "scooter"), (9, "scooter")]
    target.load(one(message("INSERT", row(1), row(2), row(3)), moved, topic="canal"), "backfill")
    assert [found[:2] for found in products(target)] == [(2, "x"), (3, "scooter"), (9, "scooter")]
    assert target.dead_letters() == []


def test_another_type_is_a_dead_letter() -> None:
    ((_, error),) = letters_of(piped(canal(), one(message("UPSERT"), topic="canal"))).values()
    assert error.startswith("type is 'UPSERT', none of Canal's: INSERT, UPDATE, DELETE")


class Whole(AppendModel):
    __tablename__ = "whole"
    metadata = sa.MetaData()
    id: Mapped[int] = field(sa.Integer, cast=TEXT)


class Nested(AppendModel):
    __tablename__ = "nested"
    metadata = sa.MetaData()
    explode: ClassVar[Any] = "items"
    id: Mapped[int] = field(sa.Integer, path="items.id")
    order: Mapped[int] = field(sa.Integer, path="id")


@pytest.mark.parametrize("model", [Whole, Nested])
def test_a_log_that_does_not_say_so_is_refused(model: type[Any]) -> None:
    with pytest.raises(ConfigError, match=r"declare explode = '\[\]' in the model"):
        canal(model)


class Keeping(UpsertModel):
    __tablename__ = "products"
    metadata = sa.MetaData()
    deletes: ClassVar[bool | None] = True

    id: Mapped[int] = field(sa.Integer, primary_key=True, cast=TEXT)
    name: Mapped[str | None] = field(sa.String(255), keep_absent=True)


def test_a_model_that_keeps_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Keeping has columns with keep_absent \(name\), and Canal"):
        canal(Keeping)


def test_a_model_may_explode_an_array_within_the_row_of_an_envelope() -> None:
    target = Target(stream(Nested, envelope=Debezium()))
    target.receive(change("c", None, {"id": 7, "items": [{"id": 1}, {"id": 2}]}))
    assert target.rows(Nested, "id", '"order"') == [(1, 7), (2, 7)]
    assert target.offsets() == {f"{TOPIC}[0]": 1}
