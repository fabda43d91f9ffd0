"""Tables that were there before us, on real servers: what would change a value is refused before the first row, with the
statement that mends it; after that statement the value comes back as it was sent."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest.cli.doctor.database import check_database
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.mysql.types import change, parse_type
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, date_field, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.target import Target

pytestmark = pytest.mark.services

LONG = "x" * 60_000


class Fitted(AppendModel):
    """A column of each kind that a table may hold differently."""

    __tablename__ = "fitted"
    code: Mapped[str | None] = field(sa.String(20))
    note: Mapped[str | None] = field(sa.Text)
    amount: Mapped[int | None] = field(sa.Integer)
    big: Mapped[int | None] = field(sa.BigInteger)
    price: Mapped[Decimal | None] = field(sa.Numeric(12, 4))
    ratio: Mapped[float | None] = field(sa.Float)
    flag: Mapped[bool | None] = field(sa.Boolean)
    data: Mapped[Any | None] = field(sa.JSON)
    colour: Mapped[str | None] = field(mysql.ENUM("red", "it's"))
    at: Mapped[dt.datetime | None] = date_field()
    day: Mapped[dt.date | None] = date_field(sa.Date)
    must: Mapped[int] = field(sa.Integer, default=7)


class Keyed(UpsertModel):
    """Keyed by text, with tombstones."""

    __tablename__ = "fitted_keys"
    delete_on_tombstone = True
    id: Mapped[str] = field(sa.String(20), primary_key=True)
    amount: Mapped[int | None] = field(sa.Integer)


STREAM = Stream(
    name="fitted", topics=("fitted", "keys"), route_by=RouteByTopic(), routes={"fitted": Fitted, "keys": Keyed}
)


@pytest.fixture
def target(database_url: str) -> Iterator[Target]:
    found = Target(STREAM, open_sink(sa.make_url(database_url)))
    found.pin({TopicPartition("fitted", 0): 0, TopicPartition("keys", 0): 0})
    yield found
    found.sink.close()


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def refusal(target: Target, stream: Stream = STREAM) -> str:
    with pytest.raises(SchemaMismatch) as caught:
        prepare_tables(target.sink, stream)
    return str(caught.value)


def statements_of(text: str) -> list[str]:
    return [line.strip(" ;") for line in text.splitlines() if line.strip().startswith("ALTER TABLE")]


def mend(target: Target, text: str) -> None:
    """As a person does who copies the statements."""
    execute(target, *statements_of(text))
    prepare_tables(target.sink, STREAM)


NEW_YEARS_EVE = dt.datetime(2024, 12, 31, 23, 59, 59, 700_000)

# What the table has instead, a part of the problem's text, the field sent, and the value that has to come back.
CHANGING: list[tuple[str, str, str, Any, Any]] = [
    ("at DATETIME", "would be rounded", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    # mysql/mysql-connector-j#2, knex/knex#2524: a fraction of a second makes the next day.
    ("at DATETIME(3)", "would be rounded", "at", "2024-12-31T23:59:59.9999Z", NEW_YEARS_EVE.replace(microsecond=999_900)),
    ("at TIMESTAMP(6) NULL", "before 1970", "at", "1960-02-29T00:00:00Z", dt.datetime(1960, 2, 29)),
    ("at DATE", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("at VARCHAR(30)", "instant would be cut", "at", "2024-12-31T23:59:59.7Z", NEW_YEARS_EVE),
    ("day DATETIME", "kept as something else", "day", "2024-12-31T23:59:59.7", NEW_YEARS_EVE.date()),
    ("day TIMESTAMP NULL", "kept as something else", "day", "1960-02-29", dt.date(1960, 2, 29)),
    ("day VARCHAR(30)", "kept as something else", "day", "2024-12-31", NEW_YEARS_EVE.date()),
    ("ratio FLOAT", "16777217 to 16777216", "ratio", 16_777_217.0, 16_777_217.0),
    ("ratio DOUBLE(10,2)", "rounded to 2 decimals", "ratio", 0.125, 0.125),
    ("ratio DECIMAL(20,2)", "number would be rounded", "ratio", 0.125, 0.125),
    ("ratio DOUBLE UNSIGNED", "below 0", "ratio", -0.5, -0.5),
    ("code CHAR(20)", "blanks at the end", "code", "a  ", "a  "),
    ("code INT", "'4.7' would become 5", "code", "4.7", "4.7"),
    ("code TIME", "'0930' would become 00:09:30", "code", "0930", "0930"),
    ("code DATE", "'240501' would become", "code", "240501", "240501"),
    ("code YEAR", "would become 2024", "code", "24", "24"),
    ("code ENUM('1','2')", "second member", "code", "2", "2"),
    ("code VARCHAR(10)", "10 characters", "code", "x" * 20, "x" * 20),
    ("code TINYTEXT CHARACTER SET latin1", "characters are latin1", "code", "长", "长"),
    ("code VARCHAR(20) CHARACTER SET utf8mb3", "characters are utf8mb3", "code", "😀", "😀"),
    ("code VARBINARY(80)", "kept as something else", "code", "é", "é"),
    ("note VARCHAR(1000)", "1000 characters", "note", LONG, LONG),
    ("note TINYTEXT", "255 bytes", "note", LONG, LONG),
    ("amount SMALLINT", "-32768 to 32767 only", "amount", 40_000, 40_000),
    ("amount BIT(32)", "kept as something else", "amount", 7, 7),
    ("amount VARCHAR(20)", "kept as something else", "amount", 7, 7),
    # debezium/debezium#7543 (dbz#2102): an unsigned column that was there before the sink.
    ("big BIGINT UNSIGNED", "0 to 18446744073709551615 only", "big", -1, -1),
    ("big DOUBLE", "number would be rounded", "big", 2**62 + 1, 2**62 + 1),
    # confluentinc/kafka-connect-jdbc#1237: decimals lost in a column of fewer.
    ("price DECIMAL(12,2)", "rounded to 2", "price", 1.2345, Decimal("1.2345")),
    ("price DECIMAL(10,4)", "6 digits fit before", "price", 12_345_678.5, Decimal("12345678.5")),
    ("price DECIMAL(12,4) UNSIGNED", "below 0", "price", -1, Decimal(-1)),
    ("price DOUBLE", "decimals would be rounded", "price", 0.1, Decimal("0.1")),
    ("flag VARCHAR(5)", "kept as something else", "flag", True, 1),
    ("data TEXT", "JSON would be", "data", {"a": LONG}, {"a": LONG}),
    ("colour ENUM('red')", "lacks \"it's\"", "colour", "it's", "it's"),
    ("colour VARCHAR(5)", "member would be kept", "colour", "red", "red"),
    # confluentinc/kafka-connect-jdbc#868: columns NOT NULL that messages leave out.
    ("code VARCHAR(20) NOT NULL", "NOT NULL, and may be missing", "code", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("column", "problem", "name", "sent", "expected"), CHANGING, ids=[c[0] for c in CHANGING])
def test_a_column_that_would_change_a_value_is_refused_and_right_after_the_statement_given(
    target: Target, column: str, problem: str, name: str, sent: Any, expected: Any
) -> None:
    execute(target, f"ALTER TABLE fitted MODIFY COLUMN {column}")
    text = refusal(target)
    assert f"column {name} is" in text
    assert problem in text
    assert len(statements_of(text)) == 1
    mend(target, text)
    result = target.load(raw_slice(Part([Msg({name: sent})], topic="fitted")))
    assert result.total("rows") == 1
    [(found,)] = target.all(f"SELECT {name} FROM fitted")
    assert (json.loads(found) if name == "data" else found) == expected


WIDER = [
    "MODIFY COLUMN code VARCHAR(100)", "MODIFY COLUMN code LONGTEXT", "MODIFY COLUMN code TINYTEXT",
    "MODIFY COLUMN code VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT 'x'",
    "MODIFY COLUMN note MEDIUMTEXT", "MODIFY COLUMN amount BIGINT",
    "MODIFY COLUMN price DECIMAL(20,8)", "MODIFY COLUMN flag BIGINT", "MODIFY COLUMN colour ENUM('it''s','blue','red')",
    "MODIFY COLUMN must INT NULL", "ADD COLUMN seen DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL", "ADD COLUMN more TEXT",
    "ADD COLUMN twice BIGINT AS (amount * 2) VIRTUAL", "ADD COLUMN twice BIGINT AS (amount * 2) STORED",
    "DROP PRIMARY KEY, ADD PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset, must)",
    "ADD COLUMN seq BIGINT NOT NULL AUTO_INCREMENT UNIQUE", "ADD COLUMN kind INT NOT NULL DEFAULT 0",
    "MODIFY COLUMN _kafka_topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL",
    "MODIFY COLUMN _kafka_topic VARCHAR(280) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
]  # fmt: skip


@pytest.mark.parametrize("alteration", WIDER)
def test_a_table_that_holds_more_than_the_model_asks_for_is_right(target: Target, alteration: str) -> None:
    execute(target, f"ALTER TABLE fitted {alteration}")
    prepare_tables(target.sink, STREAM)
    message = {
        "code": "a ", "note": "n", "amount": 2**31 - 1, "big": 2**63 - 1, "price": 1.2345, "flag": True, "colour": "it's",
        "must": 1,
    }  # fmt: skip
    target.load(raw_slice(Part([Msg(message)], topic="fitted")))
    assert target.all("SELECT code, note, amount, big, price, flag, colour, must FROM fitted") == [
        ("a ", "n", 2**31 - 1, 2**63 - 1, Decimal("1.2345"), 1, "it's", 1)
    ]


UNFIT: list[tuple[str, str]] = [
    # Error 1364 for each row by INSERT, a 0 by LOAD DATA.
    ("ALTER TABLE fitted ADD COLUMN owner INT NOT NULL", "column owner is not in the model"),
    ("ALTER TABLE fitted DROP COLUMN amount, ADD COLUMN amount INT AS (1) VIRTUAL", "column amount is generated"),
    ("ALTER TABLE fitted DROP COLUMN amount, ADD COLUMN amount INT AS (1) STORED", "column amount is generated"),
    ("ALTER TABLE fitted MODIFY COLUMN must INT NOT NULL AUTO_INCREMENT UNIQUE", "a 0 would become another number"),
    ("ALTER TABLE fitted ENGINE=MyISAM", "its engine is MyISAM"),
    ("ALTER TABLE fitted DROP PRIMARY KEY", "has no primary key"),
    ("ALTER TABLE fitted DROP PRIMARY KEY, ADD PRIMARY KEY (_kafka_offset)", "primary key is (_kafka_offset)"),
    (
        "ALTER TABLE fitted DROP PRIMARY KEY, ADD PRIMARY KEY (_kafka_topic(9), _kafka_partition, _kafka_offset)",
        "_kafka_topic(9)",
    ),
    ("ALTER TABLE fitted DROP PRIMARY KEY, ADD COLUMN seq INT NOT NULL AUTO_INCREMENT PRIMARY KEY", "key is (seq)"),
    (
        "ALTER TABLE fitted MODIFY COLUMN _kafka_topic VARCHAR(280) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL",
        "column _kafka_topic has collation utf8mb4_general_ci",
    ),
]


@pytest.mark.parametrize(("alteration", "problem"), UNFIT, ids=[u[1] for u in UNFIT])
def test_a_table_that_would_lose_or_refuse_rows_is_refused_and_right_after_the_statements_given(
    target: Target, alteration: str, problem: str
) -> None:
    execute(target, alteration)
    text = refusal(target)
    assert problem in text
    mend(target, text)
    target.load(raw_slice(Part([Msg({"amount": 5, "must": 0}), Msg({"amount": 6, "must": 1})], topic="fitted")))
    assert target.all("SELECT amount, must FROM fitted ORDER BY _kafka_offset") == [(5, 0), (6, 1)]


@pytest.mark.parametrize("table", ["fitted_keys", "fitted_keys_tombstones"])
@pytest.mark.parametrize("collation", ["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def test_a_text_key_that_takes_spellings_for_one_is_refused_also_in_the_table_of_tombstones(
    target: Target, table: str, collation: str
) -> None:
    """wso2/product-sp#1031 and its like: keys that differ by case, or by a blank at the end."""
    execute(target, f"ALTER TABLE {table} MODIFY COLUMN id VARCHAR(30) COLLATE {collation} NOT NULL")
    text = refusal(target)
    assert f"column id has collation {collation}" in text
    assert f"table {table}:" in text
    assert "varchar(30)" in text  # what is wider stays so
    mend(target, text)
    spellings = ["a", "A", "a ", "á"]
    target.load(raw_slice(Part([Msg({"id": k, "amount": n}) for n, k in enumerate(spellings)], topic="keys")))
    assert sorted(target.all("SELECT id, amount FROM fitted_keys")) == sorted(zip(spellings, range(4), strict=True))
    target.load(raw_slice(Part([Msg(None, key=b'"A"')], topic="keys", start=4)))
    assert target.all("SELECT COUNT(*) FROM fitted_keys") == [(3,)]


