"""A stream that moves into its group, or out of it, while the run it had goes on: whoever is stopped before or after a load, or
killed at a step of it, every message is a row once. The order is a seed's."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from kafka_ingest.engine import group_run, lease_keeper
from kafka_ingest.engine.ingestion import Ingestion
from kafka_ingest.errors import LeaseLost
from kafka_ingest.ledger.leases import leases_of, revoke_lease
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.streams.stream import BatchPolicy
from kafka_ingest.testing.target import Crash
from kafka_ingest_tests.support.grouped import GroupWorld, drained, small_stream

pytestmark = pytest.mark.slow

NAMES = ("a", "b")
POLICY = BatchPolicy(max_wait_seconds=0, linger_seconds=0.1, max_rows=2)
# Whoever has not come to its next step by then waits for a lock that another one holds, or for messages.
STEP_SECONDS = 0.02
# SQLite has one writer at a time: who stood within a transaction would hold up all others.
_STOPS = (LoadStep.STAGE, LoadStep.DONE)


class Writer:
    """A thread that goes on from step to step as it is let."""

    def __init__(self, work: Callable[[Callable[[object], None]], object]) -> None:
        self.is_killed = False
        self.error: BaseException | None = None
        self._arrived = threading.Event()
        self._go = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """To its next step."""
        self._arrived.clear()
        self._go.release()
        self._arrived.wait(STEP_SECONDS)

    def finish(self) -> None:
        """Nobody stops it any more."""
        while self._thread.is_alive():
            self._go.release()
            self._thread.join(STEP_SECONDS)

    @property
    def has_ended(self) -> bool:
        return not self._thread.is_alive()

    def _run(self, work: Callable[[Callable[[object], None]], object]) -> None:
        try:
            work(self._step)
        except (Crash, LeaseLost):
            assert self.is_killed
        except BaseException as error:  # noqa: BLE001  the test raises it
            self.error = error

    def _step(self, step: object) -> None:
        if step in _STOPS:
            self._arrived.set()
            self._go.acquire()
        if self.is_killed:
            raise Crash(str(step))


def of_group(world: GroupWorld, run_id: str) -> Writer:
    def work(step: Callable[[object], None]) -> None:
        run = world.run(run_id)
        for name in NAMES:
            ingestion = run.ingestion(name)
            ingestion._context = replace(ingestion._context, at_step=step)
        drained(run)

    return Writer(work)


def alone(world: GroupWorld, run_id: str) -> Writer:
    """A run of stream `a` as it is declared without the group."""

    def work(step: Callable[[object], None]) -> None:
        own = Ingestion(small_stream("a", group=None, batch=POLICY), world.settings, run_id=run_id, at_step=step)
        try:
            batch = own.plan((), "live")
            own.keep_lease()
            for _ in own.drain(batch):
                pass
            own.release_lease()
        finally:
            own.close()

    return Writer(work)


@pytest.mark.parametrize("seed", range(6))
def test_every_message_is_a_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    for module in (lease_keeper, group_run):
        monkeypatch.setattr(module, "RENEW_SECONDS", 0.05)
    chance = random.Random(seed)
    world = GroupWorld(tmp_path, monkeypatch, *(small_stream(name, batch=POLICY) for name in NAMES))
    make = [of_group, alone] if chance.random() < 0.5 else [alone, of_group]
    counts, writers = dict.fromkeys(NAMES, 7), [make[0](world, "run-0")]
    for number in range(120):
        what = chance.random()
        if what < 0.1:
            name = chance.choice(NAMES)
            counts[name] += chance.randint(1, 4)
            world.grow(name, counts[name])
        elif what < 0.16 and len(writers) < 5:
            writers.append(make[len(writers) % 2](world, f"run-{len(writers)}"))
        elif what < 0.18:
            killed = chance.randrange(len(writers))
            writers[killed].is_killed = True
            revoke(world, f"run-{killed}")
        else:
            chance.choice(writers).go_on()
        for consumer in world.consumers:
            consumer.asked.clear()  # a fake broker answers at once, so who waits for messages asks very often
        if number > 20 and all(each.has_ended for each in writers):
            break
    for each in writers:
        each.finish()
    for each in writers:
        if each.error is not None:
            raise each.error
    for number in range(20):
        last = world.run(f"last-{number}")
        drained(last)
        if not last.failures:  # the file may have been busy for a moment
            break
    assert not last.failures
    assert {name: world.rows(name) for name in NAMES} == {name: list(range(counts[name])) for name in NAMES}
    with world.sink.engine.connect() as connection:
        entries = "SELECT stream, start_offset, end_offset FROM kafka_ingest_batches WHERE kind = 'live' ORDER BY 1, 2"
        found = [tuple(row) for row in connection.execute(sa.text(entries))]
    for name in NAMES:
        ranges = [(start, end) for stream, start, end in found if stream == name]
        assert [start for start, _ in ranges] == [0, *(end for _, end in ranges[:-1])], "without gap or overlap"
        assert ranges[-1][1] == counts[name]


def revoke(world: GroupWorld, run_id: str) -> None:
    """As the sensor does with the leases of a run that is gone."""
    with world.sink.engine.begin() as connection:
        if sa.inspect(connection).has_table("kafka_ingest_leases"):
            for lease in leases_of(connection, NAMES):
                if lease.run_id == run_id:
                    revoke_lease(connection, lease)
