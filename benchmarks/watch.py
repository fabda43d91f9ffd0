"""What a run does, seen from outside: rows visible in the database, memory and processor time of its process."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import psutil
import sqlalchemy as sa

from kafka_ingest.sinks.ledger import OFFSETS

_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Process:
    """The most a process used."""

    peak_rss_bytes: int = 0
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class RunWatch:
    """Samples every run's process below `dagster dev` while the block lasts.

    A run is a `spawn`ed child of the code server (multiprocessing's own command line).
    """

    parent: int
    processes: dict[int, Process] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> RunWatch:
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join()

    @property
    def peak_rss_bytes(self) -> int:
        return max((p.peak_rss_bytes for p in self.processes.values()), default=0)

    @property
    def cpu_seconds(self) -> float:
        return sum(p.cpu_seconds for p in self.processes.values())

    def _sample(self) -> None:
        while not self._stop.wait(0.1):
            try:
                children = psutil.Process(self.parent).children(recursive=True)
            except psutil.NoSuchProcess:
                return
            for child in children:
                try:
                    if not any("spawn_main" in part for part in child.cmdline()):
                        continue
                    memory, times = child.memory_info().rss, child.cpu_times()
                except psutil.Error:
                    continue  # it has ended
                seen = self.processes.setdefault(child.pid, Process())
                seen.peak_rss_bytes = max(seen.peak_rss_bytes, memory)
                seen.cpu_seconds = max(seen.cpu_seconds, times.user + times.system)


class LedgerWatch:
    """How far a stream's ledger is; an offset below it is a row that can be read, as both are committed together."""

    def __init__(self, database_url: str, stream: str) -> None:
        self._engine = sa.create_engine(database_url, isolation_level="AUTOCOMMIT")
        self._query = sa.select(sa.func.coalesce(sa.func.sum(OFFSETS.c.next_offset), 0)).where(
            OFFSETS.c.stream == stream
        )

    def loaded(self) -> int:
        """Sum of the next offsets; 0 while there is no ledger."""
        with self._engine.connect() as connection:
            if not sa.inspect(connection).has_table(OFFSETS.name):
                return 0
            return int(connection.execute(self._query).scalar_one())

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
        self._engine.dispose()