def test_one_refusal_lists_all_problems_of_all_tables_and_nothing_is_changed_before(target: Target) -> None:
    execute(
        target,
        "ALTER TABLE fitted MODIFY COLUMN at DATETIME, MODIFY COLUMN ratio FLOAT, DROP COLUMN note, ENGINE=MyISAM",
        "ALTER TABLE fitted_keys MODIFY COLUMN amount TINYINT",
        "DROP TABLE fitted_keys_tombstones",
    )
    evolving = replace(STREAM, evolve=True)
    for stream, count in ((STREAM, 5), (evolving, 4)):
        text = refusal(target, stream)
        assert text.count("  - ") == count, text
        assert ("column note is missing" in text) is (stream is STREAM)
        for problem in ("at is datetime", "ratio is float", "MyISAM", "amount is tinyint"):
            assert problem in text
    assert target.all("SHOW COLUMNS FROM fitted LIKE 'note'") == []
    assert target.all("SHOW TABLES LIKE 'fitted_keys_tombstones'") == []
    execute(target, *statements_of(text))
    prepare_tables(target.sink, evolving)
    assert len(target.all("SHOW COLUMNS FROM fitted LIKE 'note'")) == 1


def test_a_column_that_may_not_be_null_is_not_added_to_rows_that_have_no_value_for_it(target: Target) -> None:
    """confluentinc/kafka-connect-jdbc#592: MySQL itself would fill in 0."""
    evolving = replace(STREAM, evolve=True)
    execute(target, "ALTER TABLE fitted DROP COLUMN must")
    prepare_tables(target.sink, evolving)  # no rows: nothing is made up
    assert target.all("SHOW COLUMNS FROM fitted LIKE 'must'")[0][2] == "NO"
    target.load(raw_slice(Part([Msg({"amount": 1})], topic="fitted")))
    execute(target, "ALTER TABLE fitted DROP COLUMN must, DROP COLUMN note")
    for stream in (STREAM, evolving):
        text = refusal(target, stream)
        assert "column must is missing and NOT NULL, and the table has rows" in text
    assert target.all("SHOW COLUMNS FROM fitted LIKE 'note'") == []  # all are looked at before the first is run
    execute(target, *statements_of(text))
    prepare_tables(target.sink, evolving)
    assert target.all("SELECT amount, must, note FROM fitted") == [(1, None, None)]


