"""Tables of upserts whose primary key is none of the model's: an `id` that the database gives, and the model's key as a unique
key beside it. They are loaded exactly as others are, and a row keeps its `id`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing

import pytest
import sqlalchemy as sa

from kafka_ingest.backfill.table_forecast import TableForecast, table_comparison
from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import BatchKind, RawSlice, TopicPartition
from kafka_ingest.streams.target import TargetTable
from kafka_ingest.testing.messages import piped
from kafka_ingest.testing.target import SECONDS, Held, Target
from kafka_ingest_tests.services.papers import (
    COUNTED,
    EXACT_TOPIC,
    LOG,
    STREAM,
    TEXT,
    WANTED,
    Paper,
    at,
    gone,
    make,
    numbers,
    opened,
    paper,
    papers,
)

pytestmark = pytest.mark.services

# How the database fills the column `id`.
FORMS = {
    "counted": COUNTED,
    "serial": {"postgresql": "SERIAL PRIMARY KEY"},
    "by default": {
        "mysql": "CHAR(36) DEFAULT (UUID()) PRIMARY KEY",
        "mariadb": "CHAR(36) DEFAULT (UUID()) PRIMARY KEY",
        "postgresql": "UUID DEFAULT gen_random_uuid() PRIMARY KEY",
    },
    "a part of the key": {
        "mysql": "BIGINT AUTO_INCREMENT, PRIMARY KEY (id, isin)",
        "mariadb": "BIGINT AUTO_INCREMENT, PRIMARY KEY (id, isin)",
        "postgresql": "SERIAL, PRIMARY KEY (isin, id)",
    },
    "no primary key": dict.fromkeys(COUNTED, "INT"),
}
CASES = [(database, form) for form, of in FORMS.items() for database in of]
NUMBERED = [(database, "counted") for database in COUNTED if database != "sqlite"]


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    database, form = request.param
    with closing(opened(request, database)) as sink:
        make(sink, FORMS[form][database], "CREATE UNIQUE INDEX uk_isin ON paper (isin)")
        found = Target(STREAM, sink)
        found.pin({TopicPartition("papers", 0): 0, TopicPartition("papers", 1): 0})
        yield found


@pytest.mark.parametrize(("target", "form"), [(c, c[1]) for c in CASES], indirect=["target"], ids=map("-".join, CASES))
def test_rows_are_merged_by_the_unique_key_and_keep_what_the_database_gave_them(target: Target, form: str) -> None:
    target.load(at(*LOG[:3], start=0))
    before = numbers(target)
    target.load(at(*LOG[3:], start=3))
    assert papers(target) == WANTED
    after = numbers(target)
    assert {isin: after[isin] for isin in "aA"} == {isin: before[isin] for isin in "aA"}
    if form != "no primary key":
        assert len({*before.values(), *after.values()}) == 4
    kinds: tuple[BatchKind, ...] = ("backfill", "backfill")
    for kind in kinds:
        for number, message in enumerate(LOG):
            target.load(at(message, start=number), kind)
        assert (papers(target), numbers(target)) == (WANTED, after)
    table = TargetTable.of(Paper)
    with target.sink.engine.connect() as connection, closing(table_comparison(connection, target.sink, table)) as found:
        found.compare(piped(STREAM, at(*LOG, start=0)))
        assert found.result() == TableForecast(unchanged=3)


@pytest.mark.parametrize("target", [(d, "counted") for d in COUNTED], indirect=True, ids=list(COUNTED))
def test_a_row_that_is_replaced_takes_no_number(target: Target) -> None:
    """ON CONFLICT draws one for each row that it is offered, and so does ON DUPLICATE KEY UPDATE: an INTEGER comes to its end."""
    target.load(at(*(paper(f"p{n}", n, note="x") for n in range(8)), start=0))
    for price in range(1, 4):
        target.load(at(*(paper(f"p{n}", price) for n in range(8)), start=8 * price))
        earlier = at(*(paper(f"p{n}", n, note="x") for n in range(8)), start=0)
        target.load(earlier, "backfill")
    target.load(at(paper("new", 0), start=32))
    # MySQL and MariaDB give a statement numbers by powers of two, and the rest of those is lost.
    assert numbers(target)["new"] <= 17
    assert papers(target) == [("new", 0, None), *((f"p{n}", 3, "x") for n in range(8))]


@pytest.mark.parametrize("target", NUMBERED, indirect=True, ids=[database for database, _ in NUMBERED])
def test_writers_of_the_same_keys_at_once_end_in_the_last_message_of_each(target: Target) -> None:
    """pingcap/tiflow#3589: gaps in the unique key are locked, too, and circles of waiting are many. MariaDB says error 1467 of
    the one that has waited for AUTO_INCREMENT (MDEV-33593)."""
    rounds, keys = 12, 40
    with ThreadPoolExecutor(2) as pool:

        def run(partition: int) -> None:
            for n in range(rounds):
                # Half of the keys, others each time; of the later messages those of partition 1.
                isins = [f"k{(7 * n + 3 * each + partition) % keys}" for each in range(keys // 2)]
                rows = [paper(isin, 2 * n + partition, 2 * n + partition) for isin in dict.fromkeys(isins)]
                target.load(at(*rows, start=n * keys // 2, partition=partition), run_id=f"run {partition}")

        for done in [pool.submit(run, partition) for partition in (0, 1)]:
            done.result(SECONDS)
    wanted: dict[str, int] = {}
    for n in range(rounds):
        for partition in (0, 1):
            isins = [f"k{(7 * n + 3 * each + partition) % keys}" for each in range(keys // 2)]
            wanted |= dict.fromkeys(isins, 2 * n + partition)
    assert {isin: price for isin, price, _ in papers(target)} == wanted
    assert target.dead_letters() == []


def both(target: Target, first: RawSlice, second: RawSlice, *, seconds: float = 0.5) -> None:
    """`second` is loaded while `first` is written and not committed."""
    held = Held(target, first, LoadStep.DEAD_LETTERS)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(target.load, second, run_id="other")
        wait([other], timeout=seconds)  # it waits for the first one's lock, or is done
        held.let_go()
        other.result(SECONDS)


@pytest.mark.parametrize("is_later_first", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("target", NUMBERED, indirect=True, ids=[database for database, _ in NUMBERED])
def test_of_two_rows_of_one_key_under_way_at_once_the_later_one_stays(
    target: Target, is_there: bool, is_later_first: bool
) -> None:
    if is_there:
        target.load(at(paper("a", 0), start=0))
    start = int(is_there)
    slices = [
        at(paper("a", 1, 1_000, note="x"), paper("b", 1, 1_000), start=start),
        at(paper("b", 2, 2_000), paper("a", 2, 2_000), start=0, partition=1),
    ]
    both(target, *(reversed(slices) if is_later_first else slices))
    assert papers(target) == [("a", 2, "x"), ("b", 2, None)]


@pytest.mark.parametrize("is_row_first", [True, False])
@pytest.mark.parametrize("target", NUMBERED, indirect=True, ids=[database for database, _ in NUMBERED])
def test_a_row_and_a_later_tombstone_that_are_under_way_at_once_leave_no_row(
    target: Target, is_row_first: bool
) -> None:
    slices = [at(paper("a", 1), start=0), at(gone("a", 1_000), start=0, partition=1)]
    both(target, *(slices if is_row_first else reversed(slices)))
    assert papers(target) == []


@pytest.mark.parametrize("target", [(d, "counted") for d in COUNTED], indirect=True, ids=list(COUNTED))
def test_a_unique_key_that_is_gone_while_a_run_loads_ends_it_and_nothing_is_loaded(target: Target) -> None:
    target.load(at(paper("a", 1), start=0))
    on = " ON paper" if target.sink.kind == "mysql" else ""
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(f"DROP INDEX uk_isin{on}")
    with pytest.raises(SchemaMismatch):
        target.load(at(paper("a", 2), paper("b", 1), start=1))
    assert papers(target) == [("a", 1, None)]
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql("CREATE UNIQUE INDEX another ON paper (isin)")
    target.load(at(paper("a", 2), paper("b", 1), start=1))
    assert papers(target) == [("a", 2, None), ("b", 1, None)]


OTHERS = {
    "mysql": "ALTER TABLE paper ADD UNIQUE KEY wkn (note), ADD UNIQUE KEY first_of_all (price)",
    "mariadb": "ALTER TABLE paper ADD UNIQUE KEY wkn (note), ADD UNIQUE KEY first_of_all (price)",
    "postgresql": "ALTER TABLE paper ADD UNIQUE (note), ADD UNIQUE (price)",
}


@pytest.mark.parametrize("target", NUMBERED, indirect=True, ids=[database for database, _ in NUMBERED])
def test_a_row_that_meets_another_of_its_unique_keys_changes_no_row_of_another_key(target: Target) -> None:
    """confluentinc/kafka-connect-jdbc#575 and #483: ON DUPLICATE KEY UPDATE takes any unique key for the key."""
    with target.sink.engine.begin() as connection:
        connection.exec_driver_sql(OTHERS[target.sink.kind])
    target.load(at(paper("a", 1, note="x"), paper("b", 2, note="y"), start=0))
    before = numbers(target)
    target.load(at(paper("c", 3, note="x"), paper("b", 1), paper("d", 4, note="z"), start=2))
    assert papers(target) == [("a", 1, "x"), ("b", 2, "y"), ("d", 4, "z")]
    assert numbers(target).items() >= before.items()
    assert [letter[0] for letter in target.dead_letters()] == ["papers[0]@2", "papers[0]@3"]


