"""How long requests to Kafka may take: each alone, and several together where somebody waits for the sum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from kafka_ingest.errors import KafkaUnavailable

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