def test_a_column_of_ours_is_added_without_asking_and_keeps_the_rows(target: Target) -> None:
    target.load(raw_slice(Part([Msg({"id": "a", "amount": 1}), Msg(None, key=b'"b"')], topic="keys")))
    for table in ("fitted_keys", "fitted_keys_tombstones"):
        execute(target, f"ALTER TABLE {table} DROP COLUMN _kafka_timestamp")
    prepare_tables(target.sink, STREAM)
    assert target.all("SELECT id, amount, _kafka_timestamp FROM fitted_keys") == [("a", 1, None)]
    assert target.all("SELECT id, _kafka_timestamp FROM fitted_keys_tombstones") == [("b", None)]


def test_a_view_is_looked_at_for_its_columns_alone(target: Target) -> None:
    """confluentinc/kafka-connect-jdbc#839: it cannot be altered."""
    execute(target, "RENAME TABLE fitted TO behind", "CREATE VIEW fitted AS SELECT * FROM behind")
    prepare_tables(target.sink, STREAM)


def test_the_doctor_says_the_same_before_any_run(target: Target, database_url: str) -> None:
    execute(
        target,
        "ALTER TABLE fitted MODIFY COLUMN at DATETIME, ENGINE=MyISAM",
        "ALTER TABLE fitted_keys DROP COLUMN amount",
    )
    settings = Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": database_url})
    findings = {f.check: f for f in check_database(settings, [STREAM])}
    found, keys = findings["table fitted"], findings["table fitted_keys"]
    text = refusal(target)
    assert (found.verdict, keys.verdict, findings["table fitted_keys_tombstones"].verdict) == ("fail", "fail", "ok")
    assert "rounded" in found.detail
    assert "MyISAM" in found.detail
    for statement in statements_of(text):
        assert statement in f"{found.fix} {keys.fix}"
    mend(target, text)
    again = {f.check: f.verdict for f in check_database(settings, [STREAM])}
    assert (again["table fitted"], again["table fitted_keys"]) == ("ok", "ok")


