"""Writers on real servers, interleaved as Hypothesis chooses: `make interleavings` does the same for an hour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from kafka_ingest.local.database_server import LocalDatabaseServer
from kafka_ingest.sinks.registry import local_server, open_sink
from kafka_ingest_tests.interleavings.example import Example, Fault, Task, examples
from kafka_ingest_tests.interleavings.harness import Actor, Process, Scheduler
from kafka_ingest_tests.interleavings.log import Log, Message
from kafka_ingest_tests.interleavings.mutations import MUTATIONS, loaded_code, mutations_of
from kafka_ingest_tests.interleavings.oracle import Found, Load, violations
from kafka_ingest_tests.interleavings.runner import OF_ONE_LOG, examples_of
from kafka_ingest_tests.interleavings.servers import SERVERS, connect
from kafka_ingest_tests.interleavings.shapes import SHAPES
from kafka_ingest_tests.interleavings.world import Violation, World

EXAMPLES = 150
MUTATED_EXAMPLES = 1_000  # the one that is hardest to find takes about 260
# What is about the database in general is taken out on MySQL and MariaDB; `python -m` does it on PostgreSQL, too.
IN_EVERY_CHECK = [
    (database, name)
    for database in SERVERS
    for name in mutations_of(database)
    if not MUTATIONS[name].is_rare and (database != "postgresql" or MUTATIONS[name].databases == (database,))
]


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabaseServer]:
    """Of these tests' own: how many transactions wait for locks is counted for the whole server."""
    kind: str = request.param
    server_class = local_server(kind)
    assert server_class is not None
    found = server_class.start(kind, tmp_path_factory.mktemp(kind), options=SERVERS[kind].options)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def world(server: LocalDatabaseServer) -> Iterator[World]:
    found = World(server.url())
    yield found
    found.close()


@pytest.mark.services
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), print_blob=True)
@given(example=examples())
def test_whatever_the_interleaving_the_newest_wins_and_every_offset_is_in_one_place(
    world: World, example: Example
) -> None:
    world.run(example)


@pytest.fixture(scope="module")
def numbered_world(server: LocalDatabaseServer) -> Iterator[World]:
    server.create_database("numbered")
    found = World(server.url("numbered"), is_numbered=True)
    yield found
    found.close()


