"""Tables that were in a PostgreSQL before us: nothing is changed without a word."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import (
    ConfigError,
    SchemaMismatch,
)
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.postgresql.steps import execute, pin

pytestmark = pytest.mark.services


class Fitted(AppendModel):
    """A column of each kind that a table may hold differently."""

    __tablename__ = "pg_fitted"
    code: Mapped[str | None] = field(sa.String(20))
    note: Mapped[str | None] = field(sa.Text)
    amount: Mapped[int | None] = field(sa.Integer)
    big: Mapped[int | None] = field(sa.BigInteger)
    price: Mapped[Decimal | None] = field(sa.Numeric(12, 4))
    ratio: Mapped[float | None] = field(sa.Float)
    flag: Mapped[bool | None] = field(sa.Boolean)
    data: Mapped[Any | None] = field(sa.JSON)
    colour: Mapped[str | None] = field(sa.Enum("red", "it's"))
    at: Mapped[dt.datetime | None] = date_field()
    must: Mapped[int] = field(sa.Integer, default=7)


class Keyed(UpsertModel):
    __tablename__ = "pg_fitted_keys"
    delete_on_tombstone = True
    id: Mapped[str] = field(sa.String(20), primary_key=True)
    amount: Mapped[int | None] = field(sa.Integer)


FITTED = Stream(
    name="pg_fitted", topics=("pg_fitted", "keys"), route_by=RouteByTopic(), routes={"pg_fitted": Fitted, "keys": Keyed}
)


@pytest.fixture
def pg_fitted(url: sa.URL) -> Iterator[Target]:
    found = Target(FITTED, PostgreSQLSink(url))
    pin(found, TopicPartition("pg_fitted", 0), TopicPartition("keys", 0))
    yield found
    found.sink.close()


def refusal(target: Target) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, FITTED)
    return str(caught.value)


def mend(target: Target, text: str) -> None:
    """As a person does who copies the statements."""
    execute(target, *(line.strip(" ;") for line in text.splitlines() if line.strip().startswith("ALTER TABLE")))
    prepare_tables(target.sink, FITTED)


LONG = "x" * 60_000
NEW_YEARS_EVE = dt.datetime(2024, 12, 31, 23, 59, 59, 700_000)

# What the table has instead, a part of the problem's text, the field sent, and the value that has to come back.
CHANGING: list[tuple[str, str, str, Any, Any]] = [
    ("at TYPE timestamp(0)", "would be rounded", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("at TYPE date", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("at TYPE varchar(30)", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("ratio TYPE real", "16777217 to 16777216", "ratio", 16_777_217.0, 16_777_217.0),
    ("ratio TYPE numeric(20,2)", "number would be rounded", "ratio", 0.125, 0.125),
    ("code TYPE char(20)", "blanks at the end", "code", "a  ", "a  "),
    ("code TYPE integer USING 0", "'0930' as 930", "code", "0930", "0930"),
    ("code TYPE date USING NULL", "'240501' as 2024-05-01", "code", "240501", "240501"),
    ("code TYPE varchar(10)", "10 characters", "code", "x" * 20, "x" * 20),
    ("code TYPE uuid USING NULL", "kept as something else", "code", "x", "x"),
    ("code TYPE name", "kept as something else", "code", "x" * 20, "x" * 20),
    ("note TYPE varchar(1000)", "1000 characters", "note", LONG, LONG),
    ("amount TYPE smallint", "-32768 to 32767 only", "amount", 40_000, 40_000),
    ("amount TYPE numeric", "kept as something else", "amount", 7, 7),
    ("amount TYPE text", "kept as something else", "amount", 7, 7),
    ("big TYPE double precision", "kept as something else", "big", 2**62 + 1, 2**62 + 1),
    ("price TYPE numeric(12,2)", "rounded to 2", "price", 1.2345, Decimal("1.2345")),
    ("price TYPE numeric(10,4)", "6 digits fit before", "price", 12_345_678.5, Decimal("12345678.5")),
    ("price TYPE double precision", "decimals would be rounded", "price", 0.1, Decimal("0.1")),
    ("flag TYPE varchar(5)", "kept as something else", "flag", True, True),
    ("data TYPE text", "JSON would be", "data", {"a": LONG}, {"a": LONG}),
    ("colour TYPE varchar(3)", "3 characters", "colour", "it's", "it's"),
    ("code SET NOT NULL", "NOT NULL, and may be missing", "code", None, None),
]


@pytest.mark.parametrize(("column", "problem", "name", "sent", "expected"), CHANGING, ids=[c[0] for c in CHANGING])
def test_a_column_that_would_change_a_value_is_refused_and_right_after_the_statement_given(
    pg_fitted: Target, column: str, problem: str, name: str, sent: Any, expected: Any
) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted ALTER COLUMN {column}")
    text = refusal(pg_fitted)
    assert f"column {name} is" in text
    assert problem in text
    mend(pg_fitted, text)
    result = pg_fitted.load(raw_slice(Part([Msg({name: sent})], topic="pg_fitted")))
    assert result.total("rows") == 1
    [(found,)] = pg_fitted.all(f"SELECT {name} FROM pg_fitted")
    assert (json.loads(found) if name == "data" else found) == expected


WIDER = [
    "ALTER COLUMN code TYPE varchar(100)", "ALTER COLUMN code TYPE text", "ALTER COLUMN code SET DEFAULT 'x'",
    "ALTER COLUMN amount TYPE bigint", "ALTER COLUMN price TYPE numeric(20,8)", "ALTER COLUMN price TYPE numeric",
    "ALTER COLUMN data TYPE jsonb", "ALTER COLUMN at TYPE timestamptz", "ALTER COLUMN colour TYPE text",
    "ALTER COLUMN must DROP NOT NULL", "ADD COLUMN seen timestamptz DEFAULT now() NOT NULL", "ADD COLUMN more text",
    "ADD COLUMN twice bigint GENERATED ALWAYS AS (amount::bigint * 2) STORED", "ADD COLUMN kind integer NOT NULL DEFAULT 0",
    "ADD COLUMN seq bigint GENERATED ALWAYS AS IDENTITY", "ALTER COLUMN _kafka_topic TYPE varchar(249)",
    'ALTER COLUMN code TYPE varchar(20) COLLATE "C"',
]  # fmt: skip


@pytest.mark.parametrize("alteration", WIDER)
def test_a_table_that_holds_more_than_the_model_asks_for_is_right(pg_fitted: Target, alteration: str) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted {alteration}")
    prepare_tables(pg_fitted.sink, FITTED)
    message = {
        "code": "a ", "note": "n", "amount": 2**31 - 1, "big": 2**63 - 1, "price": 1.2345, "flag": True, "colour": "it's",
        "data": {"a": 1.10}, "at": "2024-12-31T23:59:59.7Z", "must": 1,
    }  # fmt: skip
    pg_fitted.load(raw_slice(Part([Msg(message)], topic="pg_fitted")))
    found = pg_fitted.all(
        "SELECT code, note, amount, big, price, flag, colour, data->>'a', at::timestamp, must FROM pg_fitted"
    )
    assert found == [("a ", "n", 2**31 - 1, 2**63 - 1, Decimal("1.2345"), True, "it's", "1.1", NEW_YEARS_EVE, 1)]


KEY = "_kafka_topic, _kafka_partition, _kafka_offset"
UNFIT: list[tuple[str, str]] = [
    ("ADD COLUMN owner integer NOT NULL", "column owner is not in the model"),
    ("DROP COLUMN amount, ADD COLUMN amount integer GENERATED ALWAYS AS (1) STORED", "column amount is generated"),
    ("DROP COLUMN must, ADD COLUMN must integer GENERATED ALWAYS AS IDENTITY", "GENERATED ALWAYS AS IDENTITY"),
    ("SET UNLOGGED", "it is UNLOGGED"),
    ("DROP CONSTRAINT pg_fitted_pkey", "has no primary key"),
    ("DROP CONSTRAINT pg_fitted_pkey, ADD PRIMARY KEY (_kafka_offset)", "primary key is (_kafka_offset)"),
    ("DROP CONSTRAINT pg_fitted_pkey, ADD CONSTRAINT own PRIMARY KEY (_kafka_offset, must)", "primary key is"),
    (f"DROP CONSTRAINT pg_fitted_pkey, ADD PRIMARY KEY ({KEY}) DEFERRABLE", "DEFERRABLE"),
]


@pytest.mark.parametrize(("alteration", "problem"), UNFIT, ids=[u[0] for u in UNFIT])
def test_a_table_that_would_lose_or_refuse_rows_is_refused_and_right_after_the_statements_given(
    pg_fitted: Target, alteration: str, problem: str
) -> None:
    execute(pg_fitted, f"ALTER TABLE pg_fitted {alteration}")
    text = refusal(pg_fitted)
    assert problem in text
    mend(pg_fitted, text)
    pg_fitted.load(raw_slice(Part([Msg({"amount": 5, "must": 0}), Msg({"amount": 6, "must": 1})], topic="pg_fitted")))
    assert pg_fitted.all("SELECT amount, must FROM pg_fitted ORDER BY _kafka_offset") == [(5, 0), (6, 1)]


@pytest.mark.parametrize("table", ["pg_fitted_keys", "pg_fitted_keys_tombstones"])
def test_a_text_key_that_takes_spellings_for_one_is_refused_also_in_the_table_of_tombstones(
    pg_fitted: Target, table: str
) -> None:
    execute(
        pg_fitted,
        "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        f"ALTER TABLE {table} ALTER COLUMN id TYPE varchar(30) COLLATE loose",
    )
    text = refusal(pg_fitted)
    assert "collation loose" in text
    assert f"table {table}:" in text
    mend(pg_fitted, text)
    spellings = ["a", "A", "a ", "á"]
    pg_fitted.load(raw_slice(Part([Msg({"id": k, "amount": n}) for n, k in enumerate(spellings)], topic="keys")))
    assert sorted(pg_fitted.all("SELECT id, amount FROM pg_fitted_keys")) == sorted(
        zip(spellings, range(4), strict=True)
    )
    pg_fitted.load(raw_slice(Part([Msg(None, key=b'"A"')], topic="keys", start=4)))
    assert pg_fitted.all("SELECT COUNT(*) FROM pg_fitted_keys") == [(3,)]


def test_a_table_altered_between_two_loads_of_one_connection_is_staged_as_it_is_now(pg_fitted: Target) -> None:
    pg_fitted.load(raw_slice(Part([Msg({"id": "a", "amount": 1})], topic="keys")))
    execute(pg_fitted, "ALTER TABLE pg_fitted_keys ALTER COLUMN id TYPE varchar(40), ALTER COLUMN amount TYPE bigint")
    prepare_tables(pg_fitted.sink, FITTED)
    pg_fitted.load(
        raw_slice(Part([Msg({"id": "a", "amount": 2}), Msg({"id": "b", "amount": 3})], topic="keys", start=1))
    )
    assert sorted(pg_fitted.all("SELECT id, amount FROM pg_fitted_keys")) == [("a", 2), ("b", 3)]


def test_a_name_the_server_would_cut_is_refused(url: sa.URL) -> None:
    class Long(AppendModel):
        __tablename__ = "t_" + "long" * 16
        name: Mapped[str] = field(sa.String(8))

    sink = PostgreSQLSink(url)
    with pytest.raises(ConfigError, match="more than the 63 bytes"):
        prepare_tables(sink, Stream(name="long", topics="long", routes={"l": Long}))
    sink.close()
