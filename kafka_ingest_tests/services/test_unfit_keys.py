"""Tables of upserts that no unique key makes right, and what is said of them: the primary key of a table stays where it can."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import SchemaMismatch
from kafka_ingest.proposal.existing import read_table
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.slices import TopicPartition
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.services.papers import COUNTED, STREAM, at, gone, make, opened, paper, papers

pytestmark = pytest.mark.services


@pytest.mark.parametrize("database", COUNTED)
def test_the_key_is_read_for_a_proposal(request: pytest.FixtureRequest, database: str) -> None:
    with closing(opened(request, database)) as sink:
        make(sink, COUNTED[database], "CREATE UNIQUE INDEX uk_isin ON paper (isin)")
        found = read_table(sink, "paper")
    assert (found.key, set(found.unique) - {found.key}) == (("id",), {("isin",)})
    assert [column.name for column in found.columns if column.is_counted] == ["id"]


# What stands instead of the unique key, and a part of the problem's text.
UNFIT: dict[str, list[tuple[str, str]]] = {
    "mysql": [
        ("CREATE INDEX plain ON paper (isin)", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX part ON paper (isin(4))", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX more ON paper (isin, price)", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX made ON paper ((LOWER(isin)))", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX hidden ON paper (isin) INVISIBLE", "its primary key is (id)"),
    ],
    "mariadb": [
        ("CREATE UNIQUE INDEX part ON paper (isin(4))", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX hidden ON paper (isin) IGNORED", "its primary key is (id)"),
    ],
    "postgresql": [
        ("CREATE UNIQUE INDEX few ON paper (isin) WHERE price > 0", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX made ON paper (lower(isin))", "its primary key is (id)"),
        ("ALTER TABLE paper ADD CONSTRAINT late UNIQUE (isin) DEFERRABLE", "its key late is DEFERRABLE"),
        (
            "ALTER TABLE paper ADD UNIQUE (isin), ADD CONSTRAINT late UNIQUE (isin) DEFERRABLE INITIALLY DEFERRED",
            "its key late is DEFERRABLE",
        ),
        ("CREATE UNIQUE INDEX other ON paper (isin text_pattern_ops)", "its primary key is (id)"),
    ],
    "sqlite": [
        ("CREATE UNIQUE INDEX few ON paper (isin) WHERE price > 0", "its primary key is (id)"),
        ("CREATE UNIQUE INDEX made ON paper (lower(isin))", "its primary key is (id)"),
    ],
}
NULLABLE = {
    "mysql": "ALTER TABLE paper MODIFY isin VARCHAR(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NULL",
    "mariadb": "ALTER TABLE paper MODIFY isin VARCHAR(12) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NULL",
    "postgresql": "ALTER TABLE paper ALTER isin DROP NOT NULL",
}


@pytest.mark.filterwarnings("ignore:Unknown schema content")  # SQLAlchemy does not know an IGNORED index
@pytest.mark.parametrize(
    ("database", "statement", "problem"), [(database, *case) for database, cases in UNFIT.items() for case in cases]
)
def test_a_key_that_is_not_exactly_the_models_is_refused_and_the_primary_key_stays(
    request: pytest.FixtureRequest, database: str, statement: str, problem: str
) -> None:
    with closing(opened(request, database)) as sink:
        make(sink, COUNTED[database], statement)
        mended(sink, problem)


@pytest.mark.parametrize("database", NULLABLE)
def test_a_key_that_may_be_null_is_refused(request: pytest.FixtureRequest, database: str) -> None:
    with closing(opened(request, database)) as sink:
        make(sink, COUNTED[database], "CREATE UNIQUE INDEX uk_isin ON paper (isin)", NULLABLE[database])
        mended(sink, "column isin may be NULL, and is part of the key")


def test_a_primary_key_of_fewer_columns_allows_too_few_rows_whatever_other_key_there_is(mysql_url: str) -> None:
    with closing(open_sink(sa.make_url(mysql_url))) as sink:
        make(sink, "INT, PRIMARY KEY (isin(4))", "CREATE UNIQUE INDEX uk_isin ON paper (isin)")
        assert "DROP PRIMARY KEY, ADD PRIMARY KEY (isin)" in mended(sink, "its primary key is (isin(4))")


def test_an_index_of_sqlite_that_takes_keys_for_one_is_refused(request: pytest.FixtureRequest) -> None:
    with closing(opened(request, "sqlite")) as sink:
        make(sink, "INTEGER PRIMARY KEY", "CREATE UNIQUE INDEX loose ON paper (isin COLLATE NOCASE)")
        with pytest.raises(SchemaMismatch, match="has collation NOCASE"):
            Target(STREAM, sink)


@pytest.mark.parametrize("own", ["INT PRIMARY KEY", "TEXT NOT NULL PRIMARY KEY"])
def test_a_primary_key_of_sqlite_that_nothing_fills_is_refused(request: pytest.FixtureRequest, own: str) -> None:
    with closing(opened(request, "sqlite")) as sink:
        make(sink, own, "CREATE UNIQUE INDEX uk_isin ON paper (isin)")
        with pytest.raises(SchemaMismatch, match="column id is the primary key and filled by nothing"):
            Target(STREAM, sink)


def mended(sink: Sink, problem: str) -> str:
    """What was to be run. The table is refused for this alone; then it is right, and loaded, and its primary key is the same."""
    with pytest.raises(SchemaMismatch) as caught:
        Target(STREAM, sink)
    assert problem in str(caught.value)
    assert len(caught.value.statements) == 1, str(caught.value)
    before = sa.inspect(sink.engine).get_pk_constraint("paper")["constrained_columns"]
    with sink.engine.begin() as connection:
        connection.exec_driver_sql(caught.value.statements[0])
    found = Target(STREAM, sink)
    assert sa.inspect(sink.engine).get_pk_constraint("paper")["constrained_columns"] == before
    if before == ["id"]:
        found.pin({TopicPartition("papers", 0): 0})
        found.load(at(paper("a", 1, note="x"), paper("b", 2), paper("a", 3), gone("b"), start=0))
        assert papers(found) == [("a", 3, "x")]
        prepare_tables(sink, STREAM)
    return caught.value.statements[0]
