"""Where windows begin is learned while a code location loads, within a bound, and is the same in every process of its runs."""

from __future__ import annotations

import dataclasses
import datetime as dt
import importlib
import logging
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.definitions.reconstruct import reconstruct_repository_def_from_pointer
from dagster._core.definitions.repository_definition import RepositoryDefinition
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.server import LoadedRepositories
from dagster._utils.test.definitions import scoped_definitions_load_context, scoped_reconstruction_metadata

from kafka_ingest.errors import AccessDenied, ConfigError, KafkaIngestError
from kafka_ingest.orchestration import window_starts
from kafka_ingest.orchestration.build import build_definitions
from kafka_ingest.orchestration.clients import Clients
from kafka_ingest.orchestration.resources import DatabaseResource, KafkaResource
from kafka_ingest.orchestration.window_starts import LOOK_SECONDS
from kafka_ingest.orchestration.windows import partitions_of
from kafka_ingest.settings import Settings
from kafka_ingest.sinks.sqlite.sink import SQLiteSink
from kafka_ingest.slices import TopicPartition
from kafka_ingest.streams.stream import Stream
from kafka_ingest.streams.windows import EARLIEST
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.cluster import SETTINGS, FakeMessage, FakeMetadata, Log
from kafka_ingest_tests.support.placed import NAMES

pytestmark = pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated")

UTC = dt.timezone.utc
FIRST = dt.datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
FIRST_KEY, EARLIEST_KEY = "2026-03-04-05:00", "2016-01-01-00:00"

MODULE = "my_project"
PROJECT = """
import dagster as dg
from kafka_ingest import DatabaseResource, KafkaResource, build_definitions, partitions_of
from kafka_ingest.testing.models import MIXED

@dg.asset(partitions_def=partitions_of(MIXED, "eu"))
def of_the_project(): ...

def one(prefix):
    kafka, database = KafkaResource(bootstrap_servers=f"{prefix}:9092"), DatabaseResource(url="sqlite://")
    return build_definitions([MIXED], kafka=kafka, database=database, key_prefix=prefix)

defs = dg.Definitions.merge(dg.Definitions(assets=[of_the_project]), one("eu"), one("us"))
"""


