"""Two slices loaded at the same time over two connections, on a real server: neither waits for the other's rows, and they are
committed in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Mapped

from kafka_ingest.sinks import load as load_module
from kafka_ingest.sinks.commit_order import CommitTicket
from kafka_ingest.sinks.load_step import LoadStep
from kafka_ingest.sinks.registry import open_sink
from kafka_ingest.slices import LoadResult, RawSlice
from kafka_ingest.streams.model import AppendModel, field
from kafka_ingest.streams.stream import Stream
from kafka_ingest.testing.messages import Msg, Part, raw_slice
from kafka_ingest.testing.models import MIXED
from kafka_ingest.testing.target import Target
from kafka_ingest_tests.support.loads import P0, P1, account, balances, event, names

pytestmark = pytest.mark.services

SECONDS = 20.0


@pytest.fixture
def target(any_database_url: str) -> Iterator[Target]:
    found = Target(MIXED, open_sink(sa.make_url(any_database_url)))
    found.pin({P0: 0, P1: 0})
    yield found
    found.sink.close()


class Side:
    """Slices in flight, each in a thread of its own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool = ThreadPoolExecutor(2)
        self._ticket: CommitTicket | None = None

    def load(self, raw: RawSlice, at_step: Callable[[str], None] = lambda _step: None) -> Future[LoadResult]:
        ticket = self._ticket = CommitTicket(self._ticket)

        def run() -> LoadResult:
            with ticket:
                return self._target.load(raw, ticket=ticket, at_step=at_step)

        return self._pool.submit(run)


WRITERS = """SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE relation = 't_event'::regclass AND mode = 'RowExclusiveLock' AND state = 'idle in transaction'"""


def uncommitted(target: Target, slice_rows: int) -> int:
    """How many rows there are, those of open transactions included. PostgreSQL shows them to nobody: there each transaction that
    has written counts as a slice's rows."""
    is_postgresql = target.sink.engine.dialect.name == "postgresql"
    level = "READ COMMITTED" if is_postgresql else "READ UNCOMMITTED"
    with target.sink.engine.connect().execution_options(isolation_level=level) as connection:
        found = int(connection.exec_driver_sql("SELECT COUNT(*) FROM t_event").scalar_one())
        if is_postgresql:
            found += slice_rows * int(connection.exec_driver_sql(WRITERS).scalar_one())
    return found


