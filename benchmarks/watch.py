"""What a run does, seen from outside: rows visible in the database, memory and processor time of its process."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil
import sqlalchemy as sa

from benchmarks.background import Repeated
from benchmarks.processes import is_run, use_of
from kafka_ingest.ledger.tables import OFFSETS
from kafka_ingest_tests.e2e.dagster_dev import DagsterDev

_POLL_SECONDS = 0.05
_SAMPLE_SECONDS = 0.1
# By the SQLSTATE of MySQL and of PostgreSQL, or by MySQL's number.
_NO_SUCH_TABLE = ("42S02", "42P01", 1146)


class RunWatch(Repeated):
    """`with RunWatch(dagster) as run: …`: samples the process of every run while the block lasts."""

    def __init__(self, dagster: DagsterDev) -> None:
        self._dagster = dagster
        self._peaks: dict[int, int] = {}
        self._cpu: dict[int, float] = {}
        super().__init__(self._sample, _SAMPLE_SECONDS)

    @property
    def peak_rss_bytes(self) -> int:
        """The most that one of them used."""
        return max(self._peaks.values(), default=0)

    @property
    def cpu_seconds(self) -> float:
        """All of them together."""
        return sum(self._cpu.values())

    def _sample(self) -> None:
        with suppress(psutil.NoSuchProcess):  # Dagster has ended
            for child in self._dagster.children():
                if is_run(child) and (use := use_of(child)) is not None:
                    self._peaks[child.pid] = max(self._peaks.get(child.pid, 0), use.rss_bytes)
                    self._cpu[child.pid] = max(self._cpu.get(child.pid, 0.0), use.cpu_seconds)


class LedgerWatch:
    """How far the ledger is, over a connection of its own.

    An offset below a next offset is a row that can be read, or a dead letter, as they are committed together.
    """

    def __init__(self, database_url: str) -> None:
        self._engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        self._connection = self._engine.connect()
        self._query = sa.select(OFFSETS.c.kafka_partition, OFFSETS.c.next_offset, OFFSETS.c.run_id)

    def positions(self, topic: str | None = None) -> list[tuple[int, int, str]]:
        """Kafka partition, next offset and the run that loaded last; none before the first run makes the ledger."""
        query = self._query if topic is None else self._query.where(OFFSETS.c.topic == topic)
        try:
            rows = self._connection.execute(query).all()
        except sa.exc.ProgrammingError as error:
            code = getattr(error.orig, "sqlstate", None) or (error.orig and error.orig.args[0])
            if code not in _NO_SUCH_TABLE:
                raise
            return []
        return [(row.kafka_partition, row.next_offset, row.run_id) for row in rows]

    def loaded(self) -> int:
        """Sum of the next offsets."""
        return sum(next_offset for _, next_offset, _ in self.positions())

    def progress_until(self, offsets: int, *, timeout_seconds: float) -> list[tuple[float, int]]:
        """(time.time(), offsets loaded) at each change, until all are there. Raises TimeoutError."""
        found: list[tuple[float, int]] = []
        deadline = time.monotonic() + timeout_seconds
        while not found or found[-1][1] < offsets:
            now = self.loaded()
            if not found or now != found[-1][1]:
                found.append((time.time(), now))
            if time.monotonic() > deadline:
                raise TimeoutError(f"{now} of {offsets} offsets loaded within {timeout_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)
        return found

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()
