"""The order in which slices that are loaded at the same time are committed."""

from __future__ import annotations

from threading import Event
from types import TracebackType

# How long rows written ahead wait for the slice before them. A healthy one is done in a second or two; one that waits for a
# lock these rows hold (a unique index or a trigger of the table's owner) never would be, and MySQL gives up after 50 s
# (innodb_lock_wait_timeout), so they have to go first.
GIVE_WAY_SECONDS = 15.0


class WriteAheadRejected(Exception):
    """Rows written ahead cannot stay: the transaction is rolled back, and the slice is loaded again once the slice before it is
    committed.

    Never leaves `sinks/`.
    """


class Abandoned(Exception):
    """The slice before this one has failed, so this one must not load. The failure itself is that slice's to raise."""


class CommitTicket:
    """One slice's place. Of each slice in flight the `previous` one is committed first; None: nothing is before it.

    Used by two threads: the slice's own and that of the next one. `with ticket:` around the load settles it.
    """

    def __init__(self, previous: CommitTicket | None = None) -> None:
        self._previous = previous
        self._may_follow = Event()
        self._is_settled = Event()
        self._is_loaded = False

    def __enter__(self) -> CommitTicket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.settle(is_loaded=kind is None)

    def let_next_begin(self) -> None:
        """The next slice may begin to write rows: this one has emptied its ranges. Repeatable.

        A DELETE by range may lock the row after its range too, and would wait for the next slice if that came first.
        """
        self._may_follow.set()

    def settle(self, *, is_loaded: bool) -> None:
        """This slice is committed, or never will be."""
        self._is_loaded = is_loaded
        self._previous = None
        self._may_follow.set()
        self._is_settled.set()

    def is_next(self) -> bool:
        """Whether the slice before is committed, or there is none. Waits until it has emptied its ranges. Raises Abandoned
        where it has failed."""
        if self._previous is None:
            return True
        self._previous._may_follow.wait()
        if not self._previous._is_settled.is_set():
            return False
        self._follow(self._previous)
        return True

    def wait(self, seconds: float | None = None) -> None:
        """Until the slice before is committed. Raises WriteAheadRejected after `seconds`, Abandoned where it has failed."""
        if self._previous is None:
            return
        if not self._previous._is_settled.wait(seconds):
            raise WriteAheadRejected(f"the slice before has not been committed for {seconds:g} s")
        self._follow(self._previous)

    def _follow(self, previous: CommitTicket) -> None:
        if not previous._is_loaded:
            raise Abandoned
        self._previous = None
