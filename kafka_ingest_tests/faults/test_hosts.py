"""A stream over two worker hosts that vanish, stand still and lose the database while it loads; divided anew, with new code.

Whole runs on Celery's workers. Each host is a set of namespaces with an address, process ids, a name and a disk of its own. It
takes half an hour, so it is left to a schedule: `make hosts`, which installs what is needed, or `make faults-full`.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.ledger.tables import BATCHES, LEASES
from kafka_ingest_tests.conftest import make_topic
from kafka_ingest_tests.e2e.celery_deployment import CeleryDeployment, Servers
from kafka_ingest_tests.e2e.check import assert_exactly_once, ledger_total
from kafka_ingest_tests.e2e.dagster_services import CODE_SERVER
from kafka_ingest_tests.e2e.hosts import Host
from kafka_ingest_tests.e2e.news import Truth
from kafka_ingest_tests.e2e.production import Production
from kafka_ingest_tests.e2e.streams import environment

pytestmark = [pytest.mark.faults, pytest.mark.scheduled, pytest.mark.filterwarnings("ignore")]

PARTITIONS = 12
RATE = 120
PAUSE_SECONDS = 120.0
# Without rows of one of its partitions; where others want the processors, too, processes take their time to start.
GAP_SECONDS, BUSY_GAP_SECONDS = 70.0, 180.0
TRIALS = int(os.environ.get("KAFKA_INGEST_HOST_TRIALS", "1"))

CODE = """
import dataclasses
from pathlib import Path

from kafka_ingest.pipelines.translate_dates import translate_dates
from kafka_ingest_tests.e2e.streams import STREAM as DECLARED


def note_version(frame, context):
    with Path({noted!r}).open("a") as file:
        file.write("{version}\\n")
    return frame


STREAM = dataclasses.replace(
    DECLARED,
    steps=(translate_dates, note_version),
    batch=dataclasses.replace(DECLARED.batch, shards={shards}, max_run_seconds=60, linger_seconds=5),
)
"""


class Deployed:
    """The stream's code, in a folder that all hosts see."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._noted = folder / "versions"
        folder.mkdir()
        self._noted.touch()

    def write(self, version: str, shards: int) -> None:
        path = self.folder / "deployed_stream.py"
        partial = path.with_suffix(".partial")
        partial.write_text(CODE.format(noted=str(self._noted), version=version, shards=shards))
        partial.replace(path)

    def versions(self) -> set[str]:
        """Those that have gone over a slice."""
        return set(self._noted.read_text().split())


class World:
    """A stream that loads in a deployment, and what its tables must hold."""

    def __init__(self, found: Servers, folder: Path, shards: int) -> None:
        self.servers = found
        self.url = found.fresh_database()
        self.topic = make_topic(found.kafka, partitions=PARTITIONS)
        self.truth = Truth()
        self.code = Deployed(folder / "code")
        self.code.write("first", shards)
        environ = environment(found.bootstrap_servers, self.url, self.topic) | {
            "KAFKA_INGEST_STREAMS": "deployed_stream",
            "PYTHONPATH": f"{Path(__file__).parents[2]}:{self.code.folder}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self.dagster = CeleryDeployment(folder, found, environ)
        self._engine = sa.create_engine(self.url)

    def production(self) -> Production:
        return Production(
            self.servers.bootstrap_servers, self.topic, self.truth, rate=RATE, seed=1, partitions=PARTITIONS
        )

    def leases(self) -> dict[str, str]:
        """Run → host, of those that have loaded and were not given up."""
        if not ledger_total(self.url):
            return {}
        loaded = sa.select(BATCHES.c.run_id).distinct()
        asked = sa.select(LEASES.c.run_id, LEASES.c.host).where(LEASES.c.revoked_at.is_(None))
        with self._engine.connect() as connection:
            rows = connection.execute(asked.where(LEASES.c.run_id.in_(loaded))).all()
        return {row.run_id: row.host for row in rows}

    def now(self) -> dt.datetime:
        """By the database's clock, as the ledger's times are."""
        with self._engine.connect() as connection:
            found: dt.datetime = connection.execute(sa.text("SELECT UTC_TIMESTAMP(6)")).scalar_one()
        return found

    def loads(self, since: dt.datetime) -> list[tuple[int, dt.datetime, str]]:
        """Partition, time and run of each live load since then, in order."""
        c = BATCHES.c
        asked = sa.select(c.kafka_partition, c.loaded_at, c.run_id).where(c.loaded_at > since).order_by(c.loaded_at)
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(asked)]

    def gap(self, since: dt.datetime) -> float:
        """The longest time since then in which one partition got no rows."""
        last = dict.fromkeys(range(PARTITIONS), since)
        longest = 0.0
        for partition, at, _run in self.loads(since):
            longest = max(longest, (at - last[partition]).total_seconds())
            last[partition] = at
        return longest

    def all_have_rows(self, since: dt.datetime, without: set[str]) -> bool:
        """Whether each partition was loaded since then by a run that is none of these."""
        return len({partition for partition, _at, run in self.loads(since) if run not in without}) == PARTITIONS

    def finish(self, production: Production) -> None:
        production.stop()
        production.check()
        self.dagster.wait_for(lambda: ledger_total(self.url) >= self.truth.total, 180, "all messages")
        self.dagster.wait_for(lambda: not self.dagster.is_busy(), 180, "the runs to end")
        assert_exactly_once(self.url, self.servers.bootstrap_servers, self.topic, self.truth)


