"""A time limit for calls of librdkafka that have none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

T = TypeVar("T")


class StillWaiting(Exception):
    """The call has not come back in time; what it uses is in use until it does."""


def within(seconds: float, act: Callable[[], T], *, release: Callable[[], object]) -> T:
    """The result of `act()`, or what it raises, within `seconds`; else StillWaiting.

    `act` runs in a thread of its own that does not keep the process from ending. Where it is late, the thread calls
    `release()` after it: closing a client with a request under way would wait as long as the request does.
    """
    answer: Future[T] = Future()
    is_late = threading.Event()

    def run() -> None:
        try:
            answer.set_result(act())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's result()
            answer.set_exception(error)
        if is_late.is_set():
            release()

    threading.Thread(target=run, name="kafka-patience", daemon=True).start()
    try:
        return answer.result(seconds)
    except FutureTimeoutError as error:
        is_late.set()
        if answer.done():  # at the last moment; the thread may not have seen that it is late
            return answer.result()
        raise StillWaiting from error
