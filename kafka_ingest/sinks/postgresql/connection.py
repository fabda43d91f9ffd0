"""Connections to PostgreSQL: no wait without an end, and rows in by COPY."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

Result = TypeVar("Result")

_PIECE_BYTES = 512 * 1024


class TimedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that waits for an answer `answer_seconds` at most, and is closed then: what the server would answer later is
    never taken for the answer to something else."""

    answer_seconds: float | None = None

    def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:
        """As the driver's, with our limit where the caller has none. Raises OperationalError without an answer in time."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        if self.answer_seconds is None:
            return super().wait(gen, interval)
        return super().wait(self._bounded(gen, self.answer_seconds), interval)

    def _bounded(self, gen: PQGen[Result], seconds: float) -> PQGen[Result]:
        """The driver's dialogue with the server; it is asked again every `interval` while nothing comes."""
        deadline = time.monotonic() + seconds
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if time.monotonic() > deadline and not ready:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer for {seconds:g} s: the connection is closed")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: Result = end.value
            return result

    @contextmanager
    def answering_within(self, seconds: float) -> Iterator[None]:
        """Shorter than usual."""
        usual = self.answer_seconds
        self.answer_seconds = seconds if usual is None else min(seconds, usual)
        try:
            yield
        finally:
            self.answer_seconds = usual

    def copy_in(self, statement: str, payload: memoryview) -> int:
        """Run a `COPY … FROM STDIN` on `payload`; rows stored. Raises the driver's own errors."""
        with self.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                for start in range(0, len(payload), _PIECE_BYTES):
                    copy.write(payload[start : start + _PIECE_BYTES])
            return cursor.rowcount
