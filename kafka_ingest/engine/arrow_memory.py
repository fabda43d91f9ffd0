"""Where a run's columns get their memory from."""

from __future__ import annotations

import os

import pyarrow as pa

# The variable that Arrow itself reads: a person who sets it has chosen.
CHOSEN_BY = "ARROW_DEFAULT_MEMORY_POOL"


def use_system_allocator() -> None:
    """Have Arrow take memory from the C library's allocator in this process, unless ARROW_DEFAULT_MEMORY_POOL names another.

    Arrow's own choices (mimalloc, jemalloc) give memory back to the kernel soon after each piece of messages, and take it
    again for the next: a sixth of a run's processor time. The C library keeps what a slice needs again. Idempotent; columns that
    are there already are freed where they came from.
    """
    if CHOSEN_BY not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
