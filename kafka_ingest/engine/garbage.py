"""Python's garbage collector in a process that loads."""

from __future__ import annotations

import gc
from functools import cache


@cache
def leave_out_imports() -> None:
    """Have the collector look no more at what is there now: modules and classes, which stay as long as the process.

    Dagster, pandas and SQLAlchemy are very many objects, and each full collection looks at all of them. Once in a process:
    what is garbage later must be found.
    """
    gc.freeze()
