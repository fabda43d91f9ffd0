"""The faults of a soak. Each returns when what broke is mended (or left to mend itself)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from kafka_ingest_tests.e2e.proxy import Fault, FaultProxy
from kafka_ingest_tests.soak.world import World, kill

Breakage = Callable[[World, random.Random], None]


def kill_run(world: World, random_: random.Random) -> None:
    """SIGKILL to a run's process at a random moment."""
    deadline = time.monotonic() + 60
    while not (pids := world.run_processes()):
        if time.monotonic() > deadline:
            return
        time.sleep(0.2)
    time.sleep(random_.uniform(0, 2))
    try:
        kill(pids[0])
    except ProcessLookupError:
        return  # it ended by itself meanwhile


def kill_database(world: World, random_: random.Random) -> None:
    """SIGKILL to MySQL, and a start after some seconds."""
    world.database.kill()
    time.sleep(random_.uniform(0, 8))
    world.database.restart()


def kill_kafka(world: World, random_: random.Random) -> None:
    """SIGKILL to the broker, and a start after some seconds."""
    world.kafka.broker.kill()
    time.sleep(random_.uniform(0, 5))
    world.kafka.broker.restart()


def kill_code_server(world: World, random_: random.Random) -> None:
    """SIGKILL to the process that evaluates the sensors; and a start of Dagster, as `dagster dev` stays up without it and does
    not start it again."""
    process = world.process("code server")
    if process is not None:
        process.kill()
    time.sleep(random_.uniform(0, 8))
    world.restart_dagster()


def kill_daemon(world: World, random_: random.Random) -> None:
    """SIGKILL to Dagster's daemon and with it all of `dagster dev`, as a machine's reset does; and a start."""
    world.restart_dagster()


def reset_machine(world: World, random_: random.Random) -> None:
    """SIGKILL to Kafka, MySQL and all of Dagster; and a start of everything, the servers first."""
    world.dagster.kill_everything()
    world.database.kill()
    world.kafka.broker.kill()
    time.sleep(random_.uniform(0, 3))
    world.database.restart()
    world.kafka.broker.restart()
    world.dagster.__enter__()


def lock_ledger(world: World, random_: random.Random) -> None:
    """Somebody else's transaction holds the ledger's rows for some seconds."""
    with _session(world) as other:
        other.exec_driver_sql("SELECT * FROM kafka_ingest_offsets FOR UPDATE")
        time.sleep(random_.uniform(3, 15))


def kill_connections(world: World, random_: random.Random) -> None:
    """The server ends every connection of the application's, as an administrator or a failover does."""
    with _session(world) as other:
        own = other.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
        found = other.exec_driver_sql(f"SELECT id FROM information_schema.processlist WHERE id <> {own}")
        for each in found.scalars().all():
            with suppress(sa.exc.DBAPIError):  # it has just ended
                other.exec_driver_sql(f"KILL CONNECTION {each}")


def make_read_only(world: World, random_: random.Random) -> None:
    """A failover in progress."""
    world.database.run_as_administrator("SET GLOBAL read_only = ON")
    try:
        time.sleep(random_.uniform(2, 10))
    finally:
        world.database.run_as_administrator("SET GLOBAL read_only = OFF")


@contextmanager
def _session(world: World) -> Iterator[sa.Connection]:
    engine = sa.create_engine(world.url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def _network(of: Callable[[World], FaultProxy], fault: Fault, least: float, most: float) -> Breakage:
    def act(world: World, random_: random.Random) -> None:
        with of(world).fault(fault):
            time.sleep(random_.uniform(least, most))

    return act


def _reset(of: Callable[[World], FaultProxy]) -> Breakage:
    def act(world: World, random_: random.Random) -> None:
        of(world).reset_all()

    return act


def _kafka(world: World) -> FaultProxy:
    return world.kafka.proxy


def _database(world: World) -> FaultProxy:
    return world.database_proxy


_STALLS = Fault(latency_seconds=0.02, stall_ratio=0.01, stall_seconds=2.0)
NETWORK: dict[str, Breakage] = {
    f"{name}: {what}": act
    for name, of in (("kafka", _kafka), ("mysql", _database))
    for what, act in {
        "black hole": _network(of, Fault(silent=True), 5, 25),
        "half open": _network(of, Fault(half_open=True), 5, 15),
        "refused": _network(of, Fault(refuse=True), 2, 10),
        "reset": _reset(of),
        "slow with stalls": _network(of, _STALLS, 10, 20),
    }.items()
}
SERVERS: dict[str, Breakage] = {"mysql: killed": kill_database, "kafka: killed": kill_kafka}
TROUBLE: dict[str, Breakage] = {
    "mysql: ledger locked": lock_ledger,
    "mysql: connections killed": kill_connections,
    "mysql: read-only": make_read_only,
}
RUNS: dict[str, Breakage] = {"run: killed": kill_run}
DAGSTER: dict[str, Breakage] = {
    "code server: killed": kill_code_server,
    "daemon: killed": kill_daemon,
    "everything: killed": reset_machine,
}
EVERYTHING = NETWORK | SERVERS | TROUBLE | RUNS | DAGSTER
# What leaves the processes of Dagster alive, so that what they hold can be compared over a longer time.
GENTLE = NETWORK | SERVERS | TROUBLE | RUNS
