"""A stream that is declared as data and the one that is declared in Python with the same words are one stream."""

from __future__ import annotations

import datetime as dt
import decimal
import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from dagster_shared.yaml_utils import parse_yaml_with_source_position
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped

from kafka_ingest import KafkaIngestComponent, translate_dates
from kafka_ingest.streams.casts import Cast, CastRule
from kafka_ingest.streams.declaration import declared_stream
from kafka_ingest.streams.model import MICROSECONDS, AppendModel, Model, UpsertModel, date_field, field
from kafka_ingest.streams.sources import (
    Constant,
    Database,
    Header,
    Key,
    Offset,
    Partition,
    Source,
    Timestamp,
    Topic,
)
from kafka_ingest.streams.stream import BatchPolicy, RouteByField, RouteByHeader, RouteByTopic, Stream
from kafka_ingest_tests.support.meaning import meaning

pytestmark = pytest.mark.slow

UTC = dt.timezone.utc

# What is declared, and what a person writes for it in Python: the type for `Mapped[…]` and that for `field()`.
TYPES: dict[str, tuple[Any, Callable[[], Any]]] = {
    "VARCHAR(16)": (str, lambda: sa.String(16)),
    "TEXT": (str, lambda: sa.Text),
    "TEXT(4000000)": (str, lambda: sa.Text(4_000_000)),
    "TINYTEXT": (str, lambda: mysql.TINYTEXT),
    "MEDIUMTEXT": (str, lambda: mysql.MEDIUMTEXT),
    "LONGTEXT": (str, lambda: mysql.LONGTEXT),
    "TINYINT": (int, lambda: mysql.TINYINT),
    "SMALLINT": (int, lambda: sa.SmallInteger),
    "INTEGER": (int, lambda: sa.Integer),
    "INT": (int, lambda: sa.Integer),
    "BIGINT": (int, lambda: sa.BigInteger),
    "TINYINT UNSIGNED": (int, lambda: mysql.TINYINT(unsigned=True)),
    "SMALLINT UNSIGNED": (int, lambda: mysql.SMALLINT(unsigned=True)),
    "MEDIUMINT": (int, lambda: mysql.MEDIUMINT),
    "MEDIUMINT UNSIGNED": (int, lambda: mysql.MEDIUMINT(unsigned=True)),
    "INT UNSIGNED": (int, lambda: mysql.INTEGER(unsigned=True)),
    "INTEGER UNSIGNED": (int, lambda: mysql.INTEGER(unsigned=True)),
    "BIGINT UNSIGNED": (int, lambda: mysql.BIGINT(unsigned=True)),
    "YEAR": (int, lambda: mysql.YEAR),
    "BIT(9)": (int, lambda: mysql.BIT(9)),
    "UUID": (str, lambda: sa.Uuid),
    "BINARY(16)": (bytes, lambda: sa.BINARY(16)),
    "VARBINARY(20)": (bytes, lambda: sa.VARBINARY(20)),
    "BLOB": (bytes, lambda: sa.LargeBinary),
    "TINYBLOB": (bytes, lambda: mysql.TINYBLOB),
    "MEDIUMBLOB": (bytes, lambda: mysql.MEDIUMBLOB),
    "LONGBLOB": (bytes, lambda: mysql.LONGBLOB),
    "TIME(3)": (dt.timedelta, lambda: mysql.TIME(fsp=3)),
    "DOUBLE": (float, lambda: sa.Float),
    "DECIMAL(12,2)": (decimal.Decimal, lambda: sa.Numeric(12, 2)),
    "DECIMAL(20)": (decimal.Decimal, lambda: sa.Numeric(20, 0)),
    "BOOLEAN": (bool, lambda: sa.Boolean),
    "ENUM('buy','sell','it''s')": (str, lambda: sa.Enum("buy", "sell", "it's")),
    "SET('a','b')": (str, lambda: sa.String(4).with_variant(mysql.SET("a", "b"), "mysql", "mariadb")),
    "JSON": (Any, lambda: sa.JSON),
}
KEY_TYPES = ("VARCHAR(16)", "INTEGER", "BIGINT", "DECIMAL(12,2)", "ENUM('buy','sell','it''s')")
DATES: dict[str, Callable[[], Any]] = {
    "DATETIME(6)": lambda: MICROSECONDS,
    "DATETIME(0)": lambda: mysql.DATETIME(fsp=0),
    "TIMESTAMP(3)": lambda: mysql.TIMESTAMP(fsp=3),
    "DATE": lambda: sa.Date,
}
CASTS: dict[str, list[tuple[dict[str, Any] | str, CastRule]]] = {
    "INTEGER": [({"from_text": True, "thousands": ","}, Cast(from_text=True, thousands=",")), ("builtins.int", int)],
    "BLOB": [({"bytes_from": "hex"}, Cast(bytes_from="hex"))],
    "BOOLEAN": [({"from_number": True, "empty_as_null": True}, Cast(from_number=True, empty_as_null=True))],
    "TIME(3)": [({"time_unit": "ms"}, Cast(time_unit="ms"))],
}
SOURCES: list[tuple[Any, Source]] = [
    ("key", Key()),
    ({"key": "a.b"}, Key("a.b")),
    ({"header": "h"}, Header("h")),
    ("topic", Topic()),
    ("partition", Partition()),
    ("offset", Offset()),
    ("timestamp", Timestamp()),
    ({"constant": "c"}, Constant("c")),
    ("database", Database()),
]
NAMES = st.sampled_from(["id", "symbol", "price", "metadata", "order_by", "type", "a b", "__table__", "名", "x"])
SERVER_DEFAULTS = st.sampled_from(["0", "x"])
PATHS = st.sampled_from(["last.price", "id", ["a.b"], ["a", "b", "c"], "deep.er.still"])
NUMBERS = itertools.count()
Draw = Callable[[st.SearchStrategy[Any]], Any]


