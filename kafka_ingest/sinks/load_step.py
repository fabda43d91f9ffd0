"""The steps of a load by name (`sinks/load.py` says what each does)."""

from __future__ import annotations

from enum import Enum


class LoadStep(str, Enum):
    """The steps of a load, in order; AHEAD is between BEGIN and LOCK. Where fault tests stop or kill the process."""

    STAGE = "stage"
    BEGIN = "begin"
    AHEAD = "ahead"
    LOCK = "lock"
    ADMIT = "admit"
    EMPTY = "empty"
    ROWS = "rows"
    DELETES = "deletes"
    AGAIN = "again"
    DEAD_LETTERS = "dead_letters"
    PROVE = "prove"
    RECORD = "record"
    COMMIT = "commit"
    DONE = "done"

    def __str__(self) -> str:
        """The value, in every version of Python alike: the text of an Enum with a str differs between them."""
        return self.value
