"""Which column holds or refuses every value of a declared one."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from kafka_ingest.sinks.postgresql.dialect import ExactDialect
from kafka_ingest.sinks.postgresql.types import change, declared_type, parse_type

HOLDS = [
    ("bigint", "INTEGER"),
    ("integer", "SMALLINT"),
    ("numeric", "NUMERIC(12, 4)"),
    ("numeric(14,4)", "NUMERIC(12, 4)"),
    ("numeric(12,0)", "NUMERIC"),
    ("double precision", "FLOAT"),
    ("double precision", "REAL"),
    ("real", "FLOAT(24)"),
    ("text", "VARCHAR(20)"),
    ("character varying", "TEXT"),
    ("character varying(30)", "VARCHAR(20)"),
    ("citext", "VARCHAR(20)"),
    ("json", "JSON"),
    ("jsonb", "JSON"),
    ("timestamp with time zone", "TIMESTAMP WITHOUT TIME ZONE"),
    ("timestamp(6) without time zone", "TIMESTAMP WITHOUT TIME ZONE"),
    ("boolean", "BOOLEAN"),
    ("bytea", "BYTEA"),
    ("date", "DATE"),
]

CHANGES = [
    ("integer", "BIGINT", "-2147483648 to 2147483647 only"),
    ("numeric", "INTEGER", "kept as something else"),
    ("numeric(12,2)", "NUMERIC(12, 4)", "rounded to 2"),
    ("numeric(10,4)", "NUMERIC(12, 4)", "6 digits fit before"),
    ("numeric(5,-2)", "NUMERIC", "rounded to -2"),
    ("double precision", "NUMERIC(12, 4)", "rounded"),
    ("real", "DOUBLE PRECISION", "16777217 to 16777216"),
    ("numeric(20,2)", "FLOAT", "rounded"),
    ("character(20)", "VARCHAR(20)", "blanks"),
    ("character varying(10)", "VARCHAR(20)", "10 characters"),
    ("character varying(10)", "TEXT", "10 characters"),
    ("integer", "VARCHAR(20)", "'0930' as 930"),
    ("uuid", "VARCHAR(36)", "something else"),
    ("text", "JSON", "something else"),
    ("timestamp(3) without time zone", "TIMESTAMP WITHOUT TIME ZONE", "rounded to 3"),
    ("date", "TIMESTAMP WITHOUT TIME ZONE", "cut"),
    ("text", "BOOLEAN", "something else"),
    ("timestamp without time zone", "DATE", "something else"),
]


@pytest.mark.parametrize(("have", "want"), HOLDS)
def test_a_wider_or_equal_column_fits(have: str, want: str) -> None:
    assert change(parse_type(have), declared_type(want)) is None


@pytest.mark.parametrize(("have", "want", "said"), CHANGES)
def test_a_column_that_would_change_a_value_does_not(have: str, want: str, said: str) -> None:
    assert said in str(change(parse_type(have), declared_type(want)))


def test_an_enumeration_fits_where_it_has_all_declared_members() -> None:
    have = parse_type("mood", ("sad", "it's"))
    assert change(have, declared_type("VARCHAR(4)", ("it's",))) is None
    assert change(have, declared_type("VARCHAR(4)", ("it's", "glad"))) == "it lacks 'glad'"
    assert change(have, declared_type("VARCHAR(4)")) == "only its members fit"
    assert change(parse_type("character varying(3)"), declared_type("VARCHAR(4)", ("it's",))) is not None


def test_a_set_of_mysql_is_a_text_that_holds_all_members() -> None:
    table = sa.Table("t", sa.MetaData(), sa.Column("marks", mysql.SET("red", "blue")))
    assert "marks VARCHAR(9)" in str(CreateTable(table).compile(dialect=ExactDialect()))