def some(**strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these words, none of which is required."""
    return st.fixed_dictionaries({}, optional=strategies)


OF_ALL: dict[str, st.SearchStrategy[Any]] = {
    "nullable": st.booleans(),
    "comment": st.text("abc '", max_size=5),
    "index": st.booleans(),
    "unique": st.booleans(),
    "server_default": SERVER_DEFAULTS,
}
DEFAULTS = st.sampled_from([0, 1, "x", True, 1.5, [1], {"a": 1}])
ZONES = st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"])
INSTANTS = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(UTC))


def default_of(kind: str, more: Mapping[str, Any]) -> dict[str, str]:
    """A date's default as it is written."""
    if "default" not in more:
        return {}
    default: dt.datetime = more["default"]
    return {"default": (default.date() if kind == "DATE" else default).isoformat()}


PLAIN_COLUMN = st.builds(
    lambda kind, more: {"type": kind} | more, st.sampled_from(list(TYPES)), some(**OF_ALL, default=DEFAULTS)
)
CAST_COLUMN = st.sampled_from([(kind, cast) for kind, casts in CASTS.items() for cast, _ in casts]).map(
    lambda found: {"type": found[0], "cast": found[1]}
)
SOURCE_COLUMN = st.sampled_from([given for given, _ in SOURCES]).map(
    # Those that are filled by the database have to be, or may be NULL.
    lambda source: {"type": "VARCHAR(16)", "source": source, "nullable": True}
)
DATE_COLUMN = some(
    **OF_ALL,
    timezone=ZONES,
    unit=st.sampled_from([None, "days", "ms"]),
    zones=st.just({"CST": "Asia/Shanghai"}),
    formats=st.lists(st.sampled_from(["%d.%m.%y", "%Y|%m|%d"]), max_size=2),
    day_first=st.booleans(),
    on_error=st.sampled_from(["dead_letter", "null"]),
    default=INSTANTS,
).flatmap(lambda more: st.sampled_from(list(DATES)).map(lambda kind: {"type": kind} | more | default_of(kind, more)))
KEY_COLUMN = st.builds(
    lambda kind, more: {"type": kind, "primary_key": True} | more,
    st.sampled_from(KEY_TYPES),
    some(comment=OF_ALL["comment"]),
)


@st.composite
def tables(draw: Draw, name: str) -> dict[str, Any]:
    """A table with columns of any kind, in any order; paths that do not lie inside one another."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    is_upsert = draw(st.booleans())
    kinds = [KEY_COLUMN] if is_upsert else []
    columns = {each: draw(st.one_of(PLAIN_COLUMN, DATE_COLUMN, CAST_COLUMN, SOURCE_COLUMN, *kinds)) for each in names}
    if is_upsert and not any("primary_key" in each for each in columns.values()):
        columns[names[0]] = draw(KEY_COLUMN)
    taken = set(names)
    for each in names:
        path = draw(st.none() | PATHS)
        parts = path.split(".") if isinstance(path, str) else path
        if parts is not None and parts[0] not in taken and "source" not in columns[each]:
            taken.add(parts[0])
            columns[each]["path"] = path
    found: dict[str, Any] = {"table": name, "columns": columns}
    found |= draw(some(schema=st.just("archive"), description=st.text("ab ", min_size=1), comment=st.just("a table")))
    found |= draw(some(indexes=st.just({"ix": [names[-1], "_kafka_timestamp"]})))
    if is_upsert:
        ordering = [n for n, c in columns.items() if c["type"] in ("INTEGER", "BIGINT", "DATETIME(6)")]
        deleting = some(delete_on_tombstone=st.booleans(), tombstone_key=st.just("json"))
        found |= draw(some(order_by=st.sampled_from(ordering)) if ordering and draw(st.booleans()) else deleting)
    return found


BATCHES = some(
    min_messages=st.integers(1, 10_000_000),
    max_wait_seconds=st.floats(0, 86_400) | st.integers(0, 86_400),
    max_rows=st.integers(1, 1_000_000),
    max_bytes=st.integers(1_024, 1 << 30),
    loaders=st.integers(1, 16),
    linger_seconds=st.none() | st.floats(0, 86_400),
    max_run_seconds=st.floats(0, 86_400),
)
DURATIONS = st.dictionaries(st.sampled_from(["days", "hours", "minutes"]), st.integers(1, 20), min_size=1)


@st.composite
def streams(draw: Draw) -> dict[str, Any]:
    """A stream of one or two tables; two message types may share one."""
    one, other = draw(tables("one")), draw(tables("other"))
    routes = {"one": one, "same": one, "other": other} if draw(st.booleans()) else {"one": one}
    delete = sum(bool(each.get("delete_on_tombstone")) for each in ({"one": one} | routes).values())
    found = {
        "name": draw(st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)),
        "topics": draw(st.sampled_from(["quotes", ["quotes"], ["a", "b"], r"^news\..*"])),
        "routes": routes,
    }
    found |= draw(
        some(
            batch=BATCHES,
            steps=st.sampled_from([None, [], ["kafka_ingest.translate_dates"]]),
            timezone=ZONES,
            start=st.sampled_from(["earliest", "latest", "group"]) | INSTANTS.map(dt.datetime.isoformat),
            unrouted=st.sampled_from(["dead_letter", "ignore"]),
            on_data_loss=st.sampled_from(["fail", "skip"]),
            max_dead_letter_ratio=st.floats(0, 1),
            warn_dead_letter_ratio=st.floats(0, 1),
            evolve=st.booleans(),
            window=st.sampled_from(["hourly", "daily"]),
            window_start=st.none() | INSTANTS.map(dt.datetime.isoformat),
            dead_letter_topic=st.none() | st.just("bad"),
            group_id=st.none() | st.just("g"),
        )
    )
    if draw(st.booleans()):
        found["fresh_warn"], found["fresh_fail"] = draw(DURATIONS), draw(st.none() | st.just({"days": 999}))
    if delete > 1:
        found["route_by"] = draw(st.sampled_from([{"header": "h"}, "topic"]))
    else:
        found |= draw(some(route_by=st.sampled_from([{"field": "kind"}, {"header": "h"}, "topic"])))
    return found


def in_python(given: Mapping[str, Any]) -> Stream:
    """What a person writes in Python for a declaration. Word by word, without the code that reads declarations."""
    arguments = dict(given)
    models = {json.dumps(table): model_in_python(table) for table in given["routes"].values()}
    arguments["routes"] = {name: models[json.dumps(table)] for name, table in given["routes"].items()}
    if isinstance(given["topics"], list):
        arguments["topics"] = tuple(given["topics"])
    if "batch" in given:
        arguments["batch"] = BatchPolicy(**given["batch"])
    if given.get("steps") is not None:
        arguments["steps"] = tuple(translate_dates for _ in given["steps"])
    for name in ("start", "window_start"):
        if given.get(name) not in (None, "earliest", "latest", "group"):
            arguments[name] = dt.datetime.fromisoformat(given[name])
    for name in ("fresh_warn", "fresh_fail"):
        if given.get(name) is not None:
            arguments[name] = dt.timedelta(**given[name])
    match given.get("route_by"):
        case {"field": path}:
            arguments["route_by"] = RouteByField(path)
        case {"header": header}:
            arguments["route_by"] = RouteByHeader(header)
        case "topic":
            arguments["route_by"] = RouteByTopic()
    return Stream(**arguments)


def model_in_python(table: Mapping[str, Any]) -> type[Model]:
    """A class with an annotation per column, as `class Quote(AppendModel): price: Mapped[float] = field(…)` has it."""
    keyed = any("primary_key" in column for column in table["columns"].values())
    annotations: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    for number, (name, column) in enumerate(table["columns"].items()):
        more = {word: value for word, value in column.items() if word not in ("type", "nullable")}
        # A name that is no attribute is given as SQLAlchemy has it.
        attribute = name if name in ("id", "symbol", "price", "x") else f"attribute_{number}"
        if attribute != name:
            more["name"] = name
        if "source" in column:
            more["source"] = next(source for given, source in SOURCES if given == column["source"])
        if "cast" in column:
            more["cast"] = next(cast for given, cast in CASTS[column["type"]] if given == column["cast"])
        if column["type"] in DATES:
            kind: Any = dt.date if column["type"] == "DATE" else dt.datetime
            if "default" in column:
                more["default"] = kind.fromisoformat(column["default"])
            attributes[attribute] = date_field(DATES[column["type"]](), **more)
        else:
            kind, of_column = TYPES[column["type"]]
            attributes[attribute] = field(of_column(), **more)
        value = kind | None if column.get("nullable") else kind
        annotations[attribute] = Mapped[value]  # type: ignore[valid-type]
    arguments = {"schema": table.get("schema"), "comment": table.get("comment")}
    indexes = (sa.Index(name, *columns) for name, columns in table.get("indexes", {}).items())
    return type(
        table["table"],
        (UpsertModel if keyed else AppendModel,),
        {
            "__annotations__": annotations,
            "__module__": f"in_python_{next(NUMBERS)}",
            "__doc__": table.get("description"),
            "__tablename__": table["table"],
            "__table_args__": (*indexes, arguments),
            "metadata": sa.MetaData(),
            **attributes,
            **{word: table[word] for word in ("order_by", "delete_on_tombstone", "tombstone_key") if word in table},
        },
    )


@given(streams())
def test_data_and_python_declare_one_stream(declaration: dict[str, Any]) -> None:
    assert meaning(declared_stream(declaration)) == meaning(in_python(declaration))


# Dagster asks pydantic for fields in a way that pydantic 2 finds old-fashioned.
@pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")
@settings(max_examples=60, deadline=None)
@given(streams())
def test_the_components_yaml_and_python_declare_one_stream(declaration: dict[str, Any]) -> None:
    text = yaml.safe_dump({"streams": [declaration]}, sort_keys=False, allow_unicode=True)
    (stream,) = KafkaIngestComponent.from_attributes_dict(
        attributes=parse_yaml_with_source_position(text).value
    ).streams
    assert meaning(stream) == meaning(in_python(declaration))
