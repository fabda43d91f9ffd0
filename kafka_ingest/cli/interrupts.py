"""SIGINT and SIGTERM as KeyboardInterrupt, except where something must not be cut in two."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click


class Interrupts:
    """Both signals, while open. Main thread only."""

    def __init__(self) -> None:
        self._depth = 0
        self._pending = False
        self._saved: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._saved[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._saved.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self._depth:
            self._pending = True
            return
        raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A signal in here is raised at its end."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending and not self._depth:
            self._pending = False
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """From now on: things are being stopped already."""
        for number in self._saved:
            signal.signal(number, lambda *_: click.echo("Still stopping ...", err=True))
