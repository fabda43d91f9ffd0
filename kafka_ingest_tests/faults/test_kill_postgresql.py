"""kill -9 of a PostgreSQL server at each step of a load: all of the load is there, or nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from kafka_ingest.errors import DatabaseUnavailable
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.postgresql.local_server import LocalPostgreSQL
from kafka_ingest.sinks.postgresql.sink import PostgreSQLSink
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.conftest import fresh_database
from kafka_ingest_tests.e2e.scale import IS_FULL
from kafka_ingest_tests.support.loads import P0, P1, account, balances, event, gone, names

pytestmark = pytest.mark.faults

ALL_STEPS = [step for step in LoadStep if step not in (LoadStep.AHEAD, LoadStep.DONE)]
STEPS = ALL_STEPS if IS_FULL else [LoadStep.LOCK, LoadStep.DELETES, LoadStep.COMMIT]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPostgreSQL]:
    """With few databases, as after a kill each file of each is looked at."""
    found = LocalPostgreSQL.start("postgresql", tmp_path_factory.mktemp("killed"))
    yield found
    found.stop()


@pytest.fixture
def target(server: LocalPostgreSQL) -> Iterator[Target]:
    found = Target(MIXED, PostgreSQLSink(sa.make_url(fresh_database(server))))
    found.pin({P0: 0, P1: 0})
    yield found
    found.sink.close()


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_is_killed_at_any_step_has_all_of_the_load_or_nothing(
    server: LocalPostgreSQL, target: Target, step: LoadStep
) -> None:
    raw = raw_slice(Part([event("a"), account("k", 1), gone("j"), Msg(b"no json")]))

    def pull_the_plug(reached: str) -> None:
        if reached == step:
            server.kill()

    with pytest.raises(DatabaseUnavailable):
        target.load(raw, at_step=pull_the_plug)
    server.restart()
    result = target.load(raw)
    assert (result.total("rows"), result.total("deletes"), result.total("dead_letters")) == (2, 1, 1)
    assert (names(target), balances(target), len(target.dead_letters())) == (["a"], {"k": 1}, 1)
    assert target.offsets() == {"mixed[0]": 4, "mixed[1]": 0}


def test_what_was_committed_outlives_a_kill_of_the_server(server: LocalPostgreSQL, target: Target) -> None:
    target.load(raw_slice(Part([event("a"), account("k", 1)])))
    server.kill()
    server.restart()
    assert (names(target), balances(target), target.offsets()["mixed[0]"]) == (["a"], {"k": 1}, 2)
