"""A run is held to the cluster and the database that its launching sensor looked at."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from kafka_ingest.engine.fingerprint import Fingerprint, check, database_of, look
from kafka_ingest.errors import KafkaUnavailable, WrongEnvironment
from kafka_ingest.sinks.base import Sink
from kafka_ingest.sinks.mysql.sink import MySQLSink
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.sinks.tables import prepare_tables
from kafka_ingest.testing.models import MIXED
from kafka_ingest_tests.support.cluster import FakeMetadata
from kafka_ingest_tests.support.world import World


def sink_at(path: Path) -> SQLiteSink:
    return SQLiteSink(sa.make_url(f"sqlite:///{path}"))


def test_it_goes_through_a_runs_tags_unchanged() -> None:
    for each in (Fingerprint("abc", "ledger:1"), Fingerprint(None, "server:2")):
        assert Fingerprint.from_tags(each.as_tags() | {"dagster/partition": "x"}) == each
    assert Fingerprint("abc", "ledger:1").as_tags() == {
        "kafka_ingest/cluster": "abc",
        "kafka_ingest/database": "ledger:1",
    }
    assert Fingerprint.from_tags({"dagster/partition": "x"}) is None


def test_before_a_first_run_a_database_is_its_server_and_afterwards_its_ledger(tmp_path: Path) -> None:
    metadata = FakeMetadata({})
    with closing(sink_at(tmp_path / "a.db")) as sink:
        before = look(metadata, sink)
        assert (before.cluster, before.database[:7]) == ("a-cluster", "server:")
        assert len(before.database) == len("server:") + 12
        prepare_tables(sink, MIXED)
        after = look(metadata, sink)
        with sink.engine.connect() as connection:
            (ledger_id,) = connection.exec_driver_sql("SELECT ledger_id FROM kafka_ingest_ledger").scalars()
        assert after == Fingerprint("a-cluster", f"ledger:{ledger_id}")
        # A run that was launched before the first one is compared by the server.
        check(before, metadata, sink, stream="mixed")
        check(after, metadata, sink, stream="mixed")


def test_another_database_is_refused_whether_a_ledger_stands_in_either(tmp_path: Path) -> None:
    metadata = FakeMetadata({})
    with closing(sink_at(tmp_path / "here.db")) as here, closing(sink_at(tmp_path / "there.db")) as there:
        seen = [look(metadata, here)]
        prepare_tables(here, MIXED)
        seen.append(look(metadata, here))
        for has_ledger in (False, True):
            if has_ledger:
                prepare_tables(there, MIXED)
            for expected in seen:
                check(expected, metadata, here, stream="mixed")
                with pytest.raises(WrongEnvironment):
                    check(expected, metadata, there, stream="mixed")


def test_the_refusal_says_both_and_which_settings_name_them(tmp_path: Path) -> None:
    metadata = FakeMetadata({})
    with closing(sink_at(tmp_path / "there.db")) as sink:
        found = look(metadata, sink).database
        with pytest.raises(WrongEnvironment) as caught:
            check(Fingerprint("prod", "ledger:7"), metadata, sink, stream="mixed")
        assert sa.inspect(sink.engine).get_table_names() == []
    assert caught.value.values() == {
        "stream": "mixed",
        "expected_cluster": "prod",
        "found_cluster": "a-cluster",
        "expected_database": "ledger:7",
        "found_database": found,
    }
    text = str(caught.value)
    assert "looks at Kafka cluster prod and database ledger:7" in text
    assert f"reaches Kafka cluster a-cluster and database {found}." in text
    assert "KAFKA_BOOTSTRAP_SERVERS" in text
    assert "KAFKA_INGEST_DATABASE_URL" in text


def test_another_cluster_is_refused_and_one_without_an_id_is_not_compared(tmp_path: Path) -> None:
    metadata, other, nameless = FakeMetadata({}), FakeMetadata({}), FakeMetadata({})
    other.id, nameless.id = "another", None
    with closing(sink_at(tmp_path / "a.db")) as sink:
        expected = look(metadata, sink)
        with pytest.raises(WrongEnvironment, match=r"cluster a-cluster .*cluster another "):
            check(expected, other, sink, stream="mixed")
        check(expected, nameless, sink, stream="mixed")
        check(look(nameless, sink), other, sink, stream="mixed")


def test_a_file_is_one_database_whatever_leads_to_it_and_each_in_memory_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    paths = (tmp_path / "a.db", tmp_path / "link" / "a.db", tmp_path / "b.db")
    same, linked, other = (database_of(sink_at(path)) for path in paths)
    assert same == linked != other
    memory = SQLiteSink(sa.make_url("sqlite://"))
    assert database_of(memory) == database_of(memory) != database_of(SQLiteSink(sa.make_url("sqlite://")))


class Silent(MySQLSink):
    """Says of its server what the URL says."""

    server_identity = Sink.server_identity


def test_by_default_a_database_is_what_the_url_says_but_for_the_account() -> None:
    def identity(url: str) -> str:
        return Silent(sa.make_url(url)).server_identity(None)  # type: ignore[arg-type]

    one = identity("mysql+pymysql://me:hunter2@host:3306/db?read_timeout=3")
    assert one == identity("mysql+pymysql://you:secret@host:3306/db")
    assert "hunter2" not in one
    assert "me" not in one.split("/")
    for other in ("host:3306/other", "host:3307/db", "elsewhere:3306/db"):
        assert identity(f"mysql+pymysql://me@{other}") != one


# --- a run


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def whole(world: World) -> dict[str, Any]:
    return world.target.state() | {"batches": world.target.batches(), "group": [*world.metadata.committed.items()]}


def test_a_run_asks_until_it_knows_and_then_not_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Exception | str] = [KafkaUnavailable("silent"), "a-cluster"]

    def cluster_id() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with closing(world.run()) as run:
        expected = look(world.metadata, run.sink)
        monkeypatch.setattr(world.metadata, "cluster_id", cluster_id)
        with pytest.raises(KafkaUnavailable):
            run.expect(expected)
        run.expect(expected)
        run.expect(expected)
    assert answers == []


def test_a_run_launched_by_hand_is_not_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never() -> str:
        raise AssertionError("asked")

    monkeypatch.setattr(world.metadata, "cluster_id", never)
    with closing(world.run()) as run:
        run.expect(None)


def test_a_run_elsewhere_is_refused_however_often_it_is_tried(world: World) -> None:
    before = whole(world)
    with closing(world.run()) as run:
        for _ in range(2):
            with pytest.raises(WrongEnvironment, match="stream mixed"):
                run.expect(Fingerprint("a-cluster", "ledger:another"))
    assert whole(world) == before