def test_the_doctor_names_the_grant_that_a_run_needs_to_add_a_column(
    target: Target, database: LocalDatabase, database_url: str
) -> None:
    url = sa.make_url(database_url)
    execute(target, "ALTER TABLE fitted DROP COLUMN _kafka_timestamp")
    user = f"u_{uuid.uuid4().hex[:12]}"
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, INDEX, CREATE TEMPORARY TABLES"
    database.run_as_administrator(f"CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'")
    database.run_as_administrator(f"GRANT {rights} ON {url.database}.* TO '{user}'@'%'")
    limited = url.set(username=user, password="secret").render_as_string(hide_password=False)  # noqa: S106
    settings = Settings.from_environment({"KAFKA_INGEST_DATABASE_URL": limited})
    failed = [f for f in check_database(settings, [STREAM]) if f.verdict == "fail"]
    assert [f.check for f in failed] == ["privileges to add columns"]
    assert "ALTER" in failed[0].detail
    prepare_tables(target.sink, STREAM)
    assert [f for f in check_database(settings, [STREAM]) if f.verdict == "fail"] == []


# What a model's column may be sent, by the type it declares: the bounds, and what other types are known to change.
VALUES: dict[str, list[Any]] = {
    "BOOL": [0, 1],
    "TINYINT": [-128, 127],
    "SMALLINT": [-(2**15), 2**15 - 1],
    "INTEGER": [-(2**31), 2**31 - 1],
    "BIGINT": [-(2**63), 2**63 - 1],
    "INTEGER UNSIGNED": [0, 2**32 - 1],
    "NUMERIC": [Decimal(10**10 - 1)],
    "NUMERIC(12, 4)": [Decimal("99999999.9999"), Decimal("-0.0001")],
    "DOUBLE": [0.1, 1.7976931348623157e308, 5e-324, -16_777_217.0],
    "VARCHAR(20)": ["a  ", "4.7", "0930", "", "😀" * 20, "1e2", "2", "\t"],
    "VARCHAR(63)": ["😀" * 63, " " * 63],
    "TINYTEXT": ["x" * 255],
    "TEXT": ["x" * 65_535, "é "],
    "TEXT(30000)": ["😀" * 30_000],
    "JSON": ['{"a": [1, null, "x"]}', '"' + "x" * 70_000 + '"'],
    "DATETIME(6)": ["1000-01-01 00:00:00.000001", "2024-12-31 23:59:59.700000", "9999-12-31 23:59:59.999999"],
    "TIMESTAMP": ["1970-01-01 00:00:01", "2038-01-19 03:14:07"],
    "ENUM('a','b')": ["a", "b"],
}
HELD = [
    "TINYINT", "TINYINT UNSIGNED", "SMALLINT", "MEDIUMINT", "INT", "INT UNSIGNED", "BIGINT", "BIGINT UNSIGNED", "BIT(64)",
    "DECIMAL(12,4)", "DECIMAL(12,2)", "DECIMAL(14,4)", "DECIMAL(20,10)", "DECIMAL(65,0)", "FLOAT", "FLOAT(53)", "DOUBLE",
    "DOUBLE(10,2)", "CHAR(255)", "VARCHAR(20)", "VARCHAR(63)", "VARCHAR(255)", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT",
    "VARCHAR(63) CHARACTER SET latin1", "VARCHAR(63) CHARACTER SET utf8mb3", "TEXT CHARACTER SET utf16", "VARBINARY(255)",
    "BLOB", "JSON", "DATETIME", "DATETIME(3)", "DATETIME(6)", "TIMESTAMP(6) NULL", "DATE", "TIME(6)", "YEAR", "ENUM('a','b')",
    "ENUM('b','a','c')", "ENUM('a')", "SET('a','b')",
]  # fmt: skip


