"""Models say fields, columns, keys and date rules; what they cannot mean is refused where it is declared."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import mariadb
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateTable

import kafka_ingest.sinks.mysql.exact_text  # noqa: F401  how MySQL declares a text key
from kafka_ingest.dates import DateRule
from kafka_ingest.errors import ConfigError
from kafka_ingest.streams.model import KAFKA_COLUMNS, AppendModel, ExactText, Model, UpsertModel, date_field, field
from kafka_ingest.streams.sources import Database
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.models import Account, Booking, Event, Everything, Slot
from kafka_ingest_tests.support.made import Make


def stream_of(model: type[Model]) -> Stream:
    return Stream(name="s", topics="t", routes={"m": model})


def test_a_column_reads_the_field_of_its_name_unless_a_path_says_otherwise() -> None:
    paths = {bound.name: bound.rule.path for bound in TargetTable.of(Everything).bound}
    assert paths["number"] == ("number",)
    assert paths["source"] == ("source", "name")
    assert paths["dotted"] == ("a.b",)
    assert not set(paths) & set(KAFKA_COLUMNS)


def test_columns_come_in_the_order_of_their_declaration_and_the_position_comes_last() -> None:
    names = [c.name for c in Everything.__table__.columns]
    assert names[:3] == ["id", "note", "small"]
    assert tuple(names[-4:]) == KAFKA_COLUMNS
    assert [b.name for b in TargetTable.of(Everything).bound] == names[:-4]


def test_a_date_takes_the_streams_zone_where_it_names_none() -> None:
    dates = {b.name: b.rule for b in TargetTable.of(Everything, "Asia/Tokyo").bound if b.rule.dates}
    assert {n: r.dates.timezone for n, r in dates.items() if r.dates} == {"at": "Asia/Shanghai", "seen": "Asia/Tokyo"}
    assert {n: r.on_error for n, r in dates.items()} == {"at": "dead_letter", "seen": "null"}


def test_a_date_column_keeps_its_rule_and_takes_the_streams_zone(made: Make) -> None:
    given: dict[str, Any] = {"unit": "ms", "formats": ["%Y|%m|%d"], "zones": {"CST": "+08:00"}, "day_first": True}
    columns = {"at": date_field(**given), "day": date_field(sa.Date, **given), "own": date_field(timezone="Asia/Tokyo")}
    bound = {b.name: b for b in TargetTable.of(made("ruled", columns=columns), "Asia/Shanghai").bound if b.rule.dates}
    rule = DateRule(("%Y|%m|%d",), "Asia/Shanghai", True, "ms", (("CST", "+08:00"),))
    assert bound["at"].rule.dates == rule
    assert bound["day"].rule.dates == replace(rule, is_date=True)
    assert bound["own"].rule.dates == DateRule(timezone="Asia/Tokyo")
    assert isinstance(bound["day"].column.type, sa.Date)
    assert "day DATE" in ddl(made("days", columns={"day": date_field(sa.Date)}), mysql.dialect())
    assert "day DATETIME(6)" in ddl(made("instants", columns={"day": date_field()}), mysql.dialect())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"type_": sa.String(10)}, r"date_field takes a DATETIME or TIMESTAMP type, or Date; not String"),
        ({"type_": sa.Time}, "date_field takes a DATETIME or TIMESTAMP"),
        ({"unit": "seconds"}, "unit is 'seconds'; it is one of days, s, ms, us, ns, or left out"),
        ({"zones": {"CST": "Europe/Paris"}}, "zones: 'CST' is 'Europe/Paris', and is not used there, but CET, CEST"),
        ({"zones": {"+08": "Asia/Shanghai"}}, "zones: '\\+08' is no abbreviation"),
        ({"formats": ["%d.%m"]}, "has no year"),
    ],
)
def test_a_date_column_that_cannot_be_read_is_refused_where_it_is_declared(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        date_field(**arguments)


def test_an_append_table_is_keyed_by_kafka_position_and_an_upsert_table_by_its_business_key() -> None:
    assert [c.name for c in Event.__table__.primary_key] == ["_kafka_topic", "_kafka_partition", "_kafka_offset"]
    assert [c.name for c in Slot.__table__.primary_key] == ["room", "hour"]
    assert (TargetTable.of(Event).is_upsert, TargetTable.of(Slot).is_upsert) == (False, True)
    assert (TargetTable.of(Event).key, TargetTable.of(Slot).key) == ((), ("room", "hour"))
    assert ((TargetTable.of(Slot).tombstones is not None), (TargetTable.of(Account).tombstones is not None)) == (
        False,
        True,
    )


@pytest.mark.parametrize("model", [Everything, Event, Account, Slot, Booking])
def test_every_table_carries_the_kafka_position(model: type[Model]) -> None:
    columns = model.__table__.columns
    assert [columns[name].nullable for name in KAFKA_COLUMNS] == [False, False, False, True]


def ddl(model: type[Model], dialect: sa.Dialect) -> str:
    return str(CreateTable(model.__table__).compile(dialect=dialect))


@pytest.mark.parametrize(
    ("dialect", "collation"),
    [(mysql.dialect(), "utf8mb4_0900_bin"), (mariadb.MariaDBDialect(), "utf8mb4_nopad_bin")],
)
def test_business_keys_are_compared_byte_for_byte_with_trailing_spaces(dialect: sa.Dialect, collation: str) -> None:
    text = ddl(Account, dialect)
    assert f"id VARCHAR(8) CHARACTER SET utf8mb4 COLLATE {collation} NOT NULL" in text
    assert "_kafka_topic VARCHAR(280) CHARACTER SET ascii COLLATE ascii_bin NOT NULL" in text
    assert "_kafka_timestamp DATETIME(6)" in text
    assert "AUTO_INCREMENT" not in ddl(Slot, dialect)


def test_tables_are_transactional_and_hold_every_character() -> None:
    class Plain(AppendModel):
        __tablename__ = "t_plain"
        text: Mapped[str] = field(sa.String(5))

    for dialect in (mysql.dialect(), mariadb.MariaDBDialect()):
        text = ddl(Plain, dialect)
        assert "ENGINE=InnoDB" in text
        assert "utf8mb4" in text
        assert "text VARCHAR(5) NOT NULL" in text  # a plain column keeps the table's collation
    Model.metadata.remove(Plain.__table__)


def test_exact_text_is_plain_text_elsewhere() -> None:
    sqlite = sa.create_engine("sqlite://").dialect
    assert str(ExactText(8).dialect_impl(sqlite).compile(dialect=sqlite)) == "VARCHAR(8)"


@pytest.fixture
def forget_tables() -> Any:
    """Models made inside a test leave no table behind."""
    before = set(Model.metadata.tables)
    yield
    for name in set(Model.metadata.tables) - before:
        Model.metadata.remove(Model.metadata.tables[name])


@pytest.mark.usefixtures("forget_tables")
class TestRefused:
    """Declarations that cannot work are refused when the stream is declared, not when its first message comes."""

    def test_an_append_model_with_a_key_of_its_own(self) -> None:
        class KeyedAppend(AppendModel):
            __tablename__ = "t_keyed_append"
            id: Mapped[int] = field(sa.Integer, primary_key=True)

        with pytest.raises(ConfigError, match=r"KeyedAppend: an AppendModel is keyed by Kafka position.*UpsertModel"):
            stream_of(KeyedAppend)

    def test_a_column_that_does_not_say_where_its_value_comes_from(self) -> None:
        class Unbound(AppendModel):
            __tablename__ = "t_unbound"
            id: Mapped[int] = mapped_column(sa.Integer)

        with pytest.raises(ConfigError, match=r"column 'id' is not declared with field\(\) or date_field\(\)"):
            stream_of(Unbound)

    def test_a_column_type_json_has_no_rule_for(self) -> None:
        class Spans(AppendModel):
            __tablename__ = "t_spans"
            span: Mapped[dt.timedelta] = field(sa.Interval)

        with pytest.raises(ConfigError, match=r"model Spans: column 'span' has type Interval\(\), which has no rule"):
            stream_of(Spans)

    def test_a_date_column_declared_with_field(self) -> None:
        class PlainDate(AppendModel):
            __tablename__ = "t_plain_date"
            at: Mapped[dt.datetime] = field(sa.DateTime)

        with pytest.raises(ConfigError, match=r"date_field\(\) for dates"):
            stream_of(PlainDate)

    def test_a_path_through_a_value(self) -> None:
        class Through(AppendModel):
            __tablename__ = "t_through"
            one: Mapped[str] = field(sa.String(5), path="a")
            two: Mapped[str] = field(sa.String(5), path="a.b")

        with pytest.raises(ConfigError, match=r"'a.b' lies inside 'a'"):
            stream_of(Through)

    def test_one_field_read_as_two_types(self) -> None:
        class Twice(AppendModel):
            __tablename__ = "t_twice"
            one: Mapped[str] = field(sa.String(5), path="a")
            two: Mapped[int] = field(sa.Integer, path="a")

        with pytest.raises(ConfigError, match="'a' is read in two ways"):
            stream_of(Twice)

    def test_a_zone_or_a_format_dates_cannot_use(self) -> None:
        with pytest.raises(ConfigError, match="Mars/Olympus"):
            date_field(timezone="Mars/Olympus")
        with pytest.raises(ConfigError, match="no year"):
            date_field(formats=("%H:%M",))

    def test_tombstones_for_a_key_that_a_message_key_cannot_name(self) -> None:
        class Dated(UpsertModel):
            __tablename__ = "t_dated"
            delete_on_tombstone = True
            day: Mapped[dt.datetime] = date_field(primary_key=True)

        with pytest.raises(ConfigError, match="key column 'day' is no String, integer, Numeric, Enum, Uuid or binary"):
            stream_of(Dated)

    @pytest.mark.parametrize("setting", ["deletes", "delete_on_tombstone", "tombstone_key", "order_by"])
    def test_a_column_with_the_name_of_a_setting(self, setting: str) -> None:
        columns = {"id": field(sa.Integer, primary_key=True), setting: field(sa.Integer)}
        with pytest.raises(ConfigError, match=f"{setting} is a setting of UpsertModel.*{setting}_ = field"):
            type("Settings", (UpsertModel,), {"__tablename__": "t_settings", **columns})

    @pytest.mark.parametrize("name", ["dead_letters", "ledger", "kafka_ingest_offsets"])
    def test_a_table_under_one_of_our_own_names(self, name: str) -> None:
        ours = type(f"Ours_{name}", (AppendModel,), {"__tablename__": name, "id": field(sa.Integer)})
        with pytest.raises(ConfigError, match=f"table name '{name}' is taken"):
            stream_of(ours)


@pytest.mark.usefixtures("forget_tables")
def test_one_field_may_feed_two_columns_of_one_type() -> None:
    class Double(AppendModel):
        __tablename__ = "t_double"
        one: Mapped[str] = field(sa.String(5), path="a")
        two: Mapped[str] = field(sa.String(9), path="a")

    assert [b.rule.path for b in TargetTable.of(Double).bound] == [("a",), ("a",)]
    stream_of(Double)


@pytest.mark.usefixtures("forget_tables")
def test_columns_may_be_called_as_settings_are() -> None:
    class Settings(AppendModel):
        __tablename__ = "t_settings_append"
        order_by: Mapped[int] = field(mysql.YEAR(), source=Database(), nullable=True)
        deletes: Mapped[int] = field(sa.Integer)

    class Renamed(UpsertModel):
        __tablename__ = "t_settings_upsert"
        id: Mapped[int] = field(sa.Integer, primary_key=True)
        order_by_: Mapped[int] = field(sa.Integer, name="order_by")
        order_by = "order_by"

    assert TargetTable.of(Settings).columns[0] == "deletes"
    assert TargetTable.of(Renamed).order_by == "order_by"
