"""Connections to PostgreSQL: no wait without an end, and a code with every refusal."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import pq, waiting
from psycopg.abc import PQGen

Result = TypeVar("Result")

# One of the fields of an ErrorResponse (manual, "Error and Notice Message Fields") as PQtrace writes it.
_CODE = re.compile(rb'\bErrorResponse\b.*? C "([0-9A-Z]{5})"')
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

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, TimedConnection]:
        """As the driver's, and the error has the SQLSTATE with which the server refuses, which the driver does not learn: libpq
        has no function for it before there is a connection. It writes it into its trace, a file in memory here."""
        with os.fdopen(os.memfd_create("kafka_ingest_connect"), "rb") as trace:
            pgconn = pq.PGconn.connect_start(conninfo.encode())
            pgconn.trace(trace.fileno())
            try:
                status = yield from _poll(pgconn)
            finally:
                pgconn.untrace()
            if status != pq.PollingStatus.OK:
                message = f"connection failed: {pgconn.get_error_message()}"
                pgconn.finish()
                trace.seek(0)
                raise _refusal(message, trace.read())
        pgconn.nonblocking = 1
        return cls(pgconn)

    def copy_in(self, statement: str, payload: memoryview) -> int:
        """Run a `COPY … FROM STDIN` on `payload`; rows stored. Raises the driver's own errors."""
        with self.cursor() as cursor:
            with cursor.copy(statement.encode()) as copy:
                for start in range(0, len(payload), _PIECE_BYTES):
                    copy.write(payload[start : start + _PIECE_BYTES])
            return cursor.rowcount


def _poll(pgconn: pq.abc.PGconn) -> Generator[Any, Any, pq.PollingStatus]:
    """Until there is a connection, or is none."""
    while pgconn.status != pq.ConnStatus.BAD:
        status = pq.PollingStatus(pgconn.connect_poll())
        if status in (pq.PollingStatus.OK, pq.PollingStatus.FAILED):
            return status
        is_reading = status == pq.PollingStatus.READING
        while not (yield pgconn.socket, waiting.Wait.R if is_reading else waiting.Wait.W):
            pass
    return pq.PollingStatus.FAILED


def _refusal(message: str, trace: bytes) -> psycopg.Error:
    """The driver's error for the code in the trace; one without a code where the server has not answered."""
    codes = _CODE.findall(trace)
    try:
        kind = psycopg.errors.lookup(codes[-1].decode("ascii")) if codes else psycopg.OperationalError
    except KeyError:  # a code of a newer server
        kind = psycopg.OperationalError
    return kind(message)