def test_a_unique_key_of_some_rows_beside_that_of_all_is_not_taken(postgresql_url: str) -> None:
    """prisma/prisma-engines#5860."""
    few = "CREATE UNIQUE INDEX a_few ON paper (isin) WHERE price > 0"
    with closing(open_sink(sa.make_url(postgresql_url))) as sink:
        make(sink, COUNTED["postgresql"], few, "CREATE UNIQUE INDEX uk_isin ON paper (isin) INCLUDE (price)")
        found = Target(STREAM, sink)
        found.pin({TopicPartition("papers", 0): 0})
        found.load(at(paper("a", 0), paper("b", 1), start=0))
        found.load(at(paper("a", 1), paper("b", 0), start=2))
        assert papers(found) == [("a", 1, None), ("b", 0, None)]


def test_a_primary_key_that_mysql_has_made_itself_is_one_of_the_tables_own(mysql_url: str) -> None:
    """MaterializeInc/materialize#25570: sql_generate_invisible_primary_key, Azure's default."""
    with closing(open_sink(sa.make_url(mysql_url))) as sink:
        with sink.engine.connect() as connection:
            # To ask the server for it takes more rights than the tests have.
            connection.exec_driver_sql(
                "CREATE TABLE paper (my_row_id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT INVISIBLE PRIMARY KEY, "
                f"isin {TEXT['mysql']} NOT NULL, UNIQUE KEY (isin), price INT, note VARCHAR(12), "
                f"_kafka_topic {EXACT_TOPIC} NOT NULL, _kafka_partition INT NOT NULL, _kafka_offset BIGINT NOT NULL)"
            )
        found = Target(STREAM, sink)
        found.pin({TopicPartition("papers", 0): 0})
        found.load(at(*LOG, start=0))
        found.load(at(*LOG, start=0), "backfill")
        assert papers(found) == WANTED
        assert found.all("SELECT COUNT(DISTINCT my_row_id) FROM paper") == [(3,)]


@pytest.mark.parametrize("target", NUMBERED, indirect=True, ids=[database for database, _ in NUMBERED])
def test_a_unique_key_that_is_renamed_within_a_transaction_ends_it(target: Target) -> None:
    renamed = {"mysql": "ALTER TABLE paper RENAME INDEX uk_isin TO other", "postgresql": "DROP INDEX uk_isin"}

    def rename(step: str) -> None:
        if step == LoadStep.ROWS:
            with target.sink.engine.begin() as connection:
                connection.exec_driver_sql(renamed[target.sink.kind])

    with pytest.raises(SchemaMismatch, match=r"error 1176|SQLSTATE 42P10"):
        target.load(at(paper("a", 1), start=0), at_step=rename)
    assert papers(target) == []
    if target.sink.kind == "mysql":
        target.load(at(paper("a", 1), start=0))
        assert papers(target) == [("a", 1, None)]
