"""Which column types of MySQL and MariaDB hold every value of another. What the servers do is tested in services."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import mariadb

from kafka_ingest.sinks.mysql.types import ColumnType, change, parse_type
from kafka_ingest.streams.model import MICROSECONDS, TOPIC_TYPE, ExactText

DECLARED: list[Any] = [
    sa.String(20), sa.Text(), sa.Text(4_000_000), sa.Unicode(9), sa.SmallInteger(), sa.Integer(), sa.BigInteger(),
    sa.Boolean(), sa.Float(), sa.Float(53), sa.Double(), sa.Numeric(), sa.Numeric(12, 4), sa.JSON(), sa.Enum("a", "b(c)"),
    MICROSECONDS, sa.Date(), TOPIC_TYPE, ExactText(20), mysql.FLOAT(), mysql.FLOAT(10, 2), mysql.DOUBLE(10, 2), mysql.CHAR(5),
    mysql.TIME(fsp=3), mysql.TIMESTAMP(), mysql.DATETIME(), mysql.YEAR(), mysql.BIT(4), mysql.TINYINT(), mysql.MEDIUMINT(),
    mysql.INTEGER(unsigned=True, zerofill=True), mysql.DECIMAL(5, 1, unsigned=True), mysql.LONGTEXT(), mysql.TINYTEXT(),
    mysql.VARCHAR(9, charset="latin1"), mysql.NVARCHAR(9), mysql.ENUM("it's", "%", "Ä"), mysql.SET("x", "y"), mysql.VARBINARY(8),
]  # fmt: skip


@pytest.mark.parametrize("dialect", [mysql.dialect(), mariadb.MariaDBDialect()], ids=["mysql", "mariadb"])
@pytest.mark.parametrize("kind", DECLARED, ids=repr)
def test_a_table_made_by_the_models_own_ddl_is_always_right(kind: Any, dialect: sa.Dialect) -> None:
    one = parse_type(str(kind.compile(dialect=dialect)), "utf8mb4")
    assert change(one, one, is_mariadb=dialect.name == "mariadb") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int(10) unsigned zerofill", ColumnType("int", is_unsigned=True)),
        ("tinyint(1)", ColumnType("tinyint")),
        ("BOOL", ColumnType("boolean")),
        ("NUMERIC", ColumnType("decimal", 10, 0)),
        ("decimal(12,4) unsigned", ColumnType("decimal", 12, 4, is_unsigned=True)),
        ("FLOAT(53)", ColumnType("double")),
        ("FLOAT(24)", ColumnType("float")),
        ("float(10,2)", ColumnType("float", 10, 2)),
        ("DOUBLE PRECISION", ColumnType("double")),
        ("datetime(6)", ColumnType("datetime", 6)),
        ("NATIONAL VARCHAR(7)", ColumnType("varchar", 7, charset="utf8mb4")),
        ("TEXT COLLATE latin1_bin", ColumnType("text", charset="latin1", collation="latin1_bin")),
        ("enum('a','B''c','d)e')", ColumnType("enum", members=("a", "B'c", "d)e"), charset="utf8mb4")),
        ("??", ColumnType("??")),
    ],
)
def test_a_type_is_read_as_the_server_and_as_ddl_write_it(text: str, expected: ColumnType) -> None:
    assert parse_type(text, "utf8mb4") == expected


def held(have: str, want: str, *, is_mariadb: bool = False) -> str | None:
    return change(parse_type(have, "utf8mb4"), parse_type(want, "utf8mb4"), is_mariadb=is_mariadb)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("bigint(20)", "INTEGER"),
        ("int unsigned", "SMALLINT UNSIGNED"),
        ("bigint", "INTEGER UNSIGNED"),
        ("tinyint unsigned", "BOOL"),
        ("decimal(14,4)", "NUMERIC(12, 4)"),
        ("decimal(14,6)", "NUMERIC(12, 4)"),
        ("double", "FLOAT"),
        ("double", "DOUBLE(10,2)"),
        ("varchar(16383)", "VARCHAR(20)"),
        ("text", "VARCHAR(16383)"),
        ("tinytext", "VARCHAR(63)"),
        ("mediumtext", "TEXT(4000000)"),
        ("varchar(255)", "TINYTEXT"),
        ("varchar(5)", "CHAR(5)"),
        ("datetime(6)", "TIMESTAMP"),
        ("time(6)", "TIME(3)"),
        ("set('y','x','z')", "SET('x','y')"),
    ],
)
def test_what_is_wider_holds_every_value(have: str, want: str) -> None:
    assert held(have, want) is None


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("int unsigned", "INTEGER"),
        ("int", "INTEGER UNSIGNED"),
        ("decimal(20,0)", "BIGINT"),
        ("decimal(13,5)", "NUMERIC(13, 4)"),
        ("float", "DOUBLE"),
        ("double(10,2)", "DOUBLE"),
        ("double(10,1)", "DOUBLE(10,2)"),
        ("float", "NUMERIC(5, 0)"),
        ("tinytext", "VARCHAR(64)"),
        ("text", "VARCHAR(16384)"),
        ("text", "MEDIUMTEXT"),
        ("text", "TEXT(20000)"),
        ("char(255)", "VARCHAR(5)"),
        ("json", "TEXT"),
        ("blob", "TEXT"),
        ("timestamp(6)", "DATETIME(6)"),
        ("datetime(5)", "DATETIME(6)"),
        ("time", "DATETIME(6)"),
        ("longtext", "JSON"),
        ("set('x','y')", "ENUM('x','y')"),
        ("enum('X')", "ENUM('x')"),
        ("year", "DATE"),
    ],
)
def test_what_is_narrower_or_of_another_kind_does_not(have: str, want: str) -> None:
    assert held(have, want) is not None


def test_mariadb_keeps_json_as_long_text() -> None:
    assert held("longtext", "JSON", is_mariadb=True) is None
    assert held("mediumtext", "JSON", is_mariadb=True) is not None
    latin = parse_type("longtext", "latin1", "latin1_swedish_ci")
    assert change(latin, parse_type("JSON"), is_mariadb=True) is not None


@pytest.mark.parametrize(
    ("collation", "expected"),
    [
        ("utf8mb4_0900_bin", True), ("utf8mb4_nopad_bin", True), ("utf8mb4_bin", False), ("utf8mb4_0900_ai_ci", False),
        ("utf8mb4_0900_as_cs", False), ("utf8mb4_uca1400_nopad_as_cs", False), (None, False),
    ],
)  # fmt: skip
def test_keys_are_told_apart_by_a_binary_collation_that_does_not_pad(collation: str | None, expected: bool) -> None:
    assert parse_type("varchar(5)", "utf8mb4", collation).is_exact is expected
