"""Something looked at again and again beside what is measured."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

R = TypeVar("R", bound="Repeated")


class Repeated:
    """`with Repeated(look, pause_seconds): …`: calls `look()` in a thread of its own, with a pause after each call.

    What it raises ends it, and is raised by `check` and when the block ends.
    """

    def __init__(self, look: Callable[[], None], pause_seconds: float) -> None:
        self._look, self._pause_seconds = look, pause_seconds
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._running: Future[None] | None = None

    def __enter__(self: R) -> R:
        self._running = self._pool.submit(self._run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.check()

    def check(self) -> None:
        """Raises what the thread has died of."""
        if self._running is not None and self._running.done():
            self._running.result()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._look()
            self._stop.wait(self._pause_seconds)