def test_what_the_rules_accept_the_server_keeps_unchanged(target: Target) -> None:
    """The server itself is asked, for every pair of types: no value comes back as another."""
    is_mariadb = bool(getattr(target.sink.engine.dialect, "is_mariadb", False))
    # MariaDB's JSON is LONGTEXT with a constraint: it refuses text, and changes none.
    held = [kind for kind in HELD if not (is_mariadb and kind == "JSON")]
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(held))
    execute(target, f"CREATE TABLE held ({columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC CHARACTER SET utf8mb4")
    rows = target.all(
        "SELECT column_name, column_type, character_set_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND table_name = 'held'"
    )
    types = {str(row[0]): parse_type(str(row[1]), row[2], row[3]) for row in rows}
    accepted = 0
    with target.sink.engine.connect() as connection:
        for declared, values in VALUES.items():
            want = parse_type(declared, "utf8mb4")
            for name, have in types.items():
                if change(have, want, is_mariadb=is_mariadb) is not None:
                    continue
                accepted += 1
                for value in values:
                    connection.exec_driver_sql(f"INSERT INTO held ({name}) VALUES (%s)", (value,))
                    found = connection.exec_driver_sql(f"SELECT {name} FROM held").scalar()
                    if isinstance(found, dt.datetime):
                        value, found = dt.datetime.fromisoformat(value), found
                    if declared == "JSON":
                        value, found = json.loads(value), json.loads(str(found))
                    assert found == value, (declared, have)
                    connection.rollback()
    assert accepted > 3 * len(VALUES)