@pytest.mark.services
@settings(max_examples=EXAMPLES // 3, suppress_health_check=list(HealthCheck), print_blob=True)
@given(example=examples())
def test_the_same_where_the_key_stands_beside_a_primary_key_of_the_tables_own(
    numbered_world: World, example: Example
) -> None:
    numbered_world.run(example)


@pytest.mark.services
@pytest.mark.parametrize("shape", ["keys", "tombstones", "two tombstones", "row and tombstone", "codes", "partial"])
def test_writers_of_one_key_that_stands_beside_a_primary_key_of_the_tables_own(
    numbered_world: World, shape: str
) -> None:
    for example in examples_of(1, shape, OF_ONE_LOG):
        numbered_world.run(example)


@pytest.mark.services
@settings(max_examples=EXAMPLES // 30, suppress_health_check=list(HealthCheck), print_blob=True)
@given(example=examples(SHAPES["parts"]))
def test_two_runs_of_one_backfill_and_a_live_one_end_in_the_newest_of_each_key(world: World, example: Example) -> None:
    world.run(example)


@pytest.mark.services
@settings(max_examples=EXAMPLES // 10, suppress_health_check=list(HealthCheck), print_blob=True)
@given(example=examples(SHAPES["turned"]))
def test_rows_and_deletes_in_an_order_of_their_own_end_in_it(world: World, example: Example) -> None:
    world.run(example)


@pytest.mark.services
@pytest.mark.parametrize(("server", "name"), IN_EVERY_CHECK, indirect=["server"])
def test_a_mend_that_is_taken_out_is_noticed(
    server: LocalDatabaseServer, request: pytest.FixtureRequest, name: str
) -> None:
    mutation, code = MUTATIONS[name], loaded_code()
    world: World = request.getfixturevalue("numbered_world" if mutation.is_numbered else "world")

    def run() -> None:
        for example in examples_of(1, mutation.shape, MUTATED_EXAMPLES):
            world.run(example)

    with mutation.apply(), pytest.raises(Violation):
        run()
    assert loaded_code() == code, "the tests that come next run on mutated code"


@pytest.mark.services
def test_an_actor_that_waits_for_anothers_lock_is_seen_and_goes_on_after_it(server: LocalDatabaseServer) -> None:
    watch = connect(server.url())
    watch.run(
        "CREATE TABLE IF NOT EXISTS t_lock (id INT PRIMARY KEY)", "DELETE FROM t_lock", "INSERT INTO t_lock VALUES (1)"
    )
    # Both lock the row; the first holds it, the second is let go on, and only then the first commits.
    scheduler = Scheduler(watch, (1, 0, 2, 0, 1), ())
    order: list[str] = []

    def lock(actor: Actor) -> None:
        with actor.process.sink.engine.begin() as connection:
            actor.pause("begin")
            connection.exec_driver_sql("SELECT id FROM t_lock FOR UPDATE")
            order.append(f"{actor.name} has it")
            actor.pause("locked")
        order.append(f"{actor.name} committed")

    processes = [Process(name, open_sink(watch.url)) for name in ("w0", "w1")]
    for process in processes:
        scheduler.start(process.name, process, lock)
    scheduler.run()
    for process in processes:
        process.sink.close()
    watch.close()
    assert "w1 waits for a lock after begin" in scheduler.trace
    assert order.index("w0 committed") < order.index("w1 committed")


@pytest.mark.services
def test_a_killed_writer_leaves_nothing_and_a_lost_answer_everything(world: World) -> None:
    """The last step of a load is after its COMMIT; the second COMMIT of a writer is that of its load."""
    log = Log(((Message("account", 1, "a", 100), Message("event", 2, "b", 101)), ()), is_coded=False)
    task = Task("live", "v1", (2,), (0,))
    calm = Example(log, False, ((task,),), (), ())
    steps = sum(" goes on from " in line for line in world.run(calm))
    assert not any("tries again" in line or "anew" in line for line in world.run(calm))
    for at in range(2, steps + 1):
        trace = world.run(replace(calm, faults=(Fault(0, at, "kill"),)))
        assert sum("is started anew" in line for line in trace) == 1
        assert sum("i[0]@[0,2) live 2 rows" in line or "[0,2) live 1 rows" in line for line in trace) <= 1
    lost = [world.run(replace(calm, faults=(Fault(0, at, "lost commit"),))) for at in range(1, 5)]
    assert any("has loaded nothing" in line for trace in lost for line in trace)  # it was there already


LOG = Log(
    (
        (Message("account", 3, "a", 100), Message("account", 0, "a", 101)),
        (Message("account", 2, "a", 200), Message("event", 0, "e", 201)),
    ),
    is_coded=False,
)
EXAMPLE = Example(LOG, False, (), (), ())
RIGHT = Found(
    upserted={"a": (0, 1, 101, None, None)},
    appended={"i_first": [(1, 1, 201)], "i_second": []},
    waiting=set(),
    loads=[Load(p, 0, 2, "live", 2, "v1") for p in (0, 1)],
    next_offsets=[2, 2],
)


def test_the_oracle_orders_by_the_highest_timestamp_so_far() -> None:
    assert [(p, o) for p, o, _ in LOG.in_order()] == [(1, 0), (1, 1), (0, 0), (0, 1)]
    assert violations(EXAMPLE, RIGHT) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (replace(RIGHT, upserted={"a": (1, 0, 200, None, None)}), "upsert: the row of a is"),
        (replace(RIGHT, upserted={}), "upsert: the row of a is None"),
        (replace(RIGHT, appended={"i_first": [], "i_second": [(1, 1, 201)]}), "append: 1@1"),
        (replace(RIGHT, appended={"i_first": [(1, 1, 201)], "i_second": [(1, 1, 201)]}), "append: 1@1"),
        (replace(RIGHT, waiting={(0, 0)}), "letters: 0@0"),
        (replace(RIGHT, loads=[*RIGHT.loads, Load(0, 1, 2, "live", 1, "v1")]), "begins where the live range"),
        (replace(RIGHT, loads=[*RIGHT.loads, Load(0, 0, 2, "backfill", 1, "v1")]), "is not accounted for"),
        (replace(RIGHT, next_offsets=[2, 1]), "ledger: live to"),
    ],
)
def test_the_oracle_sees_what_is_wrong(wrong: Found, said: str) -> None:
    assert any(said in text for text in violations(EXAMPLE, wrong))
