"""Tables as databases have them, with partitions, indexes of every kind, compression, constraints and triggers, on real servers:
rows are merged and deleted in them as in plain ones, and what the table forbids is a dead letter. The same on servers whose
defaults are none that we would choose."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.errors import ConfigError, SchemaMismatch
from kafka_ingest.local.database import LocalDatabase
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import BatchKind, TopicPartition
from kafka_ingest.streams.model import AppendModel, UpsertModel, field
from kafka_ingest.streams.stream import RouteByTopic, Stream
from kafka_ingest.testing.messages import MORNING_MS, Msg, Part, raw_slice
from kafka_ingest.testing.target import SECONDS, Held, Target

pytestmark = pytest.mark.services


class Story(UpsertModel):
    __tablename__ = "story"
    delete_on_tombstone: ClassVar[bool] = True
    id: Mapped[int] = field(sa.Integer, primary_key=True)
    year: Mapped[int] = field(sa.Integer, primary_key=True)
    title: Mapped[str] = field(sa.String(100))
    body: Mapped[str | None] = field(sa.Text)
    note: Mapped[str | None] = field(sa.String(100), keep_absent=True)


class Seen(AppendModel):
    __tablename__ = "seen"
    year: Mapped[int] = field(sa.Integer)
    title: Mapped[str | None] = field(sa.String(100))


STREAM = Stream(
    name="forms", topics=("stories", "views"), route_by=RouteByTopic(), routes={"stories": Story, "views": Seen}
)


@dataclass(frozen=True)
class Form:
    """What was done to the table of stories."""

    statements: tuple[str, ...]
    databases: tuple[str, ...] = ("mysql", "mariadb")
    refused: frozenset[int] = frozenset()
    """Stories that the table does not take."""


FORMS = {
    "plain": Form((), ("mysql", "mariadb", "postgresql")),
    "partitions by range": Form(
        (
            "ALTER TABLE story PARTITION BY RANGE (year) (PARTITION old VALUES LESS THAN (2024), "
            "PARTITION new VALUES LESS THAN MAXVALUE)",
        )
    ),
    "partitions by hash, of the tombstones too": Form(
        (
            "ALTER TABLE story PARTITION BY KEY (id) PARTITIONS 3",
            "ALTER TABLE story_tombstones PARTITION BY HASH (year) PARTITIONS 3",
        )
    ),
    "no partition for the year": Form(
        ("ALTER TABLE story PARTITION BY LIST (year) (PARTITION some VALUES IN (2023, 2024))",), refused=frozenset({6})
    ),
    "full text": Form(("ALTER TABLE story ADD FULLTEXT INDEX words (title, body)",)),
    "spatial": Form(
        ("ALTER TABLE story ADD COLUMN place POINT NOT NULL DEFAULT (POINT(0, 0)), ADD SPATIAL INDEX (place)",)
    ),
    "compressed rows": Form(("ALTER TABLE story ROW_FORMAT=COMPRESSED",), ("mysql",)),
    "compressed pages": Form(("ALTER TABLE story COMPRESSION='zlib'",), ("mysql",)),
    "compressed pages of MariaDB": Form(("ALTER TABLE story PAGE_COMPRESSED=1",), ("mariadb",)),
    "versions": Form(("ALTER TABLE story ADD SYSTEM VERSIONING",), ("mariadb",)),
    "an expression is indexed": Form(
        (
            "ALTER TABLE story ADD COLUMN words INT GENERATED ALWAYS AS (CHAR_LENGTH(body)) VIRTUAL, ADD INDEX (words)",
            "CREATE INDEX by_title ON story (title(10))",
        )
    ),
    "a check": Form(
        ("ALTER TABLE story ADD CONSTRAINT allowed CHECK (title <> 'forbidden')",),
        ("mysql", "mariadb", "postgresql"),
        frozenset({5}),
    ),
    "a second unique key": Form(
        ("ALTER TABLE story ADD CONSTRAINT one_title UNIQUE (title)",),
        ("mysql", "mariadb", "postgresql"),
        frozenset({4}),
    ),
    "a foreign key": Form(
        (
            "CREATE TABLE years (year INT PRIMARY KEY)",
            "INSERT INTO years VALUES (2023), (2024)",
            "ALTER TABLE story ADD FOREIGN KEY (year) REFERENCES years (year)",
        ),
        ("mysql", "mariadb", "postgresql"),
        frozenset({6}),
    ),
    "a trigger that keeps a log": Form(
        (
            "CREATE TABLE changed (title VARCHAR(100))",
            "CREATE TRIGGER changes AFTER INSERT ON story FOR EACH ROW INSERT INTO changed VALUES (NEW.title)",
        ),
        ("mariadb",),  # MySQL asks for a superuser
    ),
    "partitions of PostgreSQL": Form(
        (
            "CREATE TABLE parts (LIKE story INCLUDING ALL) PARTITION BY RANGE (year)",
            "DROP TABLE story",
            "ALTER TABLE parts RENAME TO story",
            "CREATE TABLE story_old PARTITION OF story FOR VALUES FROM (MINVALUE) TO (2024)",
            "CREATE TABLE story_new PARTITION OF story FOR VALUES FROM (2024) TO (MAXVALUE)",
        ),
        ("postgresql",),
    ),
    "an index over words": Form(
        (
            "CREATE INDEX words ON story USING gin (to_tsvector('english', body))",
            "ALTER TABLE story ADD COLUMN words INT GENERATED ALWAYS AS (char_length(body)) STORED",
        ),
        ("postgresql",),
    ),
}
PLAIN = [(database, "plain") for database in FORMS["plain"].databases]
CASES = [(database, name) for name, form in FORMS.items() for database in form.databases]


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    database, name = request.param
    with closing(open_sink(sa.make_url(request.getfixturevalue(f"{database}_url")))) as sink:
        yield opened(sink, *FORMS[name].statements)


def opened(sink: Sink, *statements: str) -> Target:
    """With the tables of the stream, altered by these statements."""
    found = Target(STREAM, sink)
    execute(found, *statements)
    prepare_tables(sink, STREAM)
    found.pin({TopicPartition("stories", 0): 0, TopicPartition("stories", 1): 0, TopicPartition("views", 0): 0})
    return found


def execute(target: Target, *statements: str) -> None:
    with target.sink.engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def story(number: int, year: int, title: str, **more: Any) -> Msg:
    return Msg({"id": number, "year": year, "title": title, "body": "some words", **more}, key(number, year))


def key(number: int, year: int) -> bytes:
    return b'{"id": %d, "year": %d}' % (number, year)


LOG = [
    story(1, 2023, "one", note="first"),
    story(2, 2024, "two", note="second"),
    story(1, 2023, "one again"),
    Msg(None, key(2, 2024)),
    story(3, 2024, "three"),
    story(4, 2024, "three", note="the title of another"),
    story(5, 2023, "forbidden"),
    story(6, 2025, "a year of its own"),
]
WANTED = {1: ("one again", "first"), 3: ("three", None), 4: ("three", "the title of another")} | {
    5: ("forbidden", None),
    6: ("a year of its own", None),
}


def stories(target: Target) -> dict[int, tuple[str, str | None]]:
    return {number: (title, note) for number, title, note in target.all("SELECT id, title, note FROM story")}


def at(*messages: Msg, start: int) -> Any:
    return raw_slice(Part(list(messages), "stories", 0, start))


@pytest.mark.parametrize(("target", "name"), [(c, c[1]) for c in CASES], indirect=["target"], ids=map("-".join, CASES))
def test_rows_are_merged_and_deleted_whatever_the_table_is_like(target: Target, name: str) -> None:
    refused = FORMS[name].refused
    load_all(target, {number: values for number, values in WANTED.items() if number not in refused})
    assert len(target.dead_letters()) == len(refused)


def load_all(target: Target, wanted: dict[int, tuple[str, str | None]]) -> None:
    """In slices, and then each message again."""
    for start, end in ((0, 2), (2, 4), (4, 8)):
        target.load(at(*LOG[start:end], start=start))
    assert stories(target) == wanted
    for number, message in enumerate(LOG):
        target.load(at(message, start=number), "backfill")
    assert stories(target) == wanted


# Each alone was tried, too: these are the ones that a session takes over.
DEFAULTS = {
    "mysql": (
        "sql_safe_updates = 1",
        "sql_select_limit = 1",
        "max_join_size = 10",
        "sql_require_primary_key = 1",
        "default_tmp_storage_engine = MEMORY",
        "default_storage_engine = MyISAM",
        "autocommit = 0",
        "transaction_isolation = 'SERIALIZABLE'",
        "completion_type = 'CHAIN'",
        "sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH'",
        "time_zone = '+09:00'",
        "auto_increment_increment = 7",
        "group_concat_max_len = 4",
    ),
    "mariadb": (
        "sql_safe_updates = 1",
        "sql_select_limit = 1",
        "max_join_size = 10",
        "default_tmp_storage_engine = MEMORY",
        "default_storage_engine = Aria",
        "autocommit = 0",
        "tx_isolation = 'SERIALIZABLE'",
        "completion_type = 'CHAIN'",
        "sql_mode = 'ORACLE,NO_BACKSLASH_ESCAPES,SIMULTANEOUS_ASSIGNMENT'",
        "time_zone = '+09:00'",
        "auto_increment_increment = 7",
    ),
}


@pytest.mark.parametrize("database", DEFAULTS)
def test_the_defaults_of_a_server_change_nothing(request: pytest.FixtureRequest, database: str) -> None:
    server: LocalDatabase = request.getfixturevalue(database)
    url = sa.make_url(request.getfixturevalue(f"{database}_url"))
    for default in DEFAULTS[database]:
        server.run_as_administrator(f"SET GLOBAL {default}")
    try:
        with closing(open_sink(url)) as sink:
            load_all(opened(sink), WANTED)
    finally:
        for default in DEFAULTS[database]:
            server.run_as_administrator(f"SET GLOBAL {default.split(' = ')[0]} = DEFAULT")


PARTITIONED = [
    ("mysql", "partitions by hash, of the tombstones too"),
    ("mariadb", "partitions by hash, of the tombstones too"),
    ("postgresql", "partitions of PostgreSQL"),
]


@pytest.mark.parametrize("is_row_first", [True, False])
@pytest.mark.parametrize("target", PARTITIONED, indirect=True, ids=[database for database, _ in PARTITIONED])
def test_a_row_and_a_later_tombstone_that_are_under_way_at_once_leave_no_row(
    target: Target, is_row_first: bool
) -> None:
    row = raw_slice(Part([Msg(LOG[0].value, LOG[0].key, timestamp_ms=MORNING_MS)], "stories", 0, 0))
    tombstone = raw_slice(Part([Msg(None, LOG[0].key, timestamp_ms=MORNING_MS + 1_000)], "stories", 1, 0))
    first, second = (row, tombstone) if is_row_first else (tombstone, row)
    held = Held(target, first, LoadStep.DEAD_LETTERS)  # written, and not committed
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, second, run_id="other")
        wait([other], timeout=0.5)  # it waits for the first one's lock, or is done
        held.let_go()
        other.result(SECONDS)
    assert stories(target) == {}


@pytest.mark.parametrize("target", PLAIN, indirect=True, ids=[database for database, _ in PLAIN])
def test_rows_are_not_upserted_into_a_view(target: Target) -> None:
    execute(target, "ALTER TABLE story RENAME TO behind", "CREATE VIEW story AS SELECT * FROM behind")
    with pytest.raises(ConfigError, match=r"table story is a view, .* name the table behind it in __tablename__"):
        prepare_tables(target.sink, STREAM)


# Each unique key of a partitioned table has to hold the columns that it is partitioned by.
APPENDING = {
    "mysql": (
        "ALTER TABLE seen DROP PRIMARY KEY, ADD PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset, year)",
        "ALTER TABLE seen PARTITION BY RANGE (year) (PARTITION old VALUES LESS THAN (2024), "
        "PARTITION new VALUES LESS THAN (2025))",
    ),
    "postgresql": (
        "CREATE TABLE parts (LIKE seen, PRIMARY KEY (_kafka_topic, _kafka_partition, _kafka_offset, year)) "
        "PARTITION BY RANGE (year)",
        "DROP TABLE seen",
        "ALTER TABLE parts RENAME TO seen",
        "CREATE TABLE seen_old PARTITION OF seen FOR VALUES FROM (MINVALUE) TO (2024)",
        "CREATE TABLE seen_new PARTITION OF seen FOR VALUES FROM (2024) TO (2025)",
    ),
}


@pytest.mark.parametrize("target", PLAIN, indirect=True, ids=[database for database, _ in PLAIN])
def test_an_append_table_may_be_partitioned_by_a_column_of_its_own(target: Target) -> None:
    execute(target, *APPENDING[target.sink.kind])
    prepare_tables(target.sink, STREAM)
    views = [Msg({"year": year, "title": f"in {year}"}) for year in (2023, 2024, 2025, 2023)]
    kinds: tuple[BatchKind, ...] = ("live", "backfill")
    for kind in kinds:
        target.load(raw_slice(Part(views, "views", 0, 0)), kind)
        assert target.rows(Seen, "_kafka_offset", "year") == [(0, 2023), (1, 2024), (3, 2023)]
        assert [letter[0] for letter in target.dead_letters()] == ["views[0]@2"]


@pytest.mark.parametrize("target", PLAIN, indirect=True, ids=[database for database, _ in PLAIN])
def test_the_key_of_an_upsert_table_has_no_further_columns(target: Target) -> None:
    """Two rows of one story would stand in it."""
    constraint = "CONSTRAINT story_pkey" if target.sink.kind == "postgresql" else "PRIMARY KEY"
    execute(target, f"ALTER TABLE story DROP {constraint}, ADD PRIMARY KEY (id, year, title)")
    with pytest.raises(SchemaMismatch, match=r"its primary key is \(id, year, title\), and \(id, year\) is wanted"):
        prepare_tables(target.sink, STREAM)
