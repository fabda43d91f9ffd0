"""What goes on beside a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def meanwhile(work: Callable[[], object], *, every_seconds: float) -> Iterator[None]:
    """`work` again and again in a thread, with this pause before each time, until the block ends."""
    ends = threading.Event()

    def go_on() -> None:
        while not ends.wait(every_seconds):
            work()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
