"""SQLite keeps decimals and JSON as text, digit by digit; a table whose affinities would change values is refused."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.sinks.sqlite.misfits import affinity
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import RawSlice, TopicPartition
from kafka_ingest.streams.model import AppendModel, Model, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target


class Exact(AppendModel):
    """A column of each storage class."""

    __tablename__ = "t_exact"
    price: Mapped[Decimal | None] = field(sa.Numeric(30, 12))
    data: Mapped[Any | None] = field(sa.JSON)
    code: Mapped[str | None] = field(sa.String(20))
    whole: Mapped[int | None] = field(sa.BigInteger)
    flag: Mapped[bool | None] = field(sa.Boolean)
    ratio: Mapped[float | None] = field(sa.Float)
    at: Mapped[Any | None] = date_field()
    day: Mapped[Any | None] = date_field(sa.Date)


class Numbered(UpsertModel):
    """Keyed by a number no double holds."""

    __tablename__ = "t_numbered"
    id: Mapped[Decimal] = field(sa.Numeric(20, 0), primary_key=True)
    name: Mapped[str | None] = field(sa.String(20))


STREAM = Stream(
    name="exact", topics=("exact", "numbered"), route_by=RouteByTopic(), routes={"exact": Exact, "numbered": Numbered}
)


@pytest.fixture
def target() -> Iterator[Target]:
    found = Target(STREAM)
    found.pin({TopicPartition(topic, 0): 0 for topic in STREAM.topic_names})
    yield found
    found.sink.close()


def slice_of(topic: str, *bodies: bytes, start: int = 0) -> RawSlice:
    return raw_slice(Part([Msg(body) for body in bodies], topic=topic, start=start))


def foretell(target: Target, model: type[Model], raw: RawSlice) -> TableForecast:
    with target.sink.engine.connect() as connection:
        table = table_comparison(connection, target.sink, TargetTable.of(model))
        table.compare(piped(STREAM, raw))
        found = table.result()
        table.close()
    return found


PRICES = ["0.1", "123456789012345678.123456789012", "-0.000000000001", "100000000000000000"]


def test_decimals_have_every_digit_they_were_sent_with(target: Target) -> None:
    raw = slice_of("exact", *(b'{"price": %s}' % price.encode() for price in PRICES))
    target.load(raw)
    assert target.rows(Exact, "price", "typeof(price)") == [(price, "text") for price in PRICES]
    assert foretell(target, Exact, raw) == TableForecast(unchanged=len(PRICES))


def test_json_is_the_text_that_was_sent(target: Target) -> None:
    documents = ["1.10", "1e400", "12345678901234567890.1", '{"a": [1.0, 1e-400]}', "0.30000000000000004000", '"1.10"']
    raw = slice_of("exact", *(b'{"data": %s}' % document.encode() for document in documents))
    target.load(raw)
    assert target.rows(Exact, "data", "typeof(data)") == [(document, "text") for document in documents]


def test_keys_that_no_double_tells_apart_stay_rows_of_their_own(target: Target) -> None:
    keys = [12345678901234567890, 12345678901234567891, 12345678901234567892]
    raw = slice_of("numbered", *(b'{"id": %d, "name": "n%d"}' % (key, n) for n, key in enumerate(keys)))
    assert foretell(target, Numbered, raw) == TableForecast(added=3)
    target.load(raw)
    found = sorted(target.all("SELECT id, name FROM t_numbered"))
    assert found == [(str(key), f"n{n}") for n, key in enumerate(keys)]
    assert foretell(target, Numbered, raw) == TableForecast(unchanged=3)


def test_the_models_own_types_stay_what_they_are() -> None:
    columns = Exact.__table__.columns
    assert isinstance(columns["price"].type, sa.Numeric)
    assert (columns["price"].type.precision, columns["price"].type.scale) == (30, 12)
    assert isinstance(columns["data"].type, sa.JSON)

    def own() -> Any:
        return field(sa.Numeric(5, 1).with_variant(sa.String(9), "sqlite")).column.type

    assert str(own().compile(dialect=sa.create_engine("sqlite://").dialect)) == "VARCHAR(9)"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("INT", "INTEGER"), ("BIGINT", "INTEGER"), ("FLOATING POINT", "INTEGER"), ("VARCHAR(20)", "TEXT"), ("CLOB", "TEXT"),
        ("CHARINT", "INTEGER"), ("BLOB", "BLOB"), ("", "BLOB"), ("DOUBLE PRECISION", "REAL"), ("REAL", "REAL"), ("FLOAT", "REAL"),
        ("NUMERIC(10,5)", "NUMERIC"), ("DATETIME", "NUMERIC"), ("BOOLEAN", "NUMERIC"), ("JSON", "NUMERIC"), ("STRING", "NUMERIC"),
    ],
)  # fmt: skip
def test_affinity_is_what_sqlite_makes_of_a_declared_type(declared: str, expected: str) -> None:
    assert affinity(declared) == expected
    with sa.create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql(f"CREATE TABLE t (a {declared})")
        connection.exec_driver_sql("INSERT INTO t VALUES ('1'), ('1.5'), (2), (0.1)")
        found = [row[0] for row in connection.exec_driver_sql("SELECT typeof(a) FROM t")]
    kept = {
        "TEXT": ["text"] * 4,
        "BLOB": ["text", "text", "integer", "real"],
        "REAL": ["real"] * 4,
    }
    assert found == kept.get(expected, ["integer", "real", "integer", "real"])


COLUMNS = {
    "price": "TEXT", "data": "TEXT", "code": "VARCHAR(20)", "whole": "BIGINT", "flag": "BOOLEAN", "ratio": "DOUBLE",
    "at": "DATETIME", "day": "DATE", "_kafka_topic": "VARCHAR(280)", "_kafka_partition": "INTEGER", "_kafka_offset": "BIGINT",
    "_kafka_timestamp": "DATETIME",
}  # fmt: skip
KEY = "PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset)"


def remake(target: Target, key: str = KEY, more: str = "", options: str = "", **changed: str) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in (COLUMNS | changed).items())
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE t_exact")
        connection.exec_driver_sql(f"CREATE TABLE t_exact ({columns}{more}, {key}){options}")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"price": "NUMERIC(30, 12)"}, "column price is NUMERIC(30, 12): decimals would go through floating point"),
        ({"data": "JSON"}, "column data is JSON: the JSON 1.10 would become 1.1"),
        ({"code": "STRING"}, "column code is STRING: the text '1.10' would become 1.1"),
        ({"whole": "TEXT"}, "column whole is TEXT: a number would become text"),
        ({"whole": "REAL"}, "column whole is REAL"),
        ({"flag": "VARCHAR(5)"}, "column flag is VARCHAR(5)"),
        ({"ratio": "NUMERIC"}, "column ratio is NUMERIC"),
        ({"code": "TEXT NOT NULL"}, "column code is NOT NULL, and may be missing"),
        ({"code": "TEXT AS ('x')"}, "column code is generated"),
        ({"_kafka_topic": "TEXT COLLATE NOCASE"}, "column _kafka_topic has collation NOCASE"),
        ({"key": "PRIMARY KEY (_kafka_offset)"}, "its primary key is (_kafka_offset), and (_kafka_topic,"),
        ({"key": "UNIQUE (_kafka_offset)"}, "its primary key is (), and"),
        ({"more": ", owner INT NOT NULL"}, "column owner is not in the model, NOT NULL and without a default"),
    ],
)
def test_a_table_that_would_change_values_is_refused_and_made_anew_after_the_statement(
    target: Target, changed: dict[str, str], problem: str
) -> None:
    remake(target, **changed)
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, STREAM)
    text = str(caught.value)
    assert problem in text
    [statement] = [line.strip(" ;") for line in text.splitlines() if line.strip().startswith("ALTER TABLE")]
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    prepare_tables(target.sink, STREAM)
    target.load(slice_of("exact", b'{"price": 0.10, "data": 1.10, "code": "1.10"}'))
    assert target.rows(Exact, "price", "data", "code") == [("0.1", "1.10", "1.10")]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {
            "price": "",
            "data": "BLOB",
            "code": "CLOB",
            "whole": "",
            "flag": "INT",
            "ratio": "REAL",
            "at": "TEXT",
            "day": "TEXT",
        },
        {"whole": "NUMERIC", "at": "INT", "day": "INT"},
        {"more": ", owner INT NOT NULL DEFAULT 1, other TEXT, third TEXT AS (code)"},
        {"options": " WITHOUT ROWID"},
    ],
)
def test_a_table_that_keeps_values_is_right(target: Target, changed: dict[str, str]) -> None:
    remake(target, **changed)
    prepare_tables(target.sink, STREAM)
    target.load(
        slice_of(
            "exact",
            b'{"price": 0.1, "data": 1.10, "code": "1.10", "whole": 7, "ratio": 1.0, "at": "2024-05-01", "day": "20240501"}',
        )
    )
    names = ("price", "data", "code", "whole", "ratio", "at", "day")
    assert target.rows(Exact, *names) == [("0.1", "1.10", "1.10", 7, 1.0, "2024-05-01 00:00:00.000000", "2024-05-01")]
