"""An existing table's columns, matched to the fields of messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql

from kafka_ingest.errors import ConfigError
from kafka_ingest.proposal.existing import ExistingColumn, ExistingTable, read_table, type_code
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import compare_tables
from kafka_ingest_tests.support.proposing import declared, only_model, propose, proposing, times


@contextmanager
def database(*statements: str) -> Iterator[Sink]:
    sink = SQLiteSink(sa.make_url("sqlite://"))
    with sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    yield sink
    sink.close()


def table(
    *columns: ExistingColumn, key: tuple[str, ...] = (), unique: tuple[tuple[str, ...], ...] = ()
) -> ExistingTable:
    return ExistingTable("news", None, columns, key, unique)


def column(name: str, kind: Any, *, is_nullable: bool = True, is_filled: bool = False) -> ExistingColumn:
    return ExistingColumn(name, kind() if isinstance(kind, type) else kind, is_nullable, is_filled)


COUNTED = ExistingColumn("id", sa.BigInteger(), False, True, True)


@pytest.mark.parametrize("sent", [{}, {"id": 7}])
def test_a_table_that_counts_its_rows_is_keyed_by_its_unique_key(sent: dict[str, int]) -> None:
    isin = column("isin", sa.String(12), is_nullable=False)
    existing = table(COUNTED, isin, column("price", sa.Integer), key=("id",), unique=(("isin",), ("price",)))
    proposal = propose(*times(120, {"price": 1} | sent, isin=[f"DE{n:010}" for n in range(120)]), table=existing)
    assert declared(proposal) == {
        "id": "field(BigInteger, source=Database())",
        "isin": "field(String(12), primary_key=True)",
        "price": "field(Integer)",
    }


@pytest.mark.parametrize("unique", [(), (("isin",),), (("isin", "wkn"), ("wkn",))])
def test_what_is_no_one_key_that_messages_have_is_none(unique: tuple[tuple[str, ...], ...]) -> None:
    """Of a column that may be NULL, or of two keys each of which might be meant."""
    isin = column("isin", sa.String(12), is_nullable=len(unique) == 1)
    existing = table(COUNTED, isin, column("wkn", sa.String(6), is_nullable=False), key=("id",), unique=unique)
    proposal = propose(*times(120, {"isin": "DE0005140008", "wkn": "514000"}), table=existing)
    assert not only_model(proposal).is_upsert


def test_a_real_table_that_counts_its_rows_fits_the_model_that_is_proposed_for_it() -> None:
    ddl = "CREATE TABLE news (id INTEGER PRIMARY KEY, isin VARCHAR(12) NOT NULL UNIQUE, price INTEGER)"
    partial = "CREATE UNIQUE INDEX some ON news (price) WHERE price > 0"
    with database(ddl, partial) as sink:
        found = read_table(sink, "news")
        assert found.unique == (("isin",),)
        messages = times(120, {"price": 1}, isin=[f"DE{n:010}" for n in range(120)])
        with proposing(*messages, table=found) as (proposal, stream), sink.engine.connect() as connection:
            problems = [misfit.problem for misfit in compare_tables(sink, connection, stream).refused]
        assert only_model(proposal).is_upsert
        assert not any("key" in problem or "column id" in problem for problem in problems), problems


def test_columns_are_matched_by_name_whatever_its_case_and_what_the_database_fills_is_said() -> None:
    existing = table(
        column("ID", sa.BigInteger, is_nullable=False),
        column("publish_time", mysql.DATETIME(fsp=3)),
        column("sourceName", sa.String(80)),
        column("city", sa.String(40)),
        column("created", sa.TIMESTAMP, is_nullable=False, is_filled=True),
        column("note", sa.Text),
        column("must", sa.Integer, is_nullable=False),
        key=("ID",),
    )
    message = {"id": 1, "publishTime": 1_714_550_400_000, "source": {"name": "x"}, "place": {"city": "Y"}, "other": 1}
    proposal = propose(*times(120, message), table=existing)
    assert declared(proposal) == {
        "id": 'field(BigInteger, name="ID", primary_key=True, path="id")',
        "publish_time": 'date_field(DATETIME(fsp=3), path="publishTime", unit="ms")',
        "source_name": 'field(String(80), name="sourceName", path="source.name")',
        "city": 'field(String(40), path="place.city")',
        "created": "field(DateTime, source=Database())",
    }
    assert [(each.name, each.reason.partition(":")[0]) for each in only_model(proposal).left_out] == [
        ("note", "a column that no field of the messages is called like"),
        ("must", "a column that is NOT NULL and filled by nothing"),
        ("other", "a field that the table has no column for"),
    ]


def test_casts_are_declared_where_the_table_needs_them() -> None:
    existing = table(
        column("quantity", sa.Integer),
        column("paid", sa.Boolean),
        column("code", sa.String(20)),
        column("ok", sa.Boolean),
    )
    some = times(120, quantity=["5", ""], paid=[0, 1], code=[1.5, 2.25], ok=["true", "0"])
    proposal = propose(*some, table=existing)
    assert declared(proposal) == {
        "quantity": "field(Integer, cast=Cast(from_text=True, empty_as_null=True))",
        "paid": "field(Boolean, cast=Cast(from_number=True))",
        "code": "field(String(20), cast=Cast(from_number=True))",
        "ok": "field(Boolean, cast=Cast(from_text=True))",
    }
    assert proposal.outcomes.dead == 0


def test_the_type_that_fits_a_table_best_is_loaded_into_it_and_the_others_into_tables_of_their_own() -> None:
    clicks = times(60, {"type": "click", "x": 1, "y": 2})
    sales = times(40, {"type": "sale", "amount": 1.5, "sku": "a"})
    existing = ExistingTable("sales", "shop", (column("amount", sa.Numeric(10, 2)), column("sku", sa.String(9))), ())
    proposal = propose(*clicks, *sales, table=existing)
    assert [(model.table, model.schema) for model in proposal.plan.models] == [
        ("things_click", None),
        ("sales", "shop"),
    ]
    assert '__table_args__ = {"schema": "shop"}' in proposal.text


def test_a_table_that_has_nothing_in_common_with_the_messages_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no column of table 'news' \(a\) is called like a field of the messages \(b\)"
    ):
        propose(*times(3, b=[1]), table=table(column("a", sa.Integer)))


def test_values_that_do_not_fit_the_tables_types_are_counted() -> None:
    proposal = propose(*times(120, name=["x" * 10, "x" * 30]), table=table(column("name", sa.String(20))))
    assert proposal.outcomes.dead == 60


def test_a_real_table_is_read_and_what_does_not_fit_is_found_by_the_sinks_examination() -> None:
    ddl = "CREATE TABLE news (id INTEGER PRIMARY KEY, title TEXT NOT NULL, at TEXT DEFAULT CURRENT_TIMESTAMP, must INT NOT NULL)"
    with database(ddl) as sink:
        found = read_table(sink, "news")
        assert [(each.name, each.is_nullable, each.is_filled) for each in found.columns] == [
            ("id", True, True),
            ("title", False, False),
            ("at", True, True),
            ("must", False, False),
        ]
        with (
            proposing(*times(120, {"title": "x"}, id=range(120)), table=found) as (proposal, stream),
            sink.engine.connect() as connection,
        ):
            problems = [misfit.problem for misfit in compare_tables(sink, connection, stream).refused]
        assert only_model(proposal).is_upsert
        assert any("must" in problem for problem in problems)
        with pytest.raises(ConfigError, match=r"there is no table 'olds'.*tables: news"):
            read_table(sink, "olds")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (mysql.TINYINT(display_width=1), "Boolean"),
        (mysql.TINYINT(), "TINYINT"),
        (mysql.INTEGER(unsigned=True), "INTEGER(unsigned=True)"),
        (mysql.BIGINT(), "BigInteger"),
        (mysql.MEDIUMINT(), "MEDIUMINT"),
        (mysql.YEAR(), "YEAR"),
        (mysql.BIT(9), "BIT(9)"),
        (mysql.VARCHAR(20), "String(20)"),
        (mysql.LONGTEXT(), "LONGTEXT"),
        (mysql.TEXT(), "Text"),
        (mysql.ENUM("a", "it's"), 'Enum("a", "it\'s")'),
        (mysql.SET("a", "b"), 'SET("a", "b")'),
        (mysql.DECIMAL(10, 2), "Numeric(10, 2)"),
        (mysql.DOUBLE(), "Float"),
        (mysql.JSON(), "JSON"),
        (mysql.TIME(fsp=3), "TIME(fsp=3)"),
        (mysql.DATETIME(), "DATETIME"),
        (mysql.TIMESTAMP(fsp=6), "TIMESTAMP(fsp=6)"),
        (sa.BINARY(16), "BINARY(16)"),
        (mysql.LONGBLOB(), "LONGBLOB"),
        (sa.BLOB(), "LargeBinary"),
        (sa.Date(), "Date"),
        (postgresql.UUID(), "Uuid"),
        (postgresql.JSONB(), "JSON"),
        (postgresql.DOUBLE_PRECISION(), "Float"),
        (postgresql.BYTEA(), "LargeBinary"),
        (postgresql.TIMESTAMP(precision=3), "TIMESTAMP(precision=3)"),
        (postgresql.TIME(), "Time"),
        (postgresql.INET(), None),
        (sa.types.NullType(), None),
    ],
)
def test_types_are_declared_as_models_have_them(kind: Any, expected: str | None) -> None:
    found = type_code(kind, None)
    assert (found and found.type and found.type.text) == expected