@contextmanager
def loading(found: Servers, folder: Path, shards: int) -> Iterator[tuple[World, Production]]:
    world = World(found, folder, shards)
    with world.dagster, world.production() as production:
        world.dagster.wait_for(lambda: len(world.leases()) >= shards, 150, "a run of each shard")
        yield world, production


def without_rows(gap: float) -> str:
    return f"at most {gap:.1f} s without rows (load {os.getloadavg()[0]:.0f})"


def allowed_gap() -> float:
    return GAP_SECONDS if os.getloadavg()[0] <= 3 * (os.cpu_count() or 1) else BUSY_GAP_SECONDS


def vanish(world: World, host: Host) -> Callable[[], None]:
    host.vanish()
    world.dagster.forget(host.name)

    def back() -> None:
        host.come_back()
        world.dagster.start_worker(host)

    return back


def stand_still(_world: World, host: Host) -> Callable[[], None]:
    host.pause()
    begun = time.monotonic()

    def back() -> None:
        time.sleep(max(0.0, PAUSE_SECONDS - (time.monotonic() - begun)))
        host.resume()

    return back


def lose_the_database(world: World, host: Host) -> Callable[[], None]:
    host.lose(world.servers.network.database)
    return lambda: host.find(world.servers.network.database)


FAULTS = {"vanished": vanish, "stood still for two minutes": stand_still, "lost the database": lose_the_database}


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_a_stream_outlives_its_hosts(network_servers: Servers, tmp_path: Path, shards: int) -> None:
    with loading(network_servers, tmp_path, shards) as (world, production):
        for what, fault in list(FAULTS.items()) * TRIALS:
            world.dagster.wait_for(lambda: len(world.leases()) >= shards, 150, "a run of each shard")
            host = world.dagster.host_of(sorted(world.leases().values())[0])
            victims = {run for run, where in world.leases().items() if where == host.name}
            since = world.now()
            back = fault(world, host)
            world.dagster.wait_for(lambda s=since, v=victims: world.all_have_rows(s, v), 240, f"rows, as a host {what}")
            gap = world.gap(since)
            at = world.now()
            back()
            world.dagster.wait_for(lambda a=at: world.all_have_rows(a, set()), 120, "rows after it came back")
            time.sleep(10)
            said = f"{shards} shards: {host.name}, with {len(victims)} runs, {what}: {without_rows(gap)}"
            sys.stderr.write(f"{said}\n")
            # A worker that has lost the database takes new runs all the same: each fails soon, but has cost its launch.
            assert gap <= (BUSY_GAP_SECONDS if fault is lose_the_database else allowed_gap()), said
            late = {run for _partition, _at, run in world.loads(at)} & victims
            assert not late, "a run that was given up has loaded"
        world.finish(production)


@pytest.mark.parametrize("what", ["new code", "other shards"])
def test_a_stream_goes_on_while_new_code_is_deployed(network_servers: Servers, tmp_path: Path, what: str) -> None:
    """The code server is started again with it, and every worker's next run has it."""
    with loading(network_servers, tmp_path, 2) as (world, production):
        for trial, shards in enumerate([4, 1, 2] if what == "other shards" else [2, 2, 2]):
            since = world.now()
            world.code.write(f"version-{trial}", shards)
            world.dagster.kill(CODE_SERVER)
            world.dagster.start(CODE_SERVER)
            world.dagster.wait_for(
                lambda t=trial: f"version-{t}" in world.code.versions(), 180, "a run of the new code"
            )
            before = set(world.leases()) if trial == 0 else set()
            now = world.now()
            world.dagster.wait_for(lambda b=before, n=now: world.all_have_rows(n, b), 180, "rows by new runs")
            gap = world.gap(since)
            said = f"{what}, {shards} shards: {without_rows(gap)}"
            sys.stderr.write(f"{said}\n")
            assert gap <= allowed_gap(), said
        world.finish(production)
        statuses = {run.status.value for run in world.dagster.runs()}
        assert statuses == {"SUCCESS"}, world.dagster.tail()
