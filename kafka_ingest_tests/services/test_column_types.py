"""Every type of column holds what its message said, on each database and by each way in; what does not fit is a dead letter."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import Msg, Part, piped, raw_slice
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.typed import BAD, FULL, REPORTED, STREAM, Typed
from kafka_ingest_tests.support.ways_in import MYSQL_WAYS, WAYS, target_by

pytestmark = pytest.mark.services


@pytest.fixture(params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_by(request, STREAM) as opened:
        yield opened


def load(target: Target, *bodies: Any, topic: str = "typed", refused: int = 0) -> list[dict[str, Any]]:
    """The rows of a load of these messages, as `readable` gives them; what a dry run compares is equal then.

    refused: by the database, which a dry run does not know of."""
    start = target.offsets()[f"{topic}[0]"]
    raw = raw_slice(Part([b if isinstance(b, Msg) else Msg(b) for b in bodies], topic=topic, start=start))
    target.load(raw)
    table = target.stream.target_of(topic)
    assert table is not None
    with target.sink.engine.connect() as connection:
        with closing(table_comparison(connection, target.sink, table)) as comparison:
            comparison.compare(piped(target.stream, raw))
            found = comparison.result()
            assert (found.added, found.changed) == (refused, 0), found
        columns = [target.sink.readable(column) for column in table.table.columns]
        offset = table.table.c["_kafka_offset"]
        query = sa.select(*columns).where(offset >= start).order_by(offset)
        return [dict(row) for row in connection.execute(query).mappings()]


def letters(target: Target) -> list[str]:
    return [error for (error,) in target.all("SELECT error FROM kafka_ingest_dead_letters ORDER BY id")]


def test_a_value_of_each_type_is_read_back_as_it_was_sent(target: Target) -> None:
    full, empty = load(target, FULL, {})
    assert letters(target) == []
    assert {name: value for name, value in empty.items() if not name.startswith("_")} == dict.fromkeys(
        name for name in empty if not name.startswith("_")
    )
    assert full["day"] == dt.date(2024, 5, 1)
    assert full["local_day"] == dt.date(2025, 1, 1)
    at = dt.datetime(2024, 12, 31, 23, 59, 59)
    assert (full["at0"], full["at3"], full["at6"]) == (
        at,
        at.replace(microsecond=987_000),
        at.replace(microsecond=987_654),
    )
    assert full["stamp"] == dt.datetime(1970, 1, 1, 0, 0, 1)
    assert full["time"] == "23:59:59.999999"
    numbers = ("year", "bit8", "bit64", "tiny", "utiny", "usmall", "umedium", "uint", "ubig")
    assert {name: int(full[name]) for name in numbers} == {name: FULL[name] for name in numbers}
    assert int(full["bit1"]) == 1
    assert (full["fixed"], full["blob"], full["packed"]) == ("00FF1D1E", "", "6FA459EAEE8A3CA4894EDB77E160355E")
    assert full["varied"] == bytes(range(200)).hex().upper()
    assert full["ident"] == "6fa459ea-ee8a-3ca4-894e-db77e160355e"
    assert full["text"] == FULL["text"]
    assert json.loads(full["data"]) == FULL["data"]


def test_the_values_of_public_reports_come_back_as_they_were_sent(target: Target) -> None:
    rows = load(target, *({name: value} for name, value, _ in REPORTED))
    assert letters(target) == []
    for row, (name, _, expected) in zip(rows, REPORTED, strict=True):
        assert (int(row[name]) if isinstance(expected, int) else row[name]) == expected


SPANS = ("-838:59:58.5", "838:59:59", "00:00:00.001", "25:00", "-00:30")


@pytest.mark.parametrize("target", MYSQL_WAYS, indirect=True)
def test_a_span_of_a_time_column_is_read_back(target: Target) -> None:
    rows = load(target, *({"span": text} for text in SPANS))
    assert letters(target) == []
    assert [str(row["span"]) for row in rows] == [
        "-838:59:58.500",
        "838:59:59.000",
        "00:00:00.001",
        "25:00:00.000",
        "-00:30:00.000",
    ]


@pytest.mark.parametrize("target", ["postgresql"], indirect=True)
def test_where_time_holds_times_of_day_only_a_longer_span_is_a_dead_letter(target: Target) -> None:
    rows = load(target, *({"span": text} for text in SPANS), refused=len(SPANS) - 1)
    assert [str(row["span"]) for row in rows] == ["00:00:00.001"]
    assert len(letters(target)) == len(SPANS) - 1


def test_what_a_type_does_not_hold_is_a_dead_letter_that_says_why(target: Target) -> None:
    assert load(target, *({name: value} for name, value, _ in BAD)) == []
    for found, (_name, _value, expected) in zip(letters(target), BAD, strict=True):
        assert expected in found


def test_json_keeps_every_number_or_the_message_is_a_dead_letter_with_the_reason(target: Target) -> None:
    numbers = [
        "1",
        "-9223372036854775808",
        "18446744073709551615",
        "0.1",
        "1e300",
        "123456789012345.6",
        "1.10",
        "5e-324",
    ]
    inexact = ["18446744073709551616", "0.1234567890123456789", "12345678901234567890.5", "-9223372036854775809"]
    bodies = [b'{"data":{"n":[%s],"t":"%s"}}' % (n.encode(), b"1" * 40) for n in (*numbers, *inexact)]
    is_mysql = target.sink.kind == "mysql" and not getattr(target.sink.engine.dialect, "is_mariadb", False)
    rows = load(target, *bodies, refused=len(inexact) if is_mysql else 0)
    kept = numbers if is_mysql else [*numbers, *inexact]
    parsed = [json.loads(row["data"], parse_int=Decimal, parse_float=Decimal)["n"][0] for row in rows]
    assert parsed == [Decimal(number) for number in kept]
    assert len(letters(target)) == (len(inexact) if is_mysql else 0)
    assert all("as a double, and would change it" in error for error in letters(target))
    (row,) = load(target, b'{"kept":{"n":0.1234567890123456789}}')
    assert "0.1234567890123456789" in row["kept"]


def test_bytes_and_uuids_are_business_keys(target: Target) -> None:
    ids = [str(uuid.UUID(int=n)) for n in (0, 1, 0x31, 0xFF << 120)]
    bodies = [{"id": i.upper(), "other": i, "flags": n} for n, i in enumerate(ids)]
    assert len(load(target, *bodies, topic="packed")) == len(ids)
    (row,) = load(target, {"id": ids[1], "other": ids[1].upper(), "flags": 0x31}, topic="packed")
    assert int(row["flags"]) == 0x31
    tombstone = Msg(None, key=json.dumps({"id": ids[2], "other": ids[2]}).encode())
    load(target, tombstone, topic="packed")
    assert letters(target) == []
    count = "SELECT COUNT(*) FROM packed_columns"
    assert target.all(count) == [(3,)]


_DAYS = st.dates(dt.date(1000, 1, 2), dt.date(9999, 12, 30))
_ROWS = st.fixed_dictionaries(
    {
        "day": _DAYS.map(str),
        "time": st.times().map(str),
        "year": st.integers(1901, 2155),
        "bit64": st.integers(0, (1 << 64) - 1),
        "ubig": st.integers(0, (1 << 64) - 1),
        "varied": st.binary(max_size=200).map(lambda b: base64.b64encode(b).decode()),
        "ident": st.uuids().map(str),
        "stamp": st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2038, 1, 18)).map(lambda at: f"{at.isoformat()}Z"),
    }
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(_ROWS, min_size=1, max_size=40))
def test_any_value_of_each_type_comes_back_equal(target: Target, bodies: list[dict[str, Any]]) -> None:
    rows = load(target, *bodies)
    assert letters(target) == []
    for row, body in zip(rows, bodies, strict=True):
        assert row["day"] == dt.date.fromisoformat(body["day"])
        assert dt.time.fromisoformat(row["time"]) == dt.time.fromisoformat(body["time"])
        assert [int(row[name]) for name in ("year", "bit64", "ubig")] == [body[n] for n in ("year", "bit64", "ubig")]
        assert row["varied"] == base64.b64decode(body["varied"]).hex().upper()
        assert row["ident"] == body["ident"]
        assert row["stamp"] == dt.datetime.fromisoformat(body["stamp"][:-1])


# What the table has instead, whether it is refused, and a part of the problem's text.
TABLES: list[tuple[str, str | None]] = [
    ("day DATETIME", "kept as something else"),
    ("at0 DATETIME(3)", None),
    ("at3 DATETIME", "rounded or cut to 0 decimals"),
    ("stamp DATETIME(6)", None),
    ("stamp TIMESTAMP(3) NULL", "rounded or cut to 3 decimals"),
    ("time TIME", "rounded or cut to 0 decimals"),
    ("year SMALLINT", None),
    ("year TINYINT", "holds -128 to 127 only"),
    ("bit8 BIT(16)", None),
    ("bit8 BIT(4)", "holds 4 bits only"),
    ("bit8 TINYINT UNSIGNED", None),
    ("ubig BIGINT", "holds -9223372036854775808 to"),
    ("uint BIGINT", None),
    ("fixed VARBINARY(4)", None),
    ("fixed BINARY(8)", "filled up with zeros"),
    ("varied BINARY(200)", "filled up with zeros"),
    ("varied VARBINARY(100)", "longer values do not fit 100 bytes"),
    ("varied BLOB", None),
    ("blob TINYBLOB", "longer values do not fit 255 bytes"),
    ("packed CHAR(36)", "refused, or read as text"),
    ("ident VARCHAR(36)", None),
    ("ident CHAR(32)", "a UUID has 36 characters"),
    ("ident BINARY(16)", "Cast(bytes_from='uuid')"),
]


def test_an_existing_table_that_could_change_a_value_is_refused(database: LocalDatabase, database_url: str) -> None:
    with closing(open_sink(sa.make_url(database_url))) as sink:
        prepare_tables(sink, STREAM)
        for declared, expected in TABLES:
            name, rest = declared.split(maxsplit=1)
            with sink.engine.begin() as connection:
                before = TargetTable.of(Typed).table.c[name].type.compile(sink.engine.dialect)
                connection.exec_driver_sql(f"ALTER TABLE typed_columns MODIFY `{name}` {rest}")
                found = [m.problem for m in sink.misfits(connection, [Typed.__table__])]
                connection.exec_driver_sql(f"ALTER TABLE typed_columns MODIFY `{name}` {before} NULL")
                assert (expected is None) == (found == []), (declared, found)
                assert expected is None or expected in found[0], (declared, found)
                assert sink.misfits(connection, [Typed.__table__]) == []


POSTGRESQL_TABLES: list[tuple[str, str | None]] = [
    ("day TIMESTAMP", "kept as something else"),
    ("at3 TIMESTAMP", None),
    ("at3 TIMESTAMP(0)", "rounded to 0 decimals"),
    ("stamp TIMESTAMPTZ", None),
    ("time TIME(3)", "rounded to 3 decimals"),
    ("span TIME", None),
    ("year SMALLINT", None),
    ("bit8 BIT(8)", "kept as something else"),
    ("ubig BIGINT", "rounded or kept as something else"),
    ("uint INTEGER", "it holds"),
    ("fixed TEXT", "kept as something else"),
    ("ident VARCHAR(36)", None),
    ("ident VARCHAR(32)", "does not fit 32 characters"),
]


def test_an_existing_table_of_postgresql_that_could_change_a_value_is_refused(postgresql_url: str) -> None:
    with closing(open_sink(sa.make_url(postgresql_url))) as sink:
        prepare_tables(sink, STREAM)
        with sink.engine.begin() as connection:
            assert sink.misfits(connection, [Typed.__table__]) == []
        for declared, expected in POSTGRESQL_TABLES:
            name, rest = declared.split(maxsplit=1)
            with sink.engine.connect() as connection:  # rolled back
                connection.exec_driver_sql(f"ALTER TABLE typed_columns DROP COLUMN {name}, ADD COLUMN {name} {rest}")
                found = [m.problem for m in sink.misfits(connection, [Typed.__table__])]
            assert (expected is None) == (found == []), (declared, found)
            assert expected is None or expected in found[0], (declared, found)


def test_mariadbs_own_uuid_type_holds_a_uuid(mariadb_url: str) -> None:
    with closing(open_sink(sa.make_url(mariadb_url))) as sink:
        target = Target(STREAM, sink)
        target.pin({TopicPartition("typed", 0): 0})
        with sink.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE typed_columns MODIFY ident UUID NULL")
        (row,) = load(target, {"ident": FULL["ident"]})
        assert row["ident"] == "6fa459ea-ee8a-3ca4-894e-db77e160355e"


def test_the_forecast_of_an_unchanged_row_is_unchanged(mysql_url: str) -> None:
    with closing(open_sink(sa.make_url(mysql_url))) as sink:
        target = Target(STREAM, sink)
        target.pin({TopicPartition("typed", 0): 0})
        raw = raw_slice(Part([Msg(FULL)], topic="typed"))
        target.load(raw)
        with (
            sink.engine.connect() as connection,
            closing(table_comparison(connection, sink, TargetTable.of(Typed))) as it,
        ):
            it.compare(piped(STREAM, raw))
            assert it.result() == TableForecast(unchanged=1)