def wait_for_rows(target: Target, count: int, *, slices: int = 2) -> None:
    """Of so many slices, as many of each."""
    deadline = time.monotonic() + SECONDS
    while uncommitted(target, count // slices) < count:
        assert time.monotonic() < deadline, "the next slice's rows did not come while this one was open"
        time.sleep(0.02)


@pytest.mark.parametrize("partitions", [1, 2])
def test_the_next_slices_rows_are_written_while_this_one_is_open_and_committed_after_it(
    target: Target, partitions: int
) -> None:
    size = 500

    def slice_from(start: int) -> RawSlice:
        return raw_slice(
            *(
                Part(
                    [
                        *(event(f"{p}-{n}") for n in range(start, start + size - 1)),
                        account("k", 10 * start + p, timestamp_ms=1_767_250_000_000 + 10 * start + p),
                    ],
                    start=start,
                    partition=p,
                )
                for p in range(partitions)
            )
        )

    open_rows = 2 * partitions * (size - 1)
    seen: list[int] = []

    def hold(step: str) -> None:
        if step == LoadStep.COMMIT:
            wait_for_rows(target, open_rows)
            seen.append(len(names(target)))

    side = Side(target)
    first = side.load(slice_from(0), hold)
    second = side.load(slice_from(size))
    assert first.result(60).total("rows") == second.result(60).total("rows") == partitions * size
    assert seen == [0]  # nobody else saw a row before the commit
    assert len(names(target)) == open_rows
    assert balances(target) == {"k": 10 * size + partitions - 1}
    assert [b[0] for b in target.batches()] == [
        f"mixed[{p}]@[{start},{start + size})" for start in (0, size) for p in range(partitions)
    ]


def test_rows_ahead_give_way_where_the_slice_before_waits_for_them(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unique index of the table's owner: the earlier slice wants a value that the later one holds, uncommitted."""
    monkeypatch.setattr(load_module, "GIVE_WAY_SECONDS", 1.0)
    may_write = threading.Event()

    def after_the_second(step: str) -> None:
        if step == LoadStep.ROWS:
            may_write.wait(SECONDS)

    side = Side(target)
    first = side.load(raw_slice(Part([event("a", code="x"), event("b")])), after_the_second)
    second = side.load(raw_slice(Part([event("c", code="x"), event("d")], start=2)))
    wait_for_rows(target, 2, slices=1)
    may_write.set()
    assert first.result(30).total("rows") == 2
    assert (second.result(30).total("rows"), second.result().total("dead_letters")) == (1, 1)
    assert names(target) == ["a", "b", "d"]
    assert [d[:2] for d in target.dead_letters()] == [("mixed[0]@2", "database")]


def test_rows_ahead_give_way_to_another_run_that_has_taken_over(target: Target) -> None:
    """It holds the ledger's lock and is about to write the same rows: both would wait for each other."""
    raw = raw_slice(Part([event("a"), event("b")]))
    previous = CommitTicket()
    previous.let_next_begin()
    with ThreadPoolExecutor(2) as pool:
        ours = pool.submit(target.load, raw, ticket=CommitTicket(previous))
        wait_for_rows(target, 2, slices=1)

        def let_ours_come(step: str) -> None:
            if step == LoadStep.ROWS:
                previous.settle(is_loaded=True)

        theirs = pool.submit(target.load, raw, run_id="other", at_step=let_ours_come)
        assert theirs.result(30).total("rows") == 2
        assert ours.result(30).skipped == 2  # by which a run knows that the next one has taken over
    assert names(target) == ["a", "b"]
    assert target.all("SELECT run_id FROM kafka_ingest_batches") == [("other",)]


class Left(AppendModel):
    __tablename__ = "t_left"
    name: Mapped[str] = field(sa.String(8))


class Right(AppendModel):
    __tablename__ = "t_right"
    name: Mapped[str] = field(sa.String(8))


# Two versions of the code, as around any deploy.
V1 = Stream(name="mixed", topics="mixed", routes={"x": Left, "y": Right})
V2 = Stream(name="mixed", topics="mixed", routes={"x": Right, "y": Left})


def test_a_backfill_ahead_and_one_by_newer_code_leave_each_message_in_one_table(any_database_url: str) -> None:
    """The newer one comes after the older one has emptied its ranges, and before it has the ledger's lock."""
    target = Target(V1, open_sink(sa.make_url(any_database_url)))
    target.pin({P0: 10})
    raw = raw_slice(Part([Msg({"type": "x", "name": f"n{n}"}) for n in range(10)]))
    done: list[LoadResult] = []

    def another_run_comes(step: str) -> None:
        if step == LoadStep.LOCK and not done:
            done.append(target.load(raw, "backfill", stream=V2, run_id="newer"))

    target.load_ahead(raw, "backfill", at_step=another_run_comes)
    assert done[0].total("rows") == 10
    found = [target.all(f"SELECT COUNT(*) FROM {table}") for table in ("t_left", "t_right")]
    assert found == [[(10,)], [(0,)]]  # the one that was committed last
    assert [b[:3] for b in target.batches()] == [("mixed[0]@[0,10)", "backfill", 10)] * 2
    target.sink.close()


def test_backfills_ahead_that_do_not_overlap_stay_as_they_were_written(any_database_url: str) -> None:
    target = Target(V1, open_sink(sa.make_url(any_database_url)))
    target.pin({P0: 10})
    done: list[LoadResult] = []
    steps: list[str] = []

    def another_run_comes(step: str) -> None:
        steps.append(step)
        if step == LoadStep.LOCK and not done:
            beside = raw_slice(Part([Msg({"type": "x", "name": "b"})], start=5))
            done.append(target.load(beside, "backfill", stream=V2, run_id="newer"))

    target.load_ahead(raw_slice(Part([Msg({"type": "x", "name": "a"})] * 5)), "backfill", at_step=another_run_comes)
    assert steps.count(LoadStep.STAGE) == 1
    assert [target.all(f"SELECT COUNT(*) FROM {table}") for table in ("t_left", "t_right")] == [[(5,)], [(1,)]]
    target.sink.close()