@pytest.fixture(autouse=True)
def _no_code_location(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster 1.12 leaves its tests' context in place; this one's end with none, as they begin."""
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)


class Looks:
    """Stands for the clusters and databases that definitions ask, and counts."""

    def __init__(self, folder: Path) -> None:
        self.firsts = {"127.0.0.1:9092": FIRST, "eu:9092": FIRST, "us:9092": FIRST + dt.timedelta(days=1)}
        self.asked: list[str] = []
        self.refused: dict[str, KafkaIngestError] = {}
        self.target = Target(MIXED, SQLiteSink(sa.make_url(f"sqlite:///{folder}/target.db")))

    def clients_for(self, settings: Settings) -> Clients:
        self.asked.append(settings.bootstrap_servers)
        at = TopicPartition("mixed", 0)
        stamp = int(self.firsts[settings.bootstrap_servers].timestamp() * 1000)
        metadata = FakeMetadata({at: Log({4: FakeMessage(at, 4, stamp=stamp)}, 5, 4)})
        asks = metadata.first_timestamps

        def first_timestamps(streams: Sequence[Stream], instant: dt.datetime) -> dict[str, dt.datetime]:
            for stream in streams:
                if stream.name in self.refused:
                    raise self.refused[stream.name]
            return asks(streams, instant)

        metadata.first_timestamps = first_timestamps  # type: ignore[method-assign]
        return Clients(SETTINGS, metadata, self.target.sink)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Looks:
    found = Looks(tmp_path)
    monkeypatch.setattr(window_starts, "clients_for", found.clients_for)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """The folder of a user's module, which each process imports anew."""
    (tmp_path / f"{MODULE}.py").write_text(PROJECT)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop(MODULE, None)


def first_windows(repository: RepositoryDefinition) -> dict[str, str | None]:
    """First partition of one table of each set, and of the project's own asset."""
    keys = {"of_the_project", "eu/mixed/t_event", "us/mixed/t_event"}
    graph = repository.asset_graph
    found = {node.key.to_user_string(): node.partitions_def for node in graph.asset_nodes}
    return {key: found[key].get_first_partition_key() for key in sorted(keys)}  # type: ignore[union-attr]


def test_a_code_servers_answer_is_that_of_its_runs_without_asking_again(project: Path, looks: Looks) -> None:
    """Of two sets and an asset of the project's own, merged in plain module-level definitions."""
    with scoped_definitions_load_context():  # LoadedRepositories sets its own, and leaves it
        server = LoadedRepositories(
            LoadableTargetOrigin(module_name=MODULE, working_directory=str(project)), None, ["dagster"], None
        )
        (repository,) = server.definitions_by_name.values()
        expected = {"eu/mixed/t_event": FIRST_KEY, "of_the_project": FIRST_KEY, "us/mixed/t_event": "2026-03-05-05:00"}
        assert first_windows(repository) == expected
        assert looks.asked == ["127.0.0.1:9092", "us:9092"]
        data = repository.repository_load_data
        assert data is not None
        looks.asked.clear()
        del sys.modules[MODULE]
        pointer = CodePointer.from_module(MODULE, "defs", str(project))
        run = reconstruct_repository_def_from_pointer(pointer, data)
        assert first_windows(run) == expected
        assert run.repository_load_data is not None
        assert set(run.repository_load_data.reconstruction_metadata) == set(data.reconstruction_metadata)
        del sys.modules[MODULE]
        unaware = reconstruct_repository_def_from_pointer(
            pointer, data._replace(reconstruction_metadata={"of/another": "x"})
        )
        assert set(first_windows(unaware).values()) == {EARLIEST_KEY}, "every window of the server is one of it"
        assert looks.asked == []


def test_outside_of_a_code_location_nothing_is_asked(looks: Looks) -> None:
    assert not DefinitionsLoadContext.is_set()
    build_definitions([MIXED])
    assert partitions_of(MIXED).get_first_partition_key() == EARLIEST_KEY
    assert looks.asked == []


def test_a_start_that_a_person_declares_stands_and_nothing_is_asked(looks: Looks) -> None:
    declared = dataclasses.replace(MIXED, window_start=dt.datetime(2024, 5, 6, 7, 8, tzinfo=UTC))
    with scoped_definitions_load_context():
        build_definitions([declared])
        assert partitions_of(declared).get_first_partition_key() == "2024-05-06-07:00"
    assert looks.asked == []


def test_a_topic_that_is_refused_costs_no_other_stream_its_start(
    looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    secret = dataclasses.replace(MIXED, name="secret", topics="secret")
    looks.refused["secret"] = AccessDenied("describing topic secret: not allowed")
    with scoped_definitions_load_context(), caplog.at_level(logging.WARNING):
        streams = window_starts.with_window_starts([MIXED, secret], NAMES, lambda: SETTINGS)
    assert [s.window_start for s in streams] == [FIRST.replace(minute=0), EARLIEST]
    (record,) = caplog.records
    assert "windows of secret begin at 2016-01-01" in record.getMessage()
    assert "describing topic secret: not allowed" in record.getMessage()


def test_what_a_reconstruction_does_not_know_begins_early(looks: Looks) -> None:
    other = dataclasses.replace(MIXED, name="other", topics="other")
    with scoped_reconstruction_metadata({"kafka_ingest/window_start/mixed": FIRST.isoformat()}):
        streams = window_starts.with_window_starts([MIXED, other], NAMES, lambda: SETTINGS)
        assert [s.window_start for s in streams] == [FIRST, None]
    assert looks.asked == []


def test_partitions_of_names_what_it_misses_where_the_environment_has_no_database(
    looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_INGEST_DATABASE_URL")
    kafka, database = KafkaResource(bootstrap_servers="eu:9092"), DatabaseResource(url="sqlite://")
    with scoped_definitions_load_context():
        with pytest.raises(ConfigError, match="KAFKA_INGEST_DATABASE_URL is not set"):
            partitions_of(MIXED)
        assert partitions_of(MIXED, kafka=kafka, database=database).get_first_partition_key() == FIRST_KEY
        assert partitions_of(MIXED).get_first_partition_key() == FIRST_KEY, "it is known now"
        assert looks.asked == ["eu:9092"]


@pytest.fixture
def silence() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("is_silent", [True, False], ids=["silent", "closed"])
def test_servers_that_do_not_answer_keep_no_code_location_from_loading(
    is_silent: bool, silence: int, caplog: pytest.LogCaptureFixture
) -> None:
    port = silence if is_silent else 1
    kafka = KafkaResource(bootstrap_servers=f"127.0.0.1:{port}")
    database = DatabaseResource(url=f"mysql+pymysql://nobody@127.0.0.1:{port}/none")
    others = [dataclasses.replace(MIXED, name=f"other{n}", topics=f"other{n}") for n in range(3)]
    with scoped_definitions_load_context(), caplog.at_level(logging.WARNING, "kafka_ingest"):
        begun = time.monotonic()
        for stream in others:
            assert partitions_of(stream, kafka=kafka, database=database).get_first_partition_key() == EARLIEST_KEY
        defs = build_definitions([MIXED], kafka=kafka, database=database)
        took = time.monotonic() - begun
    job = defs.resolve_job_def("ingest_mixed")
    assert job.partitions_def is not None
    assert job.partitions_def.get_first_partition_key() == EARLIEST_KEY
    assert took < LOOK_SECONDS + 2, "one look for all of them; the rest is this machine's"
    said = [r.getMessage() for r in caplog.records if r.name == window_starts.LOGGER.name]
    assert len(said) == 4
    assert "The windows of other0 begin at 2016-01-01" in said[0]
    assert "Start the code server again" in said[0]
