"""The terminal that tables are printed on."""

from __future__ import annotations

import sys

from rich.console import Console

# A pipe has no width; tables are cut to it.
_PIPE_WIDTH = 140


def make_console() -> Console:
    """A console on standard output."""
    return Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH)
