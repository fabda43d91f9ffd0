"""How long requests to Kafka may take: each alone, several together where somebody waits for the sum, and calls of librdkafka
that have no time limit of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from kafka_ingest.errors import KafkaUnavailable

T = TypeVar("T")

REQUEST_TIMEOUT_SECONDS = 20.0
# A request with less time than this cannot be answered even by a healthy cluster far away.
_LEAST_SECONDS = 0.5

# Of this thread: sensors of several streams may be evaluated at once over the same clients.
_deadline: ContextVar[float | None] = ContextVar("kafka_deadline", default=None)


@contextmanager
def kafka_deadline(seconds: float) -> Iterator[None]:
    """All metadata requests in the block together take at most this long; what has no time left raises KafkaUnavailable."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def request_timeout() -> float:
    """Seconds the next request may take. Raises KafkaUnavailable where the block's time is up."""
    deadline = _deadline.get()
    if deadline is None:
        return REQUEST_TIMEOUT_SECONDS
    left = deadline - time.monotonic()
    if left < _LEAST_SECONDS:
        raise KafkaUnavailable("Kafka answers too slowly: the time for this look at it is up. It is looked at again.")
    return min(REQUEST_TIMEOUT_SECONDS, left)


class StillWaiting(Exception):
    """The call has not come back in time; what it uses is in use until it does."""


class Started(Generic[T]):
    """`act()` in a thread of its own, which does not keep the process from ending. Where it is late, the thread calls
    `release()` after it: closing a client with a request under way would wait as long as the request does."""

    def __init__(self, act: Callable[[], T], *, release: Callable[[], object]) -> None:
        self._answer: Future[T] = Future()
        self._is_late = threading.Event()
        threading.Thread(target=self._run, args=(act, release), name="kafka-timeout", daemon=True).start()

    def _run(self, act: Callable[[], T], release: Callable[[], object]) -> None:
        try:
            self._answer.set_result(act())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's result()
            self._answer.set_exception(error)
        if self._is_late.is_set():
            release()

    def result(self, seconds: float) -> T:
        """What `act()` returns, or raises, within `seconds` from now; else StillWaiting."""
        try:
            return self._answer.result(seconds)
        except FutureTimeoutError as error:
            self._is_late.set()
            if self._answer.done():  # at the last moment; the thread may not have seen that it is late
                return self._answer.result()
            raise StillWaiting from error


def within(seconds: float, act: Callable[[], T], *, release: Callable[[], object]) -> T:
    """The result of `act()`, or what it raises, within `seconds`; else StillWaiting. See `Started`."""
    return Started(act, release=release).result(seconds)
